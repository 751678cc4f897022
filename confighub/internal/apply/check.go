// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"cloud4.internal/hub/confighub/internal/bundle"
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

// Words in an argv that are replaced.
const (
	wordPath = "{{path}}"
	wordRoot = "{{root}}"
)

// checkAll runs each distinct check once and returns what failed. An error is the machine's.
func (a *Applier) checkAll(ctx context.Context, p *plan) (lines []string, err error) {
	root, done := "", map[string]bool{}
	defer func() {
		if root != "" {
			os.RemoveAll(root)
		}
	}()
	for _, f := range p.files {
		argv, err := a.opts.Policy.resolve(f.Check)
		staged, changed := p.staged(f.Path)
		needsRoot := slices.ContainsFunc(argv, func(w string) bool { return strings.Contains(w, wordRoot) })
		if err != nil || argv == nil || !changed && !needsRoot {
			continue
		}
		if needsRoot && root == "" {
			if root, err = a.makeRoot(p); err != nil {
				return nil, fmt.Errorf("checking %s: %w", f.Path, err)
			}
		}
		argv = expand(argv, staged, root)
		if key := strings.Join(argv, "\x00"); done[key] {
			continue
		} else {
			done[key] = true
		}
		if err := run(ctx, checkTimeout, argv); err != nil {
			text := strings.NewReplacer(staged, f.Path, root+"/", "/").Replace(err.Error())
			if root == "" {
				text = strings.ReplaceAll(err.Error(), staged, f.Path)
			}
			lines = append(lines, fmt.Sprintf("%s: check %s: %s", f.Path, f.Check, a.redact(p, text)))
		}
	}
	return lines, nil
}

// staged returns where the new bytes of a target are, and whether they differ from the old ones.
func (p *plan) staged(target string) (string, bool) {
	for i := range p.changes {
		if c := &p.changes[i]; c.Path == target && !c.Env {
			return c.stagedPath(), true
		}
	}
	return target, false
}

// makeRoot makes a directory that holds every target at its full path, readable for this uid alone.
func (a *Applier) makeRoot(p *plan) (string, error) {
	base := a.opts.Dir
	if p.bare {
		base = a.opts.RunDir
	}
	root, err := os.MkdirTemp(base, "check-")
	if err != nil {
		return "", fmt.Errorf("making the directory of all targets: %w", err)
	}
	for _, f := range p.files {
		name := filepath.Join(root, f.Path)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return root, fmt.Errorf("making the directory of all targets: %w", err)
		}
		if err := os.WriteFile(name, f.Bytes, f.Mode.Perm()|0o400); err != nil {
			return root, fmt.Errorf("making the directory of all targets: %w", err)
		}
	}
	return root, nil
}

func expand(argv []string, path, root string) []string {
	words := make([]string, len(argv))
	for i, w := range argv {
		words[i] = strings.NewReplacer(wordPath, path, wordRoot, root).Replace(w)
	}
	return words
}

// reload runs the actions in order, the first that fails ends it. It returns those that ran.
func (a *Applier) reload(ctx context.Context, actions []bundle.Action) ([]string, error) {
	var ran []string
	for _, action := range actions {
		if err := a.act(ctx, action); err != nil {
			return ran, fmt.Errorf("reload %s: %w", action, err)
		}
		ran = append(ran, action.String())
	}
	return ran, nil
}

func (a *Applier) act(ctx context.Context, action bundle.Action) error {
	if action.Name == actionRestart {
		ctx, cancel := context.WithTimeout(ctx, restartTimeout)
		defer cancel()
		return a.opts.Control.Restart(ctx)
	}
	if signal, ok := strings.CutPrefix(action.Name, signalPrefix); ok {
		ctx, cancel := context.WithTimeout(ctx, controlTimeout)
		defer cancel()
		return a.opts.Control.Signal(ctx, signal)
	}
	argv, err := a.opts.Policy.resolve(action)
	if err != nil || argv == nil {
		return err
	}
	return run(ctx, actionTimeout, argv)
}

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
	err := cmd.Run()
	if cmd.Process != nil {
		// What it left running in its group would hold files and answer checks to come.
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
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
