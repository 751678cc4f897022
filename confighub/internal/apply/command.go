// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"cloud4.internal/hub/internal/initctl"
)

const (
	// checkTimeout bounds one check, actionTimeout one reload: nginx -t with slow DNS names needs ten seconds,
	// a database that reloads on a loaded machine some tens.
	checkTimeout  = 30 * time.Second
	actionTimeout = time.Minute
	// maxTold is how much of a command's output an error quotes, from the end, where most programs say why.
	maxTold = 4 << 10
)

// run runs a command in a process group of its own, which ends with it, and quotes its output when it fails.
func run(ctx context.Context, timeout time.Duration, argv []string) error {
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
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
	if told := out.String(); told != "" {
		return fmt.Errorf("%w: %s", err, told)
	}
	return err
}

// tail keeps the end of what is written.
type tail struct {
	kept bytes.Buffer
	cut  bool
}

// Write takes everything and keeps the last maxTold bytes.
func (t *tail) Write(p []byte) (int, error) {
	t.kept.Write(p)
	if over := t.kept.Len() - maxTold; over > 0 {
		t.kept.Next(over)
		t.cut = true
	}
	return len(p), nil
}

// String is the output as text on few lines.
func (t *tail) String() string {
	text := strings.TrimSpace(plain(t.kept.String()))
	if t.cut {
		text = "… " + text
	}
	return text
}

// plain leaves out what could move a terminal's cursor or turn its text around.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

func (a *Applier) redact(p *plan, s string) string { return redact(s, p.redact) }

// minSecret is the shortest text that is taken for a secret: a shorter one stands everywhere.
const minSecret = 4

// redact takes the secrets out of s, also out of a command's output, where they stand without control characters.
func redact(s string, secrets []string) string {
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, "***")
		if shown := plain(secret); len(shown) >= minSecret {
			s = strings.ReplaceAll(s, shown, "***")
		}
	}
	return s
}
