// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"cloud4.internal/hub/internal/proctest"
)

// startOnTerminal starts hubinit as a session's leader with the terminal on 0 to
// 2, as `docker run -it` does, and returns its keyboard; what the terminal shows
// goes to w.out.
func (w *world) startOnTerminal(argv ...string) (keyboard *os.File) {
	w.t.Helper()
	master, slave := proctest.Terminal(w.t)
	w.cmd = proctest.Init(w.t, append([]string{w.path("bin/hubinit")}, argv...)...)
	w.cmd.Stdin, w.cmd.Stdout, w.cmd.Stderr = slave, slave, slave
	w.cmd.SysProcAttr.Setsid, w.cmd.SysProcAttr.Setctty, w.cmd.SysProcAttr.Ctty = true, true, 0
	w.launch()
	slave.Close()
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			w.out.Write(buf[:n])
			if err != nil {
				return // EIO: the last holder of the terminal is gone
			}
		}
	}()
	return master
}

// TestTerminal: an interactive shell has job control; ^C ends what runs in its
// foreground and not the shell; its output is not captured.
func TestTerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub,healthhub,confighub").setenv("PS1=prompt> ", "TERM=dumb", "HISTFILE=", "HOME=/nonexistent")
	keyboard := w.startOnTerminal("bash", "--norc", "--noprofile", "-i")
	typed := func(text string) { fmt.Fprint(keyboard, text) }
	w.waitOut("prompt> ")
	typed("echo flags $-\r")
	w.waitFor("job control", func() bool {
		for line := range strings.Lines(w.out.String()) {
			if strings.HasPrefix(line, "flags ") && strings.Contains(line, "m") && strings.Contains(line, "i") {
				return true
			}
		}
		return false
	})
	typed("sh -c 'echo begun; exec sleep 60'\r")
	w.waitOut("\nbegun")
	typed("\x03")
	typed("echo code $?\r")
	w.waitOut("\ncode 130")
	typed("grep SigIgn /proc/self/status\r")
	w.waitOut(ignored(t))
	typed("exit 3\r")
	w.wantExit(3)
	if strings.Contains(w.out.String(), "job control") || strings.Contains(w.out.String(), "cannot set terminal") {
		t.Errorf("bash complains: %s", w.out)
	}
	if strings.Contains(w.out.String(), `{"level"`) {
		t.Errorf("messages on a terminal are not for people: %s", w.out)
	}
}

// TestTerminalInterrupt: ^C reaches a plain service directly, once.
func TestTerminalInterrupt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none")
	keyboard := w.startOnTerminal(proctest.Argv("trap=INT:6", "print=up", "wait")...)
	w.waitOut("up")
	fmt.Fprint(keyboard, "\x03")
	w.wantExit(6)
}

// TestTerminalRestart: a restart in place keeps the terminal.
func TestTerminalRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "confighub")
	w.setenv("PLAY_CONFIGHUB=ready;await:" + w.path("go") + ";restart;note:restarted;wait")
	master := w.startOnTerminal("sh", "-c", "trap 'exit 1' TERM; while read word; do echo got $word; done")
	fmt.Fprint(master, "one\r")
	w.waitOut("got one")
	os.WriteFile(w.path("go"), nil, 0o644)
	w.waitJournal("restarted")
	fmt.Fprint(master, "two\r")
	w.waitOut("got two")
	w.signal(syscall.SIGTERM)
	w.wantExit(1)
}

// TestNoTerminal: /dev/null is a character device, but no terminal.
func TestNoTerminal(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if isTerminal(int(null.Fd())) {
		t.Error("/dev/null counts as a terminal")
	}
	_, slave := proctest.Terminal(t)
	if !isTerminal(int(slave.Fd())) {
		t.Error("a terminal does not count as one")
	}
}
