// SPDX-License-Identifier: AGPL-3.0-or-later

package setting

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"cloud4.internal/hub/internal/hubfile"
)

// levelKinds are the kinds that have warn and fail.
var levelKinds = []string{KindDisk, KindInode, KindMemory, KindPressure, KindTemperature, KindScheduler}

// Level is from where on something warns or fails. Which fields count depends on the kind; the zero Level is never
// reached. A level of both a part and a rest is reached when both are: nine tenths of a large disk leave plenty.
type Level struct {
	Part    float64       // disk, inode, memory: at least so much of the whole is used; pressure: of the time; 0 … 1, 0: any
	Left    int64         // disk, memory: less than so many bytes are left; inode: inodes; 0: any
	Celsius float64       // temperature: at least
	Late    time.Duration // scheduler: at least
}

// ParseLevel reads a level of a kind: "95%", "2GB", "95% 2GB" (disk, memory), "95%", "10000" (inode), "30%"
// (pressure), "95C" (temperature), "60s" (scheduler). "" is the zero Level.
func ParseLevel(kind, text string) (Level, error) {
	if text == "" {
		return Level{}, nil
	}
	switch kind {
	case KindDisk, KindInode, KindMemory:
		return parseUse(kind, text)
	case KindPressure:
		part, err := parsePart(text)
		return Level{Part: part}, err
	case KindTemperature:
		number := strings.TrimSuffix(strings.TrimSuffix(text, "C"), "°")
		degrees, err := strconv.ParseFloat(number, 64)
		if err != nil || !(degrees > 0 && degrees <= 200) {
			return Level{}, fmt.Errorf(`must be degrees such as "80C", got %q`, text)
		}
		return Level{Celsius: degrees}, nil
	case KindScheduler:
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return Level{}, fmt.Errorf(`must be a duration such as "60s", got %q`, text)
		}
		return Level{Late: d}, nil
	}
	return Level{}, errors.New("means nothing for kind " + kind)
}

func parseUse(kind, text string) (Level, error) {
	wrong := fmt.Errorf(`must be a part such as "95%%", a size that is left such as "2GB", or both ("95%% 2GB"), got %q`, text)
	if kind == KindInode {
		wrong = fmt.Errorf(`must be a part such as "95%%", a number that is left such as "10000", or both, got %q`, text)
	}
	var l Level
	for _, word := range strings.Fields(text) {
		switch {
		case strings.HasSuffix(word, "%") && l.Part == 0:
			part, err := parsePart(word)
			if err != nil {
				return Level{}, err
			}
			l.Part = part
		case l.Left == 0:
			left, err := hubfile.ParseBytes(word)
			if _, count := strconv.ParseInt(word, 10, 64); err != nil || left <= 0 || kind == KindInode && count != nil {
				return Level{}, wrong
			}
			l.Left = int64(left)
		default:
			return Level{}, wrong
		}
	}
	if l == (Level{}) {
		return Level{}, wrong
	}
	return l, nil
}

// parsePart reads "30%", "0.5%".
func parsePart(text string) (float64, error) {
	number, ok := strings.CutSuffix(text, "%")
	percent, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(percent > 0 && percent <= 100) {
		return 0, fmt.Errorf(`must be a part such as "95%%", got %q`, text)
	}
	return percent / 100, nil
}

// Reached reports whether a part and what is left are at the level.
func (l Level) Reached(part float64, left int64) bool {
	return (l.Part > 0 || l.Left > 0) && part >= l.Part && (l.Left == 0 || left < l.Left)
}

// Before reports whether l is reached earlier than other. Levels of different measures do not compare: false.
func (l Level) Before(other Level) bool {
	less := func(a, b float64) bool { return a > 0 && b > 0 && a < b }
	part := less(l.Part, other.Part)
	left := other.Left > 0 && l.Left > other.Left
	switch {
	case l.Part > 0 && l.Left > 0 || other.Part > 0 && other.Left > 0:
		return part && left
	case l.Celsius > 0 || l.Late > 0:
		return less(l.Celsius, other.Celsius) || less(float64(l.Late), float64(other.Late))
	}
	return part || left
}

// Ceiling gives the level as a part of a whole of that size, for what is drawn and graphed: the later of its two
// conditions. NaN where it has none.
func (l Level) Ceiling(whole float64) float64 {
	part := math.NaN()
	if l.Part > 0 {
		part = l.Part
	}
	if l.Left > 0 && whole > 0 {
		if byLeft := 1 - float64(l.Left)/whole; !(byLeft <= part) {
			part = max(0, byLeft)
		}
	}
	return part
}
