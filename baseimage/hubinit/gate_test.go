// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"cloud4.internal/hub/internal/initctl"
)

// TestHealthGate: healthhub keeps the start for as long as it says, and says what for.
func TestHealthGate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "confighub,healthhub").setenv("PLAY_CONFIGHUB=ready;wait")
	there := w.path("there")
	w.setenv("PLAY_HEALTHHUB=keep:1m,tcp://db:5432: no such host;await:"+there+";ready;wait").start("sh", "-c", "echo service ran; sleep 100")
	const said = "healthhub: tcp://db:5432: no such host"
	w.waitFor("what is waited for", func() bool { return w.state().Service.Waiting == said && w.hub(initctl.Confighub).Ready })
	w.waitFor("message", func() bool {
		return strings.Contains(w.err.String(), "waiting with the start") && strings.Contains(w.err.String(), said)
	})
	if strings.Contains(w.err.String(), "confighub_says") || w.state().Service.State != initctl.ServiceWaiting {
		t.Errorf("confighub is not waited for any more: %s", w.err)
	}
	if err := os.WriteFile(there, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w.waitOut("service ran")
	if waiting := w.waitRunning().Service.Waiting; waiting != "" {
		t.Errorf("still waits for %q", waiting)
	}
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
}

// TestHealthGateIsNotForEver: whatever is wrong with healthhub, the service starts.
func TestHealthGateIsNotForEver(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, play, said string }{
		{"off", "exit:2", "healthhub is off"},
		{"done", "exit:0", "healthhub is done"},
		{"ready", "ready;wait", "healthhub is ready"},
		{"ready, then ended", "keep:1m,x;ready;exit:1", "healthhub is ready"},
		{"silent from the start", "wait", "healthhub is silent"},
		{"silent later", "keep:100ms,tcp://db:1;wait", "healthhub is silent"},
		{"ends each time", "keep:1m,tcp://db:1;exit:1", "healthhub does not stay up"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "healthhub").setenv("PLAY_HEALTHHUB="+test.play, "HUB_RESTART_MAX=50ms").start("sh", "-c", "exit 5")
			w.wantExit(5)
			if !strings.Contains(w.err.String(), test.said) {
				t.Errorf("want %q in %s", test.said, w.err)
			}
		})
	}
}

// TestHealthGateSurvives: what a killed healthhub said holds until the next one says more.
func TestHealthGateSurvives(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "healthhub")
	there := w.path("there")
	w.setenv("PLAY_HEALTHHUB=gate;keep:1m,tcp://db:1;await:"+there+";ready;wait").start("sleep", "100")
	w.waitFor("waiting", func() bool { return w.state().Service.Waiting == "healthhub: tcp://db:1" })
	w.kill(w.hub(initctl.Healthhub).PID, syscall.SIGKILL)
	w.waitFor("another one", func() bool { h := w.hub(initctl.Healthhub); return h.Restarts == 1 && h.PID != 0 })
	if s := w.state().Service; s.State != initctl.ServiceWaiting {
		t.Errorf("service %+v", s)
	}
	if err := os.WriteFile(there, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w.waitRunning()
	w.kill(w.hub(initctl.Healthhub).PID, syscall.SIGKILL)
	w.waitJournal("healthhub gate open: true")
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
}

// TestHealthGateDeadline: what does not come in time ends the start like everything else.
func TestHealthGateDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "healthhub").setenv("PLAY_HEALTHHUB=keep:1m,dns:db;wait", "HUB_START_DEADLINE=300ms").start("true")
	w.wantExit(78)
	if !strings.Contains(w.err.String(), "healthhub: dns:db") {
		t.Errorf("what was waited for is not said: %s", w.err)
	}
}
