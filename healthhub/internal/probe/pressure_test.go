// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

var pressures = version2.with(files{
	"/sys/fs/cgroup/cpu.pressure":    "some avg10=1.00 avg60=50.50 avg300=3.00 total=1\nfull avg10=0.00 avg60=2.00 avg300=0.00 total=0\n",
	"/sys/fs/cgroup/memory.pressure": "some avg10=1.00 avg60=2.00 avg300=3.00 total=1\nfull avg10=0.00 avg60=0.25 avg300=50.00 total=0\n",
	"/sys/fs/cgroup/io.pressure":     "some avg10=1.00 avg60=2.00 avg300=3.00 total=1\nfull avg10=90.00 avg60=20.00 avg300=0.00 total=0\n",
	"/proc/pressure/cpu":             "some avg10=1.00 avg60=1.00 avg300=3.00 total=1\n",
	"/proc/pressure/memory":          "some avg10=1.00 avg60=1.00 avg300=3.00 total=1\nfull avg10=0.00 avg60=11.00 avg300=50.00 total=0\n",
	"/proc/pressure/io":              "some avg10=1.00 avg60=1.00 avg300=3.00 total=1\nfull avg10=90.00 avg60=20.00 avg300=0.00 total=0\n",
})

func TestPressure(t *testing.T) {
	for name, test := range map[string]struct {
		check setting.Check
		state health.State
		text  string
		value string
		want  float64
	}{
		"all":         {setting.Check{}, health.Pass, "time lost waiting: cpu 50 %, memory 0.2 %, io 20 %", "memory.full", 0.0025},
		"last 10 s":   {setting.Check{Window: 10 * time.Second}, health.Fail, "(io: fail at 80%)", "io.full", 0.9},
		"last 5 min":  {setting.Check{Window: 5 * time.Minute}, health.Fail, "(memory: fail at 40%)", "memory.full", 0.5},
		"one":         {setting.Check{Resource: "cpu", Warn: "50%"}, health.Warn, "cpu 50 % (cpu: warn at 50%)", "cpu.some", 0.505},
		"other line":  {setting.Check{Resource: "cpu", Stall: "full", Fail: "1%"}, health.Fail, "", "cpu.full", 0.02},
		"the machine": {setting.Check{Scope: "host"}, health.Warn, "(memory: warn at 10%)", "memory.full", 0.11},
	} {
		t.Run(name, func(t *testing.T) {
			test.check.Kind = setting.KindPressure
			r := newLook(t, test.check, pressures.plant(t))(t.Context())
			expect(t, r, test.state, test.text)
			acceptable(t, r)
			if got := measured(t, r, test.value).Value; got != test.want {
				t.Errorf("%s %v, want %v", test.value, got, test.want)
			}
		})
	}
}

func TestPressureUnsupported(t *testing.T) {
	for name, test := range map[string]struct {
		tree  files
		check setting.Check
		text  string
	}{
		"version 1":       {version1.with(files{"/proc/pressure/cpu": pressures["/proc/pressure/cpu"]}), setting.Check{}, "and this machine has none"},
		"no files":        {version2, setting.Check{}, "this kernel has none here"},
		"no files, host":  {version2, setting.Check{Scope: "host"}, "this kernel has none here"},
		"no such line":    {pressures, setting.Check{Scope: "host", Resource: "cpu", Stall: "full"}, "keeps no full for cpu"},
		"something other": {pressures.with(files{"/sys/fs/cgroup/cpu.pressure": "some avg60=x\n"}), setting.Check{}, "keeps no some for cpu"},
	} {
		t.Run(name, func(t *testing.T) {
			test.check.Kind = setting.KindPressure
			wantUnsupported(t, newLook(t, test.check, test.tree.plant(t))(t.Context()), test.text)
		})
	}
}

// Of this machine, and of its control group of version 2, either a measure or the words that there is none.
func TestPressureOfThisMachine(t *testing.T) {
	for _, scope := range []string{setting.ScopeHost, setting.ScopeContainer} {
		r := newLook(t, setting.Check{Kind: setting.KindPressure, Scope: scope}, "")(t.Context())
		if r.Unsupported {
			t.Logf("%s: %s", scope, r.Text)
			continue
		}
		acceptable(t, r)
		if v := measured(t, r, "io.full"); r.Blind || v.Value < 0 || v.Value > 1 {
			t.Errorf("%s: %+v", scope, r)
		}
	}
}

func BenchmarkPressure(b *testing.B) { benchLook(b, setting.Check{Kind: setting.KindPressure}, "") }
