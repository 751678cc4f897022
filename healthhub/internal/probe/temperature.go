// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// What a sensor's levels are where neither the settings nor the sensor say; °C. A Raspberry Pi slows down at 80.
const (
	warmWarn, warmFail = 80, 95
	// beforeOff is how long before the point at which the machine switches itself off it fails.
	beforeOff = 5
	// beforeFail is how long before that it warns, where a sensor has no point of its own below it.
	beforeFail = 10
)

// believable are the bounds of what a sensor says; others are sensors that are not connected, or points that are switched off.
const coldest, hottest, lowestPoint = -30, 150, 40

// sensor is what measures a temperature, in °C.
type sensor struct {
	name          string
	degrees       float64
	slow, off     float64 // from where on it is slowed down, and switched off; 0: it does not say
	warn, failing float64
}

// temperatureLook makes the look of kind temperature: every thermal zone and hardware monitor of the machine
// (Documentation/driver-api/thermal/sysfs-api.rst, Documentation/hwmon/sysfs-interface.rst).
func temperatureLook(s setting.Check, root tree) (Func, error) {
	warn, err := setting.ParseLevel(s.Kind, s.Warn)
	if err != nil {
		return nil, err
	}
	fail, err := setting.ParseLevel(s.Kind, s.Fail)
	if err != nil {
		return nil, err
	}
	return func(context.Context) Result {
		sensors := append(root.zones(), root.monitors()...)
		if len(sensors) == 0 {
			return unsupported("temperature: this machine shows no sensor here")
		}
		for i := range sensors {
			sensors[i].judgedBy(warn.Celsius, fail.Celsius)
		}
		return warmth(sensors)
	}, nil
}

// judgedBy sets the levels: those of the settings, else the sensor's own, else the defaults.
func (s *sensor) judgedBy(warn, fail float64) {
	s.failing = cmp.Or(fail, warmFail)
	if fail == 0 && s.off > 0 {
		s.failing = s.off - beforeOff
	}
	s.warn = cmp.Or(warn, s.slow, warmWarn)
	switch {
	case s.warn < s.failing:
	case warn == 0:
		s.warn = s.failing - beforeFail
	case fail == 0:
		s.failing = s.warn + beforeFail
	}
}

func (s *sensor) state() health.State {
	switch {
	case s.degrees >= s.failing:
		return health.Fail
	case s.degrees >= s.warn:
		return health.Warn
	}
	return health.Pass
}

// warmth makes a result of sensors: those that are too warm, else the warmest.
func warmth(sensors []sensor) Result {
	slices.SortStableFunc(sensors, func(a, b sensor) int {
		return cmp.Or(cmp.Compare(b.state(), a.state()), cmp.Compare(b.degrees, a.degrees))
	})
	worst := sensors[0]
	r := Result{State: worst.state(), Text: fmt.Sprintf("%s is the warmest of %d, %.0f °C", worst.name, len(sensors), worst.degrees)}
	if len(sensors) == 1 {
		r.Text = fmt.Sprintf("%s has %.0f °C", worst.name, worst.degrees)
	}
	if r.State != health.Pass {
		level := worst.warn
		if r.State == health.Fail {
			level = worst.failing
		}
		r.Text = fmt.Sprintf("%s has %.0f °C (%v at %.0f °C)", worst.name, worst.degrees, r.State, level)
		r = r.advise("see to cooling and dust; what is too warm slows down, and then switches itself off")
	}
	r.Text = health.CleanText(r.Text)
	for _, s := range sensors[:min(len(sensors), health.MaxValues)] {
		if slices.ContainsFunc(r.Values, func(v health.Value) bool { return v.Name == s.name }) {
			continue // two of one label: the warmer is told
		}
		v := value(s.name, "Cel", s.degrees)
		v.Warn, v.Fail = some(s.warn), some(s.failing)
		r.Values = append(r.Values, v)
	}
	slices.SortFunc(r.Values, func(a, b health.Value) int { return strings.Compare(a.Name, b.Name) })
	return r
}

// zones reads /sys/class/thermal.
func (t tree) zones() []sensor {
	var found []sensor
	for _, dir := range t.glob("/sys/class/thermal/thermal_zone*") {
		degrees, ok := t.degrees(dir + "/temp")
		if !ok {
			continue
		}
		kind, _ := t.read(dir + "/type")
		s := sensor{name: sensorName(strings.TrimPrefix(filepath.Base(dir), "thermal_"), kind), degrees: degrees}
		for i := range 16 {
			kind, err := t.read(fmt.Sprintf("%s/trip_point_%d_type", dir, i))
			if err != nil {
				break
			}
			point, ok := t.degrees(fmt.Sprintf("%s/trip_point_%d_temp", dir, i))
			if !ok || point < lowestPoint {
				continue
			}
			switch strings.TrimSpace(kind) {
			case "passive", "hot":
				s.slow = lower(s.slow, point)
			case "critical":
				s.off = lower(s.off, point)
			}
		}
		found = append(found, s)
	}
	return found
}

// monitors reads /sys/class/hwmon, without what is a thermal zone as well.
func (t tree) monitors() []sensor {
	var found []sensor
	for _, input := range t.glob("/sys/class/hwmon/hwmon*/temp*_input") {
		dir := filepath.Dir(input)
		if _, err := t.read(dir + "/device/trip_point_0_type"); err == nil {
			continue
		}
		degrees, ok := t.degrees(input)
		if !ok {
			continue
		}
		prefix := strings.TrimSuffix(input, "input")
		chip, _ := t.read(dir + "/name")
		label, err := t.read(prefix + "label")
		if err != nil {
			label = strings.TrimSuffix(filepath.Base(prefix), "_")
		}
		s := sensor{name: sensorName(filepath.Base(dir), chip, label), degrees: degrees}
		if point, ok := t.degrees(prefix + "max"); ok && point >= lowestPoint {
			s.slow = point
		}
		if point, ok := t.degrees(prefix + "crit"); ok && point >= lowestPoint {
			s.off = point
		}
		found = append(found, s)
	}
	return found
}

// glob gives the paths within the tree that match.
func (t tree) glob(pattern string) []string {
	matches, _ := filepath.Glob(t.path(pattern)) // the patterns are good ones
	for i := range matches {
		matches[i] = strings.TrimPrefix(matches[i], strings.TrimSuffix(string(t), "/"))
	}
	return matches
}

// degrees reads thousandths of a degree; ok is false for what no machine has.
func (t tree) degrees(path string) (celsius float64, ok bool) {
	text, err := t.read(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(text))
	celsius = float64(n) / 1000
	return celsius, err == nil && n != 0 && celsius >= coldest && celsius <= hottest
}

func lower(old, point float64) float64 {
	if old == 0 {
		return point
	}
	return min(old, point)
}

// sensorName makes a name of a value: zone0.cpu-thermal, hwmon1.nvme.composite.
func sensorName(parts ...string) string {
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '_':
			return r
		}
		return '-'
	}, strings.ToLower(strings.Join(parts, ".")))
	return name[:min(len(name), health.MaxCheckName)]
}
