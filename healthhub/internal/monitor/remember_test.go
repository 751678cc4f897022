// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"cloud4.internal/hub/internal/health"
)

// healthhub runs a monitor until stop, which waits for its end.
func healthhub(t *testing.T, c Config) (m *Monitor, stop func()) {
	c.Changed = func() {}
	m = New(c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	return m, func() { cancel(); <-done }
}

// A healthhub that is started again knows what was reported to the one before, and when that is over.
func TestRemembersReports(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		(&service{t: t, dir: dir}).start()
		th := &thing{}
		th.set(health.Pass)
		settings := Config{RunDir: dir, Checks: []Check{pushed("backup", time.Hour), pushed("silent", time.Hour), polled("page", th)}}
		m, stop := healthhub(t, settings)
		for _, p := range []Push{
			{Name: "backup", State: health.Warn, Text: "2 files skipped"}, {Name: "disk", State: health.Fail, Text: "SMART", TTL: 48 * time.Hour},
			{Name: "brief", State: health.Pass, TTL: 10 * time.Second},
		} {
			if err := m.Push(p); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Notify("READY=1\nSTATUS=fine\nWATCHDOG_USEC=20000000\nWATCHDOG=1"); err != nil {
			t.Fatal(err)
		}
		after(500 * time.Millisecond)
		before := m.Nodes()
		stop() // which writes: within synctest the machine's uptime stands still
		m, stop = healthhub(t, settings)
		after(500 * time.Millisecond)
		for i, n := range m.Nodes() {
			b := before[i]
			if n.Name != b.Name || n.State != b.State || n.Text != b.Text || !n.Since.Equal(b.Since) || cmp.Diff(b.Flags, n.Flags) != "" {
				if n.Name != "page" && n.Name != "silent" { // which can be seen, and was not said
					t.Errorf("%s was %v %v %q since %s, is %v %v %q since %s", b.Name, b.State, b.Flags, b.Text, b.Since, n.State, n.Flags, n.Text, n.Since)
				}
			}
			if d := n.ValidUntil.Sub(b.ValidUntil); !b.ValidUntil.IsZero() && n.Name != "page" && (d < -time.Second || d > time.Second) {
				t.Errorf("%s was valid until %s, is until %s", n.Name, b.ValidUntil, n.ValidUntil)
			}
		}
		after(20 * time.Second)
		want(t, m, "backup=warn[] brief=fail[stale] disk=fail[] page=pass[] ready=pass[started] silent=pass[unchecked] "+
			"watchdog=fail[critical live stale]")
		stop()
		// While nobody runs, the service is restarted: it has to speak again.
		(&service{t: t, dir: dir}).start()
		m, stop = healthhub(t, settings)
		after(2 * time.Second)
		if got := states(m); !strings.Contains(got, "ready=starting[started]") || !strings.Contains(got, "watchdog=pass[critical live]") {
			t.Error(got)
		}
		stop()
	})
}

// What nobody will report on any more can be taken away, for good; what was asked for in the settings cannot.
func TestWithdraw(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := Config{RunDir: dir, Checks: []Check{pushed("backup", time.Hour), polled("page", &thing{})}}
		m, stop := healthhub(t, c)
		for _, name := range []string{"backup", "import", "queue"} {
			if err := m.Push(Push{Name: name, State: health.Fail}); err != nil {
				t.Fatal(err)
			}
		}
		for name, want := range map[string]error{"backup": ErrDeclared, "page": ErrPolled, "nothing": ErrUnknown, "import": nil} {
			if err := m.Withdraw(name); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
		for range 2 {
			after(time.Second)
			if got := states(m); strings.Contains(got, "import") || !strings.Contains(got, "backup=fail[] page=") || !strings.Contains(got, "queue=fail[]") {
				t.Error(got)
			}
			stop()
			m, stop = healthhub(t, c)
		}
		stop()
	})
}

// A service that says every second that it lives does not wear a disk out; and when healthhub is killed, what is missing in the
// file does not make it late.
func TestRemembersWithoutHaste(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		(&service{t: t, dir: dir}).start()
		m, stop := healthhub(t, Config{RunDir: dir, Watchdog: 3 * time.Second})
		writes, last := 0, []byte(nil)
		for range 120 {
			if err := m.Notify("WATCHDOG=1\nSTATUS=" + time.Now().String()); err != nil {
				t.Fatal(err)
			}
			after(time.Second)
			if file, err := os.ReadFile(filepath.Join(dir, reportsFile)); err == nil && !bytes.Equal(file, last) {
				writes, last = writes+1, file
			}
		}
		if writes < 4 || writes > 6 {
			t.Errorf("%d writes in two minutes", writes)
		}
		stop()
		if err := os.WriteFile(filepath.Join(dir, reportsFile), last, 0o600); err != nil { // as if it had been killed
			t.Fatal(err)
		}
		m, stop = healthhub(t, Config{RunDir: dir})
		defer stop()
		after(30 * time.Second)
		want(t, m, "watchdog=pass[critical live]")
		after(4 * time.Second)
		want(t, m, "watchdog=fail[critical live stale]")
	})
}

func TestRemembersWhatFits(t *testing.T) {
	report := `{"name":"a","state":"fail","at":"2000-01-01T00:00:00Z"}`
	for name, test := range map[string]struct{ file, want, log string }{
		"nothing":         {"", "b=pass[unchecked]", ""},
		"a report":        {`{"schema":1,"uptime":1,"reports":[` + report + `]}`, "a=fail[] b=pass[unchecked]", ""},
		"another boot":    {`{"schema":1,"uptime":1e12,"reports":[` + report + `]}`, "b=pass[unchecked]", ""},
		"torn":            {`{"schema":1,"upt`, "b=pass[unchecked]", "forgotten"},
		"of nobody":       {`{"reports":[` + report + `]}`, "b=pass[unchecked]", "schema 0"},
		"large":           {strings.Repeat(" ", maxReportsBytes+1), "b=pass[unchecked]", "regular file"},
		"a bad name":      {`{"schema":1,"uptime":1,"reports":[{"name":"A"},` + report + `]}`, "a=fail[] b=pass[unchecked]", ""},
		"of what is seen": {`{"schema":1,"uptime":1,"reports":[` + strings.ReplaceAll(report, `"a"`, `"c"`) + `]}`, "b=pass[unchecked]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if test.file != "" {
				if err := os.WriteFile(filepath.Join(dir, reportsFile), []byte(test.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var log bytes.Buffer
			m := New(Config{
				RunDir: dir, Changed: func() {}, Log: zerolog.New(&log), Checks: []Check{pushed("b", time.Hour), polled("c", &thing{})},
			})
			want(t, m, test.want+" c=starting[]")
			if test.log == "" && log.Len() > 0 || !strings.Contains(log.String(), test.log) {
				t.Errorf("log %s", &log)
			}
		})
	}
}

// A run directory that cannot be written costs the memory, and is said once.
func TestCannotRemember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		m, stop := healthhub(t, Config{RunDir: "/nowhere", Log: zerolog.New(&log)})
		for range 10 {
			if err := m.Push(Push{Name: "a", State: health.Warn}); err != nil {
				t.Fatal(err)
			}
			after(10 * time.Second)
		}
		stop()
		want(t, m, "a=warn[]")
		if n := strings.Count(log.String(), "not remembered"); n != 1 {
			t.Errorf("said %d times: %s", n, &log)
		}
	})
}
