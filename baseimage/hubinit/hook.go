// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"cloud4.internal/hub/internal/initctl"
)

// hookRun is a directory of executables that run one after another, in name order.
type hookRun struct {
	dir    string // "init.d" or "stop.d"
	left   []string
	pid    int // 0: none runs
	then   func()
	failed func(code int, what string)
}

// runHooks starts the run; then is called after the last, failed instead when one
// ends with another code than 0.
func (s *supervisor) runHooks(dir string, then func(), failed func(code int, what string)) {
	s.hooks = hookRun{dir: dir, then: then, failed: failed}
	full := filepath.Join(s.set.hooksDir, dir)
	entries, err := os.ReadDir(full) // sorted by name
	if err != nil && !os.IsNotExist(err) {
		s.log.warn("cannot read the hooks", "directory", full, "error", err)
	}
	for _, e := range entries {
		file := filepath.Join(full, e.Name())
		info, err := os.Stat(file)
		switch {
		case strings.HasPrefix(e.Name(), "."), err == nil && info.IsDir():
		case err != nil:
			s.log.warn("cannot read hook", "hook", file, "error", err)
		case info.Mode()&0o111 == 0:
			s.log.warn("hook is not executable and is left out: chmod +x it", "hook", file)
		default:
			s.hooks.left = append(s.hooks.left, file)
		}
	}
	s.nextHook()
}

func (s *supervisor) nextHook() {
	run := &s.hooks
	if len(run.left) == 0 {
		run.then()
		return
	}
	file := run.left[0]
	run.left = run.left[1:]
	pid, err := s.forkHook(file)
	if err != nil {
		s.hookFailed(file, exitNotExec, explainExec(file, "", s.cwd, err))
		return
	}
	run.pid = pid
}

// forkHook starts a hook with the service's environment, its output among the hubs'.
func (s *supervisor) forkHook(file string) (int, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	out := uintptr(2)
	if s.pipes != nil {
		out = uintptr(s.pipes.byName[initctl.PipeHubs].w)
	}
	attr := &syscall.ProcAttr{
		Dir: s.cwd, Env: s.serviceEnv(), Files: []uintptr{null.Fd(), out, out},
		Sys: &syscall.SysProcAttr{Setpgid: true},
	}
	return s.fork(file, []string{file}, attr, func(status syscall.WaitStatus) { s.hookExited(file, status) })
}

func (s *supervisor) hookExited(file string, status syscall.WaitStatus) {
	s.hooks.pid = 0
	code := status.ExitStatus()
	if status.Signaled() {
		code = exitSignal + int(status.Signal())
	}
	if code != 0 {
		s.hookFailed(file, code, fmt.Errorf("exit code %d", code))
		return
	}
	s.nextHook()
}

func (s *supervisor) hookFailed(file string, code int, err error) {
	if s.phase == phaseEnding {
		return
	}
	s.log.error("hook failed", "hook", file, "error", err)
	s.hooks.failed(code, "hook "+filepath.Base(file)+" failed")
}

// cancelHooks ends the run without a further call.
func (s *supervisor) cancelHooks(sig syscall.Signal) {
	if s.hooks.pid > 0 {
		syscall.Kill(-s.hooks.pid, sig)
	}
	s.hooks.left = nil
	s.hooks.then, s.hooks.failed = func() {}, func(int, string) {}
}
