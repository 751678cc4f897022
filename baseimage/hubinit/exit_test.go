// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/proctest"
)

// TestExitCodes: every code the service can have is the container's.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none")
	for n := range 256 {
		cmd := proctest.Init(t, w.path("bin/hubinit"), "sh", "-c", fmt.Sprintf("exit %d", n))
		cmd.Env = w.env
		cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != n {
			t.Fatalf("service exits %d, container %d", n, code)
		}
	}
}

func TestSignalDeaths(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 6, 9, 11, 15} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(t, "none").start("sh", "-c", fmt.Sprintf("kill -%d $$; sleep 5", n))
			w.wantExit(128 + n)
			if got, want := w.lastEvent()["signal"], initctl.SignalName(syscall.Signal(n)); got != want {
				t.Errorf("last event says signal %v, want %v", got, want)
			}
		})
	}
}

func TestNotStartable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none")
	write := func(name, content string, mode os.FileMode) string {
		file := w.path(name)
		if err := os.WriteFile(file, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	elf := func(machine byte) string {
		return "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00" + string(machine) + "\x00" + strings.Repeat("\x00", 100)
	}
	for _, test := range []struct {
		name string
		argv string
		code int
		says []string
	}{
		{"not in PATH", "no-such-program", 127, []string{"no-such-program", "PATH=/usr/local/bin:/usr/bin:/bin"}},
		{"no such file", "/no/such/file", 127, []string{"/no/such/file"}},
		{"not executable", write("plain", "#!/bin/sh\n", 0o644), 126, []string{"/plain", "not executable"}},
		{"directory", w.dir, 126, []string{"directory"}},
		{"no interpreter", write("orphan", "#!/no/such/sh\n", 0o755), 126, []string{"/no/such/sh"}},
		{"windows line ends", write("crlf", "#!/bin/sh\r\nexit\r\n", 0o755), 126, []string{"Windows line ends"}},
		{"no program at all", write("text", "hello\n", 0o755), 126, []string{"neither a program nor a script"}},
		{"other architecture", write("foreign", elf(22), 0o755), 126, []string{"built for s390x", "this container is"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			sub := newWorld(t, "none").start(test.argv)
			sub.wantExit(test.code)
			for _, text := range test.says {
				if !strings.Contains(sub.err.String(), text) {
					t.Errorf("does not say %q:\n%s", text, sub.err)
				}
			}
		})
	}
}

func TestNoCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub,healthhub,confighub")
	w.cmd = proctest.Init(t, w.path("bin/hubinit"))
	w.launch().wantExit(2)
	if !strings.Contains(w.err.String(), "usage: hubinit") {
		t.Errorf("no usage: %s", w.err)
	}
	if _, err := os.Stat(w.path("journal")); err == nil {
		t.Errorf("a hub was started: %v", w.journal())
	}
}

func TestStopCodes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		argv []string
		sig  syscall.Signal
		code int
	}{
		{"own code", proctest.Argv("trap=TERM:7", "print=up", "wait"), syscall.SIGTERM, 7},
		{"no trap", []string{"sh", "-c", "echo up; exec sleep 100"}, syscall.SIGTERM, 143},
		{"QUIT", proctest.Argv("trap=QUIT:8", "print=up", "wait"), syscall.SIGQUIT, 8},
		{"INT", proctest.Argv("trap=INT:9", "print=up", "wait"), syscall.SIGINT, 9},
		{"RTMIN+3", proctest.Argv("trap=37:10", "print=up", "wait"), sigRTMin3, 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, "loghub,healthhub,confighub").start(test.argv...)
			w.waitOut("up")
			w.signal(test.sig)
			w.wantExit(test.code)
			event := w.lastEvent()
			if event["message"] != "container ends" || event["asked_by"] != "signal "+initctl.SignalName(test.sig) {
				t.Errorf("last event %v", event)
			}
		})
	}
}

func TestSuccessCodes(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]int{"143": 0, "3": 0, "4": 4} {
		newWorld(t, "none").setenv("HUB_SUCCESS_CODES=143, 3").start("sh", "-c", "exit "+code).wantExit(want)
	}
}

func TestStopGrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none").setenv("HUB_STOP_GRACE=300ms").start(proctest.Argv("ignore=TERM", "print=up", "wait")...)
	w.waitOut("up")
	w.signal(syscall.SIGTERM)
	w.wantExit(137)
}

// TestSecondStop: without a grace of its own hubinit passes every further stop
// signal on.
func TestSecondStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none").start(proctest.Argv("trap=TERM:", "trap=INT:4", "print=up", "wait")...)
	w.waitOut("up")
	w.signal(syscall.SIGTERM)
	w.waitOut("TERM")
	w.waitFor("state stopping", func() bool { return w.state().Service.State == initctl.ServiceStopping })
	w.signal(syscall.SIGINT)
	w.wantExit(4)
}

func TestWrongSettings(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{
		"HUB_HUBS=loghub,webhub", "HUB_STOP_GRACE=soon", "HUB_START_DEADLINE=-1s", "HUB_SUCCESS_CODES=256",
		"HUB_USER=nobody-knows", "HUB_RUN_DIR=/run", "HUB_RUN_DIR=run/hub", "HUB_STOP_SIGNAL=STOPP", "HUB_RESTART_MAX=1ms",
	} {
		t.Run(setting, func(t *testing.T) {
			w := newWorld(t, "none").setenv(setting).start("true")
			w.wantExit(78)
			name, _, _ := strings.Cut(setting, "=")
			if !strings.Contains(w.err.String(), name) {
				t.Errorf("does not name %s: %s", name, w.err)
			}
		})
	}
}

// brokenHubinit is hubinit with a fault that shows when the first signal comes.
func brokenHubinit(args []string) int {
	caught := catchSignals()
	caught.other = nil
	go func() {
		time.Sleep(100 * time.Millisecond)
		close(caught.stop) // the loop finds a nil signal
	}()
	return supervise(args, caught)
}

// TestFault: a panic is said, the service gets TERM, the code is 70.
func TestFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none")
	w.cmd = proctest.Init(t, append([]string{w.path("bin/hubinit-broken")}, proctest.Argv("trap=TERM:", "print=up", "sleep=1s")...)...)
	w.launch().wantExit(70)
	if !strings.Contains(w.err.String(), "goroutine") || !strings.Contains(w.err.String(), "fault in hubinit") {
		t.Errorf("the fault is not said: %s", w.err)
	}
}

// TestSubreaper: as an ordinary process it reaps, tells the code and harms nobody.
func TestSubreaper(t *testing.T) {
	t.Parallel()
	sentinel := exec.Command("sleep", "60")
	if err := sentinel.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { sentinel.Process.Kill(); sentinel.Wait() }()
	w := newWorld(t, "loghub,healthhub,confighub")
	w.startPlain(proctest.Argv("daemon=trap=TERM:;append="+w.path("journal")+":daemon up;wait", "orphans=20", "sleep=300ms", "exit=6")...)
	w.wantExit(6)
	if strings.Count(w.err.String(), "not process 1") != 1 {
		t.Errorf("want one notice: %s", w.err)
	}
	if err := sentinel.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the sentinel died: %v", err)
	}
	for pid, p := range processes() {
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.Contains(string(command), w.dir) {
			t.Errorf("left behind: %d %+v %q", pid, p, command)
		}
	}
}
