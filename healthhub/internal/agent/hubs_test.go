// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

func running() *initctl.State {
	return &initctl.State{
		Service: initctl.ServiceState{State: initctl.ServiceRunning},
		Hubs: map[string]*initctl.HubState{
			initctl.Confighub: {State: initctl.HubRunning}, initctl.Loghub: {State: initctl.HubRunning}, initctl.Healthhub: {State: initctl.HubRunning},
		},
		Pipes: map[string]initctl.Pipe{"stdout": {}},
	}
}

// saying is what the checks say at a time: "hub/init pass".
func saying(t *testing.T, h *hubs, at time.Time) []string {
	t.Helper()
	h.look(at)
	out := []string{}
	for _, n := range h.nodes() {
		if err := n.Accept(health.ContainerLimits); err != nil {
			t.Error(err)
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %v %s", n.Name, n.State, n.Text)))
	}
	return out
}

func TestHubs(t *testing.T) {
	const fine = "hub/init pass all hubs that are wanted run"
	well := func(t *testing.T, dir string) {
		for _, n := range []health.Node{
			{Kind: health.KindHub, Name: "config", Children: []health.Node{
				{Kind: health.KindHub, Name: "config", State: health.Warn, Text: "stale"}, {Kind: health.KindHub, Name: "identity"},
			}},
			{Kind: health.KindHub, Name: "log", State: health.Fail, Text: "the spool is full"},
		} {
			if err := health.WriteFile(dir, n.Name, n, nil, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, test := range map[string]struct {
		files  func(t *testing.T, dir string)
		change func(s *initctl.State) // nil: no hubinit
		want   []string               // 20 s after the first look
	}{
		"nothing": {nil, nil, []string{}},
		"what they say": {well, func(*initctl.State) {}, []string{
			fine, "hub/config warn stale", "hub/identity pass", "hub/log fail the spool is full",
		}},
		"without hubinit": {well, nil, []string{"hub/config warn stale", "hub/identity pass", "hub/log fail the spool is full"}},
		"silent": {nil, func(*initctl.State) {}, []string{
			fine, "hub/config warn confighub runs but has not said how it is (config.json is missing)",
			"hub/log warn loghub runs but has not said how it is (log.json is missing)",
		}},
		"not wanted": {nil, func(s *initctl.State) { s.Hubs = nil }, []string{fine}},
		"done": {nil, func(s *initctl.State) {
			s.Hubs[initctl.Confighub].State = initctl.HubDone
			delete(s.Hubs, initctl.Loghub)
		}, []string{fine}},
		"off": {well, func(s *initctl.State) {
			s.Hubs[initctl.Loghub] = &initctl.HubState{State: initctl.HubOff, LastExit: &initctl.Exit{Code: 2}}
		}, []string{"hub/init warn loghub is off: its settings are wrong, its log says which", "hub/config warn stale", "hub/identity pass"}},
		"backoff": {well, func(s *initctl.State) {
			s.Hubs[initctl.Loghub] = &initctl.HubState{State: initctl.HubBackoff, LastExit: &initctl.Exit{Code: 137, Signal: "KILL"}}
		}, []string{"hub/init warn loghub ended by KILL and is started again", "hub/config warn stale", "hub/identity pass", "hub/log fail the spool is full"}},
		"expired": {func(t *testing.T, dir string) {
			well(t, dir)
			expired := `{"schema":1,"written_at":"2026-01-01T00:00:00Z","valid_until_boot":0.1,"health":{"kind":"hub","name":"log","state":"pass"}}`
			if err := os.WriteFile(filepath.Join(dir, "log.json"), []byte(expired), 0o600); err != nil {
				t.Fatal(err)
			}
		}, func(*initctl.State) {}, []string{
			fine, "hub/config warn stale", "hub/identity pass", "hub/log warn loghub is silent since 2026-01-01T00:00:00Z: it hangs, or cannot write",
		}},
		"broken init.json": {func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, initctl.StateFile), []byte(`{"schema":0}`), 0o600); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"hub/init warn reading hubinit's state DIR/init.json: schema 0, want 1 or above"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if test.files != nil {
				test.files(t, dir)
			}
			if test.change != nil {
				s := running()
				test.change(s)
				if err := s.Write(dir); err != nil {
					t.Fatal(err)
				}
			}
			h := newHubs(dir, false, nil)
			now := time.Now()
			saying(t, h, now)
			got := saying(t, h, now.Add(20*time.Second))
			for i := range got {
				got[i] = strings.ReplaceAll(got[i], dir, "DIR")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Restarts and losses are told of for ten minutes.
func TestHubsHistory(t *testing.T) {
	dir := t.TempDir()
	s := running()
	delete(s.Hubs, initctl.Confighub)
	delete(s.Hubs, initctl.Loghub)
	h := newHubs(dir, false, nil)
	now := time.Now()
	step := func(after time.Duration, change func(), want ...string) {
		t.Helper()
		now = now.Add(after)
		if change != nil {
			change()
		}
		if err := s.Write(dir); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, saying(t, h, now)); diff != "" {
			t.Error(diff)
		}
	}
	const fine = "hub/init pass all hubs that are wanted run"
	step(0, func() { s.Service.Restarts = 7 }, fine)
	step(time.Minute, func() { s.Service.Restarts = 9 }, fine)
	const loop = "runtime/restarts fail restarted 3 times in 10m0s"
	step(time.Minute, func() { s.Service.Restarts = 10 }, fine, loop)
	step(5*time.Minute, func() { s.Pipes["stdout"] = initctl.Pipe{Lost: 400} },
		"hub/init warn 400 bytes of output were lost", loop)
	step(9*time.Minute, nil, "hub/init warn 400 bytes of output were lost")
	step(2*time.Minute, nil, fine)
	kills := uint64(0)
	h.oomKills = func() (uint64, bool) { return kills, true }
	const killed, short = "runtime/memory fail killed for want of memory just now: 1", "hub/init warn killed for want of memory in the last 10m: 1"
	step(0, func() { kills = 1 }, short, killed)
	step(59*time.Second, nil, short, killed)
	step(time.Second, nil, short)
	step(10*time.Minute, nil, fine)
	step(0, func() { // a hub went first
		kills = 2
		s.Hubs[initctl.Healthhub].LastExit = &initctl.Exit{Code: 137, Signal: "KILL", OOM: true, At: now}
	}, short)
	step(11*time.Minute, nil, fine)
	// Its own restarts are those of processes before it.
	step(0, func() {
		*s.Hubs[initctl.Healthhub] = initctl.HubState{State: initctl.HubRunning, Restarts: 4, LastExit: &initctl.Exit{Signal: "KILL", At: now}}
	}, "hub/init warn healthhub was restarted 4 times, the last one ended by KILL")
	step(11*time.Minute, nil, fine)
}

// How the service ended is told where nobody asked it to: while it is held, and in the last report.
func TestHubsExit(t *testing.T) {
	zero, one := 0, 1
	for name, test := range map[string]struct {
		exit     initctl.Exit
		code     *int
		stopping string
		job      bool
		want     string
	}{
		"held":           {initctl.Exit{Code: 3}, nil, "", false, "runtime/exit fail the service ended with code 3"},
		"killed":         {initctl.Exit{Code: 137, Signal: "KILL"}, nil, "", false, "runtime/exit fail the service was ended by KILL"},
		"by itself":      {initctl.Exit{Code: 1}, &one, "the service exited", false, "runtime/exit fail the service ended with code 1"},
		"as it should":   {initctl.Exit{Code: 0}, &zero, "the service exited", false, ""},
		"a success code": {initctl.Exit{Code: 143}, &zero, "the service exited", false, ""},
		"told to stop":   {initctl.Exit{Code: 143, Signal: "TERM"}, &one, "signal TERM", false, ""},
		"a job":          {initctl.Exit{Code: 1}, &one, "the service exited", true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := running()
			s.Hubs, s.ExitCode, s.Stopping = nil, test.code, test.stopping
			s.Service = initctl.ServiceState{State: initctl.ServiceExited, LastExit: &test.exit}
			if err := s.Write(dir); err != nil {
				t.Fatal(err)
			}
			h := newHubs(dir, false, nil)
			h.job = test.job
			if got := strings.Join(saying(t, h, time.Now())[1:], "; "); got != test.want {
				t.Errorf("says %q, want %q", got, test.want)
			}
		})
	}
}
