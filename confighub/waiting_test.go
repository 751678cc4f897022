// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"cloud4.internal/hub/internal/initctl"
)

// supervised is a hub as hubinit starts it, in a run directory of its own.
func supervised(t *testing.T, gate string) *hub {
	t.Helper()
	var fds [2]int
	if err := syscall.Pipe(fds[:]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fds[0]) })
	t.Setenv(initctl.EnvCtlFD, fmt.Sprint(fds[1]))
	t.Setenv(initctl.EnvGate, gate)
	t.Setenv(initctl.EnvRunDir, t.TempDir())
	ctl, err := initctl.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	return &hub{ctl: ctl, runDir: ctl.RunDir()}
}

// A service that may run is reloaded: in a full run directory init.json is not there, or of yesterday.
func TestWaiting(t *testing.T) {
	for _, tt := range []struct {
		name, gate, state string
		ready, want       bool
	}{
		{"first start", "", initctl.ServiceWaiting, false, true},
		{"first start, full", "", "", false, true},
		{"the gate is open", "", initctl.ServiceWaiting, true, false},
		{"the gate is open, full", "", "", true, false},
		{"started again before the gate", "", initctl.ServiceWaiting, false, true},
		{"started again", initctl.GateOpen, initctl.ServiceRunning, false, false},
		{"started again, full", initctl.GateOpen, "", false, false},
		{"started again, full since before the gate", initctl.GateOpen, initctl.ServiceWaiting, false, false},
		{"started again by an older hubinit", "", initctl.ServiceRunning, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := supervised(t, tt.gate)
			h.ready = tt.ready
			if tt.state != "" {
				s := initctl.State{Service: initctl.ServiceState{State: tt.state}}
				if err := s.Write(h.runDir); err != nil {
					t.Fatal(err)
				}
			}
			if got := h.waiting(); got != tt.want {
				t.Errorf("waiting: %v", got)
			}
			os.RemoveAll(h.runDir)
		})
	}
}
