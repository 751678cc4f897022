// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// A container that the engine starts again and again, since its service ends each time, fails; one that people stop does not.
func TestRestartedByTheEngine(t *testing.T) {
	t.Parallel()
	for stopping, want := range map[string]bool{"the service exited": true, initctl.StoppedBy + "TERM": false} {
		state := t.TempDir()
		life := func() bool {
			dir, code := t.TempDir(), 3
			s := &initctl.State{Service: initctl.ServiceState{State: initctl.ServiceRunning, StartedAt: time.Now()}}
			if err := s.Write(dir); err != nil {
				t.Fatal(err)
			}
			init := newHubinit(true)
			a, stop := launchIn(t, Config{RunDir: dir, StateDir: state, Init: init, Settings: setting.Settings{}})
			waitFor(t, 5*time.Second, init.isReady)
			loops := slices.ContainsFunc(a.snapshot().Node.Children, func(n health.Node) bool {
				return n.Name == "runtime/restarts" && n.State == health.Fail && strings.Contains(n.Text, "restarted 3 times")
			})
			s.Service, s.ExitCode, s.Stopping = initctl.ServiceState{State: initctl.ServiceExited, LastExit: &initctl.Exit{Code: code}}, &code, stopping
			if err := s.Write(dir); err != nil {
				t.Fatal(err)
			}
			stop()
			return loops
		}
		for i := range 3 {
			if life() {
				t.Errorf("%s: a loop after %d ends", stopping, i)
			}
		}
		if got := life(); got != want {
			t.Errorf("%s: after three ends: told %t, want %t", stopping, got, want)
		}
	}
}
