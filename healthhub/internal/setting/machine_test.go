// SPDX-License-Identifier: AGPL-3.0-or-later

package setting

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseLevel(t *testing.T) {
	for _, test := range []struct {
		kind, text string
		want       Level
	}{
		{KindDisk, "", Level{}},
		{KindDisk, "95%", Level{Part: 0.95}},
		{KindDisk, "2GB", Level{Left: 2e9}},
		{KindMemory, "64MiB 90%", Level{Part: 0.9, Left: 64 << 20}},
		{KindInode, "10000", Level{Left: 10000}},
		{KindPressure, "0.5%", Level{Part: 0.005}},
		{KindTemperature, "80", Level{Celsius: 80}},
		{KindTemperature, "82.5°C", Level{Celsius: 82.5}},
		{KindScheduler, "60s", Level{Late: time.Minute}},
	} {
		got, err := ParseLevel(test.kind, test.text)
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%s %q: %v %s", test.kind, test.text, err, diff)
		}
	}
	for kind, texts := range map[string]string{
		KindDisk: "0% 101% 2x -5% NaN% 0B 5%,6% 0 Inf%", KindInode: "2GB 1.5 0", KindPressure: "2GB 30 0%",
		KindTemperature: "cold -3C 900C NaN", KindScheduler: "5 0s -1s 5%", KindFile: "5%",
	} {
		for _, text := range append(strings.Fields(texts), " ", "5% 6%", "2GB 3GB", "5% 2GB 1GB") {
			if got, err := ParseLevel(kind, text); err == nil {
				t.Errorf("%s %q: %+v", kind, text, got)
			}
		}
	}
}

func TestReached(t *testing.T) {
	both := Level{Part: 0.9, Left: 1000}
	for _, test := range []struct {
		level Level
		part  float64
		left  int64
		want  bool
	}{
		{Level{}, 1, 0, false}, {Level{Part: 0.9}, 0.9, 5000, true}, {Level{Part: 0.9}, 0.89, 0, false},
		{Level{Left: 1000}, 0.1, 999, true}, {Level{Left: 1000}, 0.1, 1000, false},
		{both, 0.95, 5000, false}, {both, 0.5, 10, false}, {both, 0.95, 10, true},
	} {
		if got := test.level.Reached(test.part, test.left); got != test.want {
			t.Errorf("%+v at %v, %d left: %t", test.level, test.part, test.left, got)
		}
	}
}

func TestCeiling(t *testing.T) {
	for _, test := range []struct {
		level Level
		whole float64
		want  float64
	}{
		{Level{Part: 0.9}, 1000, 0.9}, {Level{Left: 100}, 1000, 0.9}, {Level{Left: 5000}, 1000, 0},
		{Level{Part: 0.9, Left: 10}, 1000, 0.99}, {Level{Part: 0.9, Left: 500}, 1000, 0.9}, {Level{}, 1000, math.NaN()},
	} {
		if got := test.level.Ceiling(test.whole); got != test.want && !(math.IsNaN(got) && math.IsNaN(test.want)) {
			t.Errorf("%+v of %v: %v, want %v", test.level, test.whole, got, test.want)
		}
	}
}

func TestMachineKindsRefused(t *testing.T) {
	for name, test := range map[string]struct{ check, want string }{
		"level":              {`{"kind": "disk", "fail": "full"}`, `a.fail: must be a part such as "95%"`},
		"inode level":        {`{"kind": "inode", "warn": "2GB"}`, `a.warn: must be a part such as "95%"`},
		"warn after fail":    {`{"kind": "disk", "warn": "95%", "fail": "90%"}`, `a.warn: "95%" comes after fail "90%"`},
		"less left":          {`{"kind": "disk", "warn": "1GB", "fail": "2GB"}`, `comes after fail`},
		"level of other":     {`{"kind": "tcp", "address": "a:1", "warn": "5%"}`, "a.warn: means nothing for kind tcp"},
		"path of other":      {`{"kind": "memory", "path": "/x"}`, "a.path: means nothing for kind memory"},
		"relative":           {`{"kind": "disk", "path": "x"}`, "must be absolute"},
		"average":            {`{"kind": "pressure", "window": "5s"}`, "a.window"},
		"other average":      {`{"kind": "pressure", "window": "30s"}`, "must be 10s, 60s or 300s"},
		"resource":           {`{"kind": "pressure", "resource": "disk"}`, "a.resource"},
		"scope":              {`{"kind": "disk", "scope": "host"}`, "only for memory and pressure"},
		"ages":               {`{"kind": "file", "path": "/x", "min_age": "2h", "max_age": "1h"}`, "below min_age"},
		"absent with age":    {`{"kind": "file", "path": "/x", "absent": true, "max_age": "1h"}`, "a.absent: goes without"},
		"bad glob":           {`{"kind": "file", "path": "/x[", "absent": true}`, "a.path: is no pattern"},
		"no path for a file": {`{"kind": "file"}`, "a.path: is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, `{"health": {"checks": {"a": `+test.check+`}}}`)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	for _, check := range []string{
		`{"kind": "disk"}`, `{"kind": "disk", "path": "/backup", "warn": "90% 20GB", "fail": "95%"}`, `{"kind": "inode", "fail": "1000"}`,
		`{"kind": "pressure", "resource": "io", "stall": "some", "window": "300s", "warn": "20%"}`, `{"kind": "memory", "scope": "host"}`,
		`{"kind": "file", "path": "/backup/**/*.tar.zst", "max_age": "26h", "min_size": "1MiB"}`,
	} {
		if _, err := load(t, `{"health": {"checks": {"a": `+check+`}}}`); err != nil {
			t.Errorf("%s: %v", check, err)
		}
	}
}
