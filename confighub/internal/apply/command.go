// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

const (
	// checkTimeout bounds one check, actionTimeout one reload: nginx -t with slow DNS names needs ten seconds,
	// a database that reloads on a loaded machine some tens.
	checkTimeout  = 30 * time.Second
	actionTimeout = time.Minute
	// maxTold is how much of a command's output an error quotes, from the end, where most programs say why. maxKept of
	// it is looked through for secrets before, so that none is cut in two.
	maxTold = 4 << 10
	maxKept = 64 << 10
)

// failed is a command that ended badly.
type failed struct {
	err  error
	told string // its output
}

// Error quotes the output.
func (e *failed) Error() string {
	if e.told == "" {
		return e.err.Error()
	}
	return e.err.Error() + ": " + e.told
}

// Unwrap returns how it ended.
func (e *failed) Unwrap() error { return e.err }

// run runs a command in a process group of its own, which ends with it. The command itself ends with confighub, however
// that ends: the next one would run it a second time meanwhile. A failed quotes its output without secrets.
func run(ctx context.Context, timeout time.Duration, argv, secrets []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done after %s", timeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = "/"
	cmd.Env = slices.DeleteFunc(os.Environ(), func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		return slices.Contains(initctl.Private(), name)
	})
	// It is the end of the thread that kills (prctl(2), PR_SET_PDEATHSIG), so this one is kept.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A grandchild that keeps the pipe open must not keep us.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return &unperformed{err}
	}
	err := cmd.Wait()
	// What it left running in its group would hold files and answer checks to come.
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return &failed{err, out.told(secrets)}
}

// tail keeps the end of what is written.
type tail struct {
	kept bytes.Buffer
	cut  bool
}

// Write takes everything and keeps the last maxKept bytes.
func (t *tail) Write(p []byte) (int, error) {
	t.kept.Write(p)
	if over := t.kept.Len() - maxKept; over > 0 {
		t.kept.Next(over)
		t.cut = true
	}
	return len(p), nil
}

// told is the end of the output as text on few lines, without secrets.
func (t *tail) told(secrets []string) string {
	text := strings.TrimSpace(redact(plain(t.kept.String()), secrets))
	if over := len(text) - maxTold; over > 0 {
		text, t.cut = strings.ToValidUTF8(text[over:], ""), true
	}
	if t.cut {
		text = "… " + text
	}
	return text
}
