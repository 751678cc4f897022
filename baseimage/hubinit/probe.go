// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// probeBytes bounds the probe's line; Docker keeps five outputs of up to 4096 bytes.
const probeBytes = 200

// probe is the HEALTHCHECK: it reads what hubinit and healthhub wrote, asks
// nobody and runs nothing. 0: pass or warn; 1: all else.
func probe(runDir string, out io.Writer) int {
	healthy, text := judge(runDir)
	line := strings.Join(strings.Fields(text), " ")
	if len(line) > probeBytes-1 {
		line = strings.ToValidUTF8(line[:probeBytes-4], "") + "..."
	}
	fmt.Fprintln(out, line)
	if healthy {
		return 0
	}
	return 1
}

// judge looks at the processes first, then at what healthhub says.
func judge(runDir string) (healthy bool, text string) {
	s, err := initctl.ReadState(runDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, "fail: no " + runDir + "/init.json: hubinit does not run here (was ENTRYPOINT replaced?) or cannot write there"
	case err != nil:
		return false, "fail: " + err.Error()
	case syscall.Kill(s.PID, 0) == syscall.ESRCH:
		return false, fmt.Sprintf("fail: hubinit (pid %d) is not running", s.PID)
	case s.Service.State == initctl.ServiceWaiting || s.Service.State == initctl.ServiceStarting:
		return false, "starting: service " + s.Service.State + " " + s.Service.Waiting
	case s.Service.State != initctl.ServiceRunning:
		return false, "fail: service " + s.Service.State
	}
	hub := s.Hubs[initctl.Healthhub]
	if hub == nil {
		return true, "pass: service running (no healthhub)"
	}
	if hub.State == initctl.HubOff || hub.State == initctl.HubDone {
		return true, "warn: service running, healthhub " + hub.State
	}
	return judgeHealth(runDir)
}

func judgeHealth(runDir string) (healthy bool, text string) {
	f, err := health.ReadFile(runDir, health.HealthFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, "starting: healthhub has not reported yet"
	case err != nil:
		return false, "unknown: " + err.Error()
	case f.Stale():
		return false, "unknown: healthhub's report is stale"
	}
	node := f.Health
	text = node.State.String()
	if node.Text != "" {
		text += ": " + node.Text
	}
	return node.State == health.Pass || node.State == health.Warn, text
}
