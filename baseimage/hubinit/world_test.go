// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/proctest"
)

func TestMain(m *testing.M) {
	os.Exit(proctest.Main(m, map[string]proctest.Program{
		"hubinit":         run,
		"hubinit-broken":  brokenHubinit,
		initctl.Loghub:    func([]string) int { return playHub(initctl.Loghub) },
		initctl.Healthhub: func([]string) int { return playHub(initctl.Healthhub) },
		initctl.Confighub: func([]string) int { return playHub(initctl.Confighub) },
	}))
}

// world is one container: directories, hubinit as process 1 of a namespace, and
// what it writes.
type world struct {
	t          testing.TB
	dir        string // bin, etc, run, var, journal
	run        string
	cmd        *exec.Cmd
	out, err   *lockedBuffer
	env        []string
	exited     chan struct{}
	waitResult error
}

// lockedBuffer takes a child's output while the test reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newWorld makes the directories; hubs is HUB_HUBS.
func newWorld(t testing.TB, hubs string) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, dir: dir, run: filepath.Join(dir, "run"), out: new(lockedBuffer), err: new(lockedBuffer), exited: make(chan struct{})}
	for _, name := range []string{"bin", "etc", "run", "var"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	proctest.Link(t, w.path("bin"), "hubinit", "hubinit-broken", initctl.Loghub, initctl.Healthhub, initctl.Confighub)
	w.env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "HUB_HUBS=" + hubs, "HUB_RUN_DIR=" + w.run,
		"HUB_VAR_DIR=" + w.path("var"), "HUB_CONFIG=" + w.path("etc/hub.json"), "JOURNAL=" + w.path("journal"),
		"GORACE=atexit_sleep_ms=0", // under the race detector each child would take a second to end
	}
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// setenv changes the container's environment before start.
func (w *world) setenv(pairs ...string) *world {
	w.env = setEnv(w.env, pairs...)
	return w
}

// start runs hubinit as process 1 with the service's argv.
func (w *world) start(argv ...string) *world {
	w.t.Helper()
	w.cmd = proctest.Init(w.t, append([]string{w.path("bin/hubinit"), "--"}, argv...)...)
	return w.launch()
}

// startPlain runs hubinit as an ordinary process.
func (w *world) startPlain(argv ...string) *world {
	w.t.Helper()
	w.cmd = exec.Command(w.path("bin/hubinit"), append([]string{"--"}, argv...)...)
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.t.Cleanup(func() {
		if w.cmd.Process != nil {
			w.cmd.Process.Signal(syscall.SIGTERM)
			w.wait(5 * time.Second)
			w.cmd.Process.Kill()
		}
	})
	return w.launch()
}

func (w *world) launch() *world {
	w.t.Helper()
	w.cmd.Env = w.env
	if w.cmd.Stdout == nil {
		w.cmd.Stdout = w.out
	}
	if w.cmd.Stderr == nil {
		w.cmd.Stderr = w.err
	}
	w.cmd.WaitDelay = time.Second
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		w.waitResult = w.cmd.Wait()
		close(w.exited)
	}()
	return w
}

// wait gives the exit code, 128+n after a signal.
func (w *world) wait(limit time.Duration) (code int, ok bool) {
	select {
	case <-w.exited:
	case <-time.After(limit):
		return 0, false
	}
	status := w.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal()), true
	}
	return status.ExitStatus(), true
}

// wantExit waits for the end and compares the code.
func (w *world) wantExit(want int) {
	w.t.Helper()
	code, ok := w.wait(40 * time.Second)
	if !ok {
		w.fatalf("hubinit does not end")
	}
	if code != want {
		w.fatalf("exit code %d, want %d", code, want)
	}
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	state, _ := os.ReadFile(filepath.Join(w.run, initctl.StateFile))
	journal, _ := os.ReadFile(w.path("journal"))
	w.t.Fatalf(format+"\nstate: %s\njournal: %s\nstdout: %.2000s\nstderr: %.6000s", append(args, state, journal, w.out, w.err)...)
}

// waitFor polls until ok holds.
func (w *world) waitFor(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(3 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.fatalf("waited in vain for: %s", what)
		}
	}
}

// state reads init.json; a zero State before there is one.
func (w *world) state() *initctl.State {
	s, err := initctl.ReadState(w.run)
	if err != nil {
		return &initctl.State{}
	}
	return s
}

func (w *world) waitRunning() *initctl.State {
	w.t.Helper()
	w.waitFor("running service", func() bool { return w.state().Service.State == initctl.ServiceRunning })
	return w.state()
}

// waitOut waits until the service has printed text.
func (w *world) waitOut(text string) {
	w.t.Helper()
	w.waitFor("output "+text, func() bool { return strings.Contains(w.out.String(), text) })
}

func (w *world) hub(name string) initctl.HubState {
	if h := w.state().Hubs[name]; h != nil {
		return *h
	}
	return initctl.HubState{}
}

func (w *world) signal(sig syscall.Signal) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(sig); err != nil {
		w.fatalf("sending %v: %v", sig, err)
	}
}

// outside translates a pid of the namespace to ours, 0 when there is none.
func (w *world) outside(pid int) int {
	own := fmt.Sprintf("/proc/%d/ns/pid", w.cmd.Process.Pid)
	ns, err := os.Readlink(own)
	if err != nil {
		return 0
	}
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, e := range entries {
		if other, err := os.Readlink(e + "/ns/pid"); err != nil || other != ns {
			continue
		}
		status, _ := os.ReadFile(e + "/status")
		for line := range strings.Lines(string(status)) {
			f := strings.Fields(line)
			if len(f) > 0 && f[0] == "NSpid:" && f[len(f)-1] == strconv.Itoa(pid) {
				outer, _ := strconv.Atoi(filepath.Base(e))
				return outer
			}
		}
	}
	return 0
}

// kill sends a signal to a process of the container by its pid in there.
func (w *world) kill(pid int, sig syscall.Signal) {
	w.t.Helper()
	if pid == 0 {
		w.fatalf("no process to send %v to", sig)
	}
	outer := w.outside(pid)
	if outer == 0 {
		w.fatalf("process %d is not there", pid)
	}
	if err := syscall.Kill(outer, sig); err != nil {
		w.fatalf("sending %v to %d: %v", sig, pid, err)
	}
}

// journal are the lines the fake hubs and hooks wrote.
func (w *world) journal() []string {
	data, _ := os.ReadFile(w.path("journal"))
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

func (w *world) waitJournal(line string) {
	w.t.Helper()
	w.waitFor("journal "+line, func() bool { return slices.Contains(w.journal(), line) })
}

// hook writes an executable shell script into init.d or stop.d.
func (w *world) hook(name, script string) *world {
	w.t.Helper()
	file := w.path("etc/" + name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("#!/bin/sh\n"+script+"\n"), 0o755)); err != nil {
		w.t.Fatal(err)
	}
	return w
}

// lastEvent is hubinit's last message, decoded.
func (w *world) lastEvent() map[string]any {
	w.t.Helper()
	lines := strings.Split(strings.TrimSpace(w.err.String()), "\n")
	var event map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &event); err != nil {
		w.fatalf("last line is no event: %v", err)
	}
	return event
}
