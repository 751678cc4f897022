// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// Process makes the look of kind process: hubinit says in init.json that the service runs, and its process is there.
func Process(runDir string) Func {
	return func(context.Context) Result {
		state, err := initctl.ReadState(runDir)
		if err != nil {
			return blind("%v", err)
		}
		s := state.Service
		switch s.State {
		case initctl.ServiceRunning:
		case initctl.ServiceWaiting:
			return fail("not started: waits for %s", s.Waiting)
		case initctl.ServiceExited:
			return fail("exited%s", describeExit(s.LastExit))
		default:
			return fail("%s", s.State)
		}
		// EPERM: it is there, and another user's.
		if err := syscall.Kill(s.PID, 0); err != nil && !errors.Is(err, syscall.EPERM) {
			return fail("process %d is gone", s.PID)
		}
		return pass("process %d runs since %s", s.PID, s.StartedAt.UTC().Format(time.RFC3339))
	}
}

func describeExit(e *initctl.Exit) string {
	switch {
	case e == nil:
		return ""
	case e.OOM:
		return fmt.Sprintf(" with code %d: out of memory", e.Code)
	case e.Signal != "":
		return fmt.Sprintf(" with code %d: killed by %s", e.Code, e.Signal)
	}
	return fmt.Sprintf(" with code %d", e.Code)
}
