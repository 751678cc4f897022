// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

func TestProbe(t *testing.T) {
	running := initctl.ServiceState{State: initctl.ServiceRunning}
	healthhub := map[string]*initctl.HubState{initctl.Healthhub: {State: initctl.HubRunning}}
	node := func(s health.State) *health.Node {
		return &health.Node{Kind: "container", Name: "web", State: s, Text: "said by a check"}
	}
	for _, test := range []struct {
		name  string
		state *initctl.State
		node  *health.Node
		valid time.Duration
		ready string // healthhub's own word
		code  int
		says  string
	}{
		{name: "no hubinit", code: 1, says: "hubinit does not run here"},
		{name: "hubinit dead", state: &initctl.State{PID: 1 << 22, Service: running}, code: 1, says: "not running"},
		{name: "waiting", state: &initctl.State{Service: initctl.ServiceState{State: initctl.ServiceWaiting, Waiting: "confighub"}}, code: 1, says: "starting: service waiting confighub"},
		{name: "exited", state: &initctl.State{Service: initctl.ServiceState{State: initctl.ServiceExited}}, code: 1, says: "fail: service exited"},
		{name: "stopping", state: &initctl.State{Service: initctl.ServiceState{State: initctl.ServiceStopping}}, code: 1, says: "fail: service stopping"},
		{name: "no healthhub", state: &initctl.State{Service: running}, code: 0, says: "pass"},
		{name: "healthhub off", state: &initctl.State{Service: running, Hubs: map[string]*initctl.HubState{initctl.Healthhub: {State: initctl.HubOff}}}, code: 0, says: "warn"},
		{name: "no report", state: &initctl.State{Service: running, Hubs: healthhub}, code: 1, says: "starting"},
		{name: "pass", state: &initctl.State{Service: running, Hubs: healthhub}, node: node(health.Pass), valid: time.Minute, code: 0, says: "pass: said by a check"},
		{name: "warn", state: &initctl.State{Service: running, Hubs: healthhub}, node: node(health.Warn), valid: time.Minute, code: 0, says: "warn"},
		{name: "warn while starting", state: &initctl.State{Service: running, Hubs: healthhub}, node: node(health.Warn), ready: "starting", valid: time.Minute, code: 1, says: "starting: said by a check"},
		{name: "forced to fail", state: &initctl.State{Service: running, Hubs: healthhub}, node: node(health.Fail), ready: "pass", valid: time.Minute, code: 0, says: "pass: said by a check"},
		{name: "warn and up", state: &initctl.State{Service: running, Hubs: healthhub}, node: node(health.Warn), ready: "warn", valid: time.Minute, code: 0, says: "warn: said by a check"},
		{name: "starting", state: &initctl.State{Service: running, Hubs: healthhub}, node: node(health.Starting), valid: time.Minute, code: 1, says: "starting"},
		{name: "unknown", state: &initctl.State{Service: running, Hubs: healthhub}, node: node(health.Unknown), valid: time.Minute, code: 1, says: "unknown"},
		{name: "fail", state: &initctl.State{Service: running, Hubs: healthhub}, node: node(health.Fail), valid: time.Minute, code: 1, says: "fail"},
		{name: "stale", state: &initctl.State{Service: running, Hubs: healthhub}, node: node(health.Pass), valid: time.Nanosecond, code: 1, says: "stale"},
		{name: "long", state: &initctl.State{Service: running, Hubs: healthhub}, node: &health.Node{State: health.Fail, Text: strings.Repeat("größer\n", 100)}, valid: time.Minute, code: 1, says: "größer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if test.state != nil {
				if test.state.PID == 0 {
					test.state.PID = os.Getpid()
				}
				if err := test.state.Write(dir); err != nil {
					t.Fatal(err)
				}
			}
			if test.node != nil {
				if err := health.WriteFile(dir, health.HealthFile, *test.node, map[string]string{"ready": test.ready}, test.valid); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Microsecond)
			}
			var out bytes.Buffer
			if code := probe(dir, &out); code != test.code {
				t.Errorf("code %d, want %d", code, test.code)
			}
			line := out.String()
			if !strings.Contains(line, test.says) || len(line) > probeBytes || strings.Count(line, "\n") != 1 || strings.ToValidUTF8(line, "") != line {
				t.Errorf("line %q, want one of at most %d bytes with %q", line, probeBytes, test.says)
			}
		})
	}
}

// TestProbeLive asks a real container, from its start to its end.
func TestProbeLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub").startPlain("sleep", "100")
	w.waitRunning()
	probe := func() (int, string) {
		cmd := exec.Command(w.path("bin/hubinit"), "probe")
		cmd.Env = w.env
		out, _ := cmd.Output()
		return cmd.ProcessState.ExitCode(), string(out)
	}
	if code, line := probe(); code != 0 || !strings.HasPrefix(line, "pass") {
		t.Errorf("running: %d %s", code, line)
	}
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
	if code, line := probe(); code != 1 {
		t.Errorf("ended: %d %s", code, line)
	}
}
