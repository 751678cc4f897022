// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/proctest"
)

// TestForwarding: each signal reaches the service once, and none comes that
// nobody sent.
func TestForwarding(t *testing.T) {
	t.Parallel()
	sent := []syscall.Signal{
		syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGCONT, syscall.SIGWINCH,
		syscall.SIGSEGV, syscall.SIGTTOU, syscall.Signal(40), syscall.Signal(64),
		syscall.SIGINT, syscall.SIGQUIT, sigRTMin3, syscall.SIGTERM,
	}
	var steps []string
	for n := 1; n <= 64; n++ {
		switch syscall.Signal(n) {
		case syscall.SIGKILL, syscall.SIGSTOP, 32, 33, 34:
		case syscall.SIGURG, syscall.SIGCHLD: // a Go child sends itself URG; see TestNoStraySignal
		default:
			steps = append(steps, fmt.Sprintf("trap=%d:", n))
		}
	}
	w := newWorld(t, "loghub,healthhub,confighub").start(proctest.Argv(append(steps, "print=up", "wait")...)...)
	w.waitOut("up")
	want := map[string]int{"up": 1}
	for _, sig := range sent {
		w.signal(sig)
		line := fmt.Sprint(int(sig))
		w.waitOut("\n" + line + "\n")
		want[line] = 1
	}
	got := map[string]int{}
	for line := range strings.Lines(w.out.String()) {
		got[strings.TrimSpace(line)]++
	}
	for line, n := range got {
		if want[line] != n {
			t.Errorf("signal %s came %d times, want %d", line, n, want[line])
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestNoStraySignal: a shell that traps URG and CHLD-like noise sees nothing
// while hubinit works hard.
func TestNoStraySignal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub,healthhub,confighub").setenv("PLAY_HEALTHHUB=exit:1", "PLAY_CONFIGHUB=ready;"+strings.Repeat("hold:9s;release;", 20)+"note:asked;wait")
	w.start("bash", "-c", "trap 'echo stray URG' URG; trap 'echo stray WINCH' WINCH; trap 'echo stray CONT' CONT; trap 'exit 0' TERM; echo up; while :; do read -t 0.05 <> <(:); done")
	w.waitOut("up")
	w.waitJournal("asked")
	w.signal(syscall.SIGTERM)
	w.wantExit(0)
	if strings.Contains(w.out.String(), "stray") {
		t.Errorf("stray signals: %s", w.out)
	}
}

// TestBurst: ten thousand signals neither hang hubinit nor lose the one that matters.
func TestBurst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none").start(proctest.Argv("trap=USR1:", "trap=TERM:5", "print=up", "wait")...)
	w.waitOut("up")
	for range 10_000 {
		w.signal(syscall.SIGUSR1)
	}
	w.signal(syscall.SIGTERM)
	w.wantExit(5)
	if !strings.Contains(w.out.String(), "USR1") {
		t.Error("no USR1 arrived")
	}
}

// TestStopAtGate: TERM while confighub is not ready; deaf hubs do not delay it.
func TestStopAtGate(t *testing.T) {
	t.Parallel()
	for _, play := range []string{"wait", "deaf;wait"} {
		t.Run(play, func(t *testing.T) {
			w := newWorld(t, "loghub,healthhub,confighub").setenv("PLAY_CONFIGHUB=" + play)
			w.start("sh", "-c", "echo service ran")
			w.waitJournal("confighub start")
			if got := w.state().Service.State; got != initctl.ServiceWaiting {
				t.Errorf("service state %q at the gate", got)
			}
			begin := time.Now()
			w.signal(syscall.SIGTERM)
			w.wantExit(143)
			if took := time.Since(begin); took > 3*time.Second { // below one, on a machine that has nothing else to do
				t.Errorf("took %v", took)
			}
			if strings.Contains(w.out.String(), "service ran") {
				t.Error("the service was started")
			}
		})
	}
}

// TestStopEarly: TERM in the first milliseconds never leaves a container that hangs.
func TestStopEarly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none")
	for i := range 60 {
		cmd := proctest.Init(t, w.path("bin/hubinit"), "sleep", "30")
		cmd.Env = w.env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Until hubinit has replaced the kit's first stage the signal is lost, as it is on
		// any process 1 without a handler: so it is sent until it takes.
		time.Sleep(time.Duration(i%20) * time.Millisecond)
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		for deadline := time.Now().Add(5 * time.Second); ; {
			cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-ended:
			case <-time.After(5 * time.Millisecond):
				if time.Now().After(deadline) {
					t.Fatalf("round %d: hangs", i)
				}
				continue
			}
			break
		}
		// Before main the runtime answers: code 2, or a second TERM kills it meanwhile.
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if code := status.ExitStatus(); code != 143 && code != 2 && status.Signal() != syscall.SIGTERM {
			t.Errorf("round %d: %v", i, cmd.ProcessState)
		}
	}
}

// TestLeftovers: workers and siblings of the service get the signal too, and time to
// write their last word; daemons as well.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"child", "daemon"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, "loghub,healthhub,confighub")
			w.start(proctest.Argv(kind+"=trap=TERM:;append="+w.path("journal")+":worker up;wait", "print=up", "wait")...)
			w.waitOut("up")
			w.waitJournal("worker up")
			w.signal(syscall.SIGTERM)
			w.wantExit(143)
			if !strings.Contains(w.out.String(), "TERM\n") {
				t.Errorf("the worker's last word is lost: %s", w.out)
			}
			end := w.lastEvent()
			if had, ok := end["leftovers_ms"].(float64); !ok || had < float64(ms(leftoverTime)) {
				t.Errorf("the worker, which goes on waiting, had %v ms, want %v", end["leftovers_ms"], leftoverTime)
			}
			killed, _ := end["killed"].([]any) // and hubs with it, which had less time, where the machine is busy
			workers := slices.DeleteFunc(killed, func(name any) bool { return name != "hubinit.test" })
			if len(workers) != 1 {
				t.Errorf("killed: %v, want the worker", end["killed"])
			}
		})
	}
}

// TestOrphans: none stays a zombie, with the service alive all the time.
func TestOrphans(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none").start(proctest.Argv("orphans=1000", "print=made", "wait")...)
	w.waitOut("made")
	w.waitFor("no zombies", func() bool {
		zombies := 0
		for _, p := range processes() {
			if p.parent == w.cmd.Process.Pid && p.dead {
				zombies++
			}
		}
		return zombies == 0
	})
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
}
