// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

const (
	// maxOutputBytes is Docker's limit too (moby, daemon/health.go).
	maxOutputBytes = 4 << 10
	// outputDelay is how long after the command's own end its children may hold its output open.
	outputDelay = time.Second
)

// execLook makes the look of kind exec. The command runs in a process group of its own, which is killed as a
// whole when the time is over, and is always waited for, so that slow checks neither pile up nor leave zombies.
func execLook(s setting.Check) Func {
	argv, convention := s.Command, s.Convention
	return func(ctx context.Context) Result {
		var out capped
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		cmd.WaitDelay = outputDelay
		if err := cmd.Start(); err != nil {
			if convention == setting.ConventionDocker && ctx.Err() == nil {
				return fail("%v", err)
			}
			return blind("%v", err)
		}
		err := cmd.Wait()
		if errors.Is(err, exec.ErrWaitDelay) {
			// Something the command left behind still holds its output; the group exists as long as that does.
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
		if ctx.Err() != nil {
			return fail("took too long and was killed%s", after(out.String()))
		}
		return judge(convention, cmd.ProcessState.ExitCode(), out.String())
	}
}

// judge reads an exit code; -1 is death by a signal.
func judge(convention string, code int, output string) Result {
	text := "exit code " + strconv.Itoa(code) + after(output)
	if output != "" && (code == 0 || convention == setting.ConventionNagios) {
		text = output // a plugin's first word says what the code does
	}
	switch {
	case code == 0:
		return result(health.Pass, "%s", text)
	case convention == setting.ConventionNagios && code == 1:
		return result(health.Warn, "%s", text)
	case convention == setting.ConventionNagios && code != 2:
		return result(health.Unknown, "%s", text)
	}
	// What a shell says when it could not run what it was told to (POSIX, XCU 2.8.2).
	if convention != setting.ConventionDocker && (code == 126 || code == 127) {
		return blind("%s", text)
	}
	return fail("%s", text)
}

func after(output string) string {
	if output == "" {
		return ""
	}
	return ": " + output
}

// capped keeps the first maxOutputBytes written to it.
type capped struct{ buf bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	c.buf.Write(p[:min(len(p), maxOutputBytes-c.buf.Len())])
	return len(p), nil
}

func (c *capped) String() string { return health.CleanText(c.buf.String()) }
