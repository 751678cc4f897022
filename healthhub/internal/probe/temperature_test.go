// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

const zone, chip = "/sys/class/thermal/thermal_zone", "/sys/class/hwmon/hwmon"

// A Raspberry Pi, and a machine with a processor of Intel's and an NVMe disk.
var (
	pi = files{
		zone + "0/type": "cpu-thermal\n", zone + "0/temp": "62300\n",
		zone + "0/trip_point_0_type": "critical\n", zone + "0/trip_point_0_temp": "110000\n",
	}
	pc = files{
		zone + "0/type": "acpitz\n", zone + "0/temp": "27800\n",
		zone + "0/trip_point_0_type": "critical\n", zone + "0/trip_point_0_temp": "105000\n",
		zone + "0/trip_point_1_type": "passive\n", zone + "0/trip_point_1_temp": "-274000\n",
		chip + "0/name": "coretemp\n", chip + "0/temp1_input": "71000\n", chip + "0/temp1_label": "Package id 0\n",
		chip + "0/temp1_max": "100000\n", chip + "0/temp1_crit": "100000\n",
		chip + "1/name": "nvme\n", chip + "1/temp1_input": "43850\n", chip + "1/temp1_label": "Composite\n",
		chip + "1/temp1_max": "81850\n", chip + "1/temp1_crit": "84850\n",
		chip + "1/temp2_input": "43850\n", chip + "1/temp2_max": "65261850\n",
		chip + "2/name": "nct6775\n", chip + "2/temp1_input": "-128000\n", chip + "2/temp2_input": "0\n", // not connected
	}
)

func TestTemperature(t *testing.T) {
	for name, test := range map[string]struct {
		tree  files
		check setting.Check
		state health.State
		text  string
	}{
		"a Pi":         {pi, setting.Check{}, health.Pass, "zone0.cpu-thermal has 62 °C"},
		"slows down":   {pi.with(files{zone + "0/temp": "80100\n"}), setting.Check{}, health.Warn, "80 °C (warn at 80 °C)"},
		"switches off": {pi.with(files{zone + "0/temp": "105000\n"}), setting.Check{}, health.Fail, "105 °C (fail at 105 °C)"},
		"own warning":  {pi, setting.Check{Warn: "106C"}, health.Pass, "62 °C"},
		"own levels":   {pi, setting.Check{Warn: "50C", Fail: "60C"}, health.Fail, "(fail at 60 °C)"},
		"a point of its own": {pi.with(files{zone + "0/trip_point_1_type": "passive\n", zone + "0/trip_point_1_temp": "60000\n"}), setting.Check{},
			health.Warn, "(warn at 60 °C)"},
		"a PC":          {pc, setting.Check{}, health.Pass, "hwmon0.coretemp.package-id-0 is the warmest of 4, 71 °C"},
		"its disk":      {pc.with(files{chip + "1/temp1_input": "80000\n"}), setting.Check{}, health.Fail, "hwmon1.nvme.composite has 80 °C (fail at 80 °C)"},
		"its processor": {pc.with(files{chip + "0/temp1_input": "86000\n"}), setting.Check{}, health.Warn, "(warn at 85 °C)"},
	} {
		t.Run(name, func(t *testing.T) {
			test.check.Kind = setting.KindTemperature
			r := newLook(t, test.check, test.tree.plant(t))(t.Context())
			expect(t, r, test.state, test.text)
			acceptable(t, r)
		})
	}
	r := newLook(t, setting.Check{Kind: setting.KindTemperature}, pc.plant(t))(t.Context())
	for name, want := range map[string][3]float64{
		"zone0.acpitz": {27.8, 80, 100}, "hwmon0.coretemp.package-id-0": {71, 85, 95}, "hwmon1.nvme.temp2": {43.85, 80, 95},
	} {
		if v := measured(t, r, name); v.Unit != "Cel" || v.Value != want[0] || *v.Warn != want[1] || *v.Fail != want[2] {
			t.Errorf("%s: %v, warns at %v, fails at %v, want %v", name, v.Value, *v.Warn, *v.Fail, want)
		}
	}
	wantUnsupported(t, newLook(t, setting.Check{Kind: setting.KindTemperature}, t.TempDir())(t.Context()), "no sensor")
	wantUnsupported(t, newLook(t, setting.Check{Kind: setting.KindTemperature},
		files{zone + "0/type": "x\n", zone + "0/temp": "nonsense\n"}.plant(t))(t.Context()), "no sensor")
}

// A thermal zone that is a hardware monitor too is one sensor; more than fit are the warmest.
func TestTemperatureOfMany(t *testing.T) {
	root := pi.with(files{chip + "0/name": "cpu_thermal\n", chip + "0/temp1_input": "62300\n"}).plant(t)
	if err := os.Symlink(filepath.Join(root, zone+"0"), filepath.Join(root, chip+"0/device")); err != nil {
		t.Fatal(err)
	}
	look := newLook(t, setting.Check{Kind: setting.KindTemperature}, root)
	if r := look(t.Context()); len(r.Values) != 1 {
		t.Errorf("%+v", r.Values)
	}
	many := files{}
	for i := range 40 {
		many[fmt.Sprintf("%s%d/temp", zone, i)] = fmt.Sprintf("%d\n", 30000+i*1000)
		many[fmt.Sprintf("%s%d/type", zone, i)] = "x\n"
	}
	many.add(t, root)
	r := look(t.Context())
	acceptable(t, r)
	expect(t, r, health.Pass, "zone39.x is the warmest of 40, 69 °C")
	measured(t, r, "zone39.x")
}

func BenchmarkTemperature(b *testing.B) {
	root := b.TempDir()
	for path, text := range pc {
		path = filepath.Join(root, path)
		os.MkdirAll(filepath.Dir(path), 0o755)
		os.WriteFile(path, []byte(text), 0o600)
	}
	benchLook(b, setting.Check{Kind: setting.KindTemperature}, root)
}
