// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// logged writes log.json as loghub of that pid does.
func logged(t *testing.T, dir string, pid int, section string) {
	t.Helper()
	err := health.WriteFile(dir, health.LogFile, health.Node{Kind: health.KindHub, Name: "log"}, json.RawMessage(section), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	path := dir + "/log.json"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	fields["pid"] = pid
	if data, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, max := t.TempDir(), 5
		newLog := func(s setting.Check) Func {
			s.Kind = setting.KindLog
			f, err := New(s, Place{RunDir: dir})
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		looks := map[string]Func{
			"warn":  newLog(setting.Check{Severity: "warn", Max: &max}),
			"error": newLog(setting.Check{Max: &max}),
			"fatal": newLog(setting.Check{Severity: "fatal", Max: &max, Window: time.Minute}),
		}
		pid := 7
		write := func(warn, err, fatal int) {
			logged(t, dir, pid, fmt.Sprintf(`{"severities": {"warn": %d, "error": %d, "fatal": %d}}`, warn, err, fatal))
		}
		check := func(severity string, state health.State, text string) {
			t.Helper()
			r := looks[severity](t.Context())
			expect(t, r, state, text)
			acceptable(t, r)
		}
		all := func() {
			for _, severity := range []string{"warn", "error", "fatal"} {
				looks[severity](t.Context())
			}
		}
		write(1000, 100, 10) // from before: nobody knows when
		check("warn", health.Pass, "events of severity warn or worse are counted from now on")
		check("error", health.Pass, "are counted from now on")
		check("fatal", health.Pass, "are counted from now on")
		time.Sleep(10 * time.Second)
		write(1004, 101, 10)
		check("warn", health.Pass, "5 events of severity warn or worse in the last 10s")
		check("error", health.Pass, "1 event of severity error or worse in the last 10s")
		check("fatal", health.Pass, "0 events")
		time.Sleep(10 * time.Second)
		write(1004, 106, 10)
		check("warn", health.Fail, "10 events of severity warn or worse in the last 20s, more than 5")
		check("error", health.Fail, "6 events of severity error or worse")
		time.Sleep(10 * time.Second)
		pid = 8 // another loghub, which counted as many meanwhile
		write(1004, 106, 10)
		check("fatal", health.Fail, "10 events of severity fatal")
		for range 6 {
			time.Sleep(10 * time.Second)
			all()
		}
		check("fatal", health.Pass, "0 events of severity fatal or worse in the last 1m")
		for range 30 {
			time.Sleep(10 * time.Second)
			all()
		}
		check("error", health.Pass, "0 events of severity error or worse in the last 5m")
	})
}

// Who does not count says so, and is not taken for a container without errors.
func TestLogWithoutCounts(t *testing.T) {
	dir := t.TempDir()
	f, err := New(setting.Check{Kind: setting.KindLog}, Place{RunDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	blindly := func(text string) {
		t.Helper()
		r := f(t.Context())
		expect(t, r, health.Unknown, text)
		if !r.Blind || r.Unsupported || len(r.Values) > 0 {
			t.Errorf("%+v", r)
		}
	}
	blindly("log.json is missing")
	logged(t, dir, 7, `{"stdout": "raw"}`)
	wantUnsupported(t, f(t.Context()), "log.otlp, or log.stdout json")
	logged(t, dir, 7, `{"severities": 5}`)
	blindly("log.json: ")
	if err := health.WriteFile(dir, health.LogFile, health.Node{Kind: health.KindHub, Name: "log"}, nil, time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond) // the file is valid for less
	blindly("loghub is silent since")
}

func BenchmarkLog(b *testing.B) {
	dir := b.TempDir()
	section := json.RawMessage(`{"severities": {"warn": 1, "error": 2, "fatal": 3}}`)
	if err := health.WriteFile(dir, health.LogFile, health.Node{Kind: health.KindHub, Name: "log"}, section, time.Hour); err != nil {
		b.Fatal(err)
	}
	f, err := New(setting.Check{Kind: setting.KindLog}, Place{RunDir: dir})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f(b.Context())
	}
}
