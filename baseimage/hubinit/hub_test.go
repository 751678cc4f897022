// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/proctest"
)

// TestOrder: what starts and stops when.
func TestOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "confighub,healthhub,loghub")
	open := w.path("open")
	w.setenv("PLAY_CONFIGHUB=await:"+open+";note:render;ready;wait").
		hook("init.d/20-b", "echo init b >> $JOURNAL; echo hook says >&2").
		hook("init.d/10-a", "echo init a >> $JOURNAL").
		hook("stop.d/10-a", "echo stop a >> $JOURNAL").
		start("sh", "-c", "trap 'echo service TERM >> $JOURNAL; exit 3' TERM; echo service start >> $JOURNAL; while :; do sleep 0.02; done")
	w.waitFor("all hubs", func() bool { return len(w.journal()) == 3 })
	started := w.journal()
	slices.Sort(started)
	if diff := cmp.Diff([]string{"confighub start", "healthhub start", "loghub start"}, started); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(open, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w.waitJournal("service start")
	s := w.waitRunning()
	if s.Service.PID == 0 || !s.Service.Ready || s.Service.StartedAt.IsZero() || !s.Hubs[initctl.Confighub].Ready {
		t.Errorf("state of the running service: %+v", s)
	}
	if pid, err := os.ReadFile(w.run + "/service.pid"); err != nil || string(pid) != fmt.Sprintln(s.Service.PID) {
		t.Errorf("service.pid %q, %v", pid, err)
	}
	w.signal(syscall.SIGTERM)
	w.wantExit(3)
	want := []string{"render", "init a", "init b", "service start", "stop a", "service TERM", "healthhub TERM", "confighub TERM", "loghub TERM"}
	if diff := cmp.Diff(want, w.journal()[3:]); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(w.err.String(), "hook says") {
		t.Errorf("a hook's output is lost: %s", w.err)
	}
	if got := w.state(); got.Service.State != initctl.ServiceExited || got.Service.LastExit.Code != 3 ||
		got.Service.LastExit.Asked != "signal TERM" || got.Hubs[initctl.Loghub].State != initctl.HubDone {
		t.Errorf("last state %+v", got)
	}
}

func TestHookFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none").hook("init.d/10-bad", "exit 9").start("sh", "-c", "echo service ran")
	w.wantExit(9)
	if strings.Contains(w.out.String(), "service ran") || !strings.Contains(w.err.String(), "10-bad") {
		t.Errorf("stdout %s stderr %s", w.out, w.err)
	}
}

// TestStopHookHangs: a hook's budget does not eat the service's.
func TestStopHookHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none").hook("stop.d/10-slow", "sleep 60").hook("stop.d/20-never", "echo never >> $JOURNAL").
		start(proctest.Argv("trap=TERM:4", "print=up", "wait")...)
	w.waitOut("up")
	begin := time.Now()
	w.signal(syscall.SIGTERM)
	w.wantExit(4)
	if took := time.Since(begin); took < stopHooksTime || took > stopHooksTime+5*time.Second {
		t.Errorf("took %v, want about %v", took, stopHooksTime)
	}
	if slices.Contains(w.journal(), "never") {
		t.Error("the hook after the one that hung ran")
	}
}

func TestGate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, hubs, play string
		code             int
		runs             bool
	}{
		{"ready", "confighub", "ready;wait", 5, true},
		{"not wanted", "loghub,healthhub", "", 5, true},
		{"done without a word", "confighub", "exit:0", 5, true},
		{"ready and ended", "confighub", "ready;exit:0", 5, true},
		{"ready and crashed", "confighub", "ready;exit:1", 5, true},
		{"ready and off", "confighub", "ready;exit:2", 5, true},
		{"crashes at first", "confighub", "once", 5, true},
		{"off", "loghub,confighub", "exit:2", 78, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.hubs)
			if test.play == "once" { // fails once, is ready when it is started again
				test.play = "await:" + w.path("none")
				w.setenv("PLAY_CONFIGHUB=" + test.play)
			}
			if test.play != "" {
				w.setenv("PLAY_CONFIGHUB=" + test.play)
			}
			w.start("sh", "-c", "echo service ran; exit 5")
			if strings.HasPrefix(test.play, "await") {
				w.waitJournal("confighub start")
				w.kill(w.hub(initctl.Confighub).PID, syscall.SIGKILL)
				w.waitFor("restart", func() bool { return w.hub(initctl.Confighub).Restarts == 1 })
				os.WriteFile(w.path("none"), nil, 0o644)
			}
			w.wantExit(test.code)
			if got := strings.Contains(w.out.String(), "service ran"); got != test.runs {
				t.Errorf("service ran: %v\n%s", got, w.err)
			}
		})
	}
}

func TestStartDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "confighub").setenv("PLAY_CONFIGHUB=wait", "HUB_START_DEADLINE=200ms").start("true")
	w.wantExit(78)
	if !strings.Contains(w.err.String(), "HUB_START_DEADLINE") {
		t.Errorf("the deadline is not said: %s", w.err)
	}
}

// TestWaitingIsSaid: a start that waits says what for, in confighub's words.
func TestWaitingIsSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "confighub").setenv("PLAY_CONFIGHUB=wait").start("true")
	w.waitJournal("confighub start")
	node := health.Node{Kind: "hub", Name: "config", State: health.Starting, Text: "genesis.internal: no such host"}
	if err := health.WriteFile(w.run, health.ConfigFile, node, nil, 0); err != nil {
		t.Fatal(err)
	}
	w.waitFor("message", func() bool {
		return strings.Contains(w.err.String(), "waiting with the start") && strings.Contains(w.err.String(), "no such host")
	})
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
}

// TestHubsComeBack: each hub is killed while the service lives, which notices nothing.
func TestHubsComeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub,healthhub,confighub").setenv("PLAY_CONFIGHUB=gate;ready;wait", "PLAY_HEALTHHUB=gate;ready;wait").
		start(proctest.Argv("trap=HUP:", "trap=TERM:5", "print=up", "wait")...)
	w.waitOut("up")
	w.waitJournal("confighub gate open: false")
	pid := w.waitRunning().Service.PID
	descriptors := func() int {
		files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.cmd.Process.Pid))
		return len(files)
	}
	w.waitFor("all hubs ready", func() bool { return w.hub(initctl.Loghub).Ready && w.hub(initctl.Healthhub).Ready })
	held := descriptors()
	for _, name := range startOrder() {
		before := w.hub(name)
		w.kill(before.PID, syscall.SIGKILL)
		w.waitFor(name+" back", func() bool { h := w.hub(name); return h.Restarts == 1 && h.PID != 0 && h.Ready })
		after := w.hub(name)
		if after.PID == before.PID || after.LastExit == nil || after.LastExit.Code != 137 || after.LastExit.Signal != "KILL" {
			t.Errorf("%s after its death: %+v", name, after)
		}
	}
	w.waitJournal("confighub gate open: true")
	// The last ready pipe is closed just after its hub has said so.
	w.waitFor(fmt.Sprintf("%d descriptors", held), func() bool { return descriptors() <= held })
	w.signal(syscall.SIGHUP)
	w.waitOut("HUP")
	if now := w.state().Service.PID; now != pid {
		t.Errorf("service pid %d, was %d", now, pid)
	}
	w.signal(syscall.SIGTERM)
	w.wantExit(5)
}

// TestStrayTerm: a hub that takes a TERM of somebody else for the end comes back;
// one that had nothing to do does not.
func TestStrayTerm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub,healthhub,confighub").setenv("PLAY_CONFIGHUB=exit:0").start("sleep", "100")
	w.waitFor("hubs up", func() bool {
		return w.hub(initctl.Loghub).Ready && w.hub(initctl.Healthhub).Ready && w.hub(initctl.Confighub).State == initctl.HubDone
	})
	for _, name := range []string{initctl.Loghub, initctl.Healthhub} {
		w.kill(w.hub(name).PID, syscall.SIGTERM)
		w.waitFor(name+" back", func() bool { h := w.hub(name); return h.Restarts == 1 && h.Ready })
		if exit := w.hub(name).LastExit; exit.Code != 0 || exit.Signal != "" {
			t.Errorf("%s ended with %+v", name, exit)
		}
	}
	if h := w.hub(initctl.Confighub); h.State != initctl.HubDone || h.Restarts != 0 {
		t.Errorf("confighub, which had nothing to do: %+v", h)
	}
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
}

// TestBackoff: a hub that ends at once is started after 0.5, 1, 2 … s; one that
// says its settings are wrong never again.
func TestBackoff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub,healthhub").setenv("PLAY_HEALTHHUB=exit:3", "PLAY_LOGHUB=exit:2").start("sleep", "100")
	w.waitFor("two restarts", func() bool { return w.hub(initctl.Healthhub).Restarts == 2 && w.hub(initctl.Healthhub).PID == 0 })
	h := w.hub(initctl.Healthhub)
	if pause := h.NextStart.Sub(h.LastExit.At); h.State != initctl.HubBackoff || pause < 1900*time.Millisecond || pause > 2100*time.Millisecond {
		t.Errorf("third pause %v in state %q", pause, h.State)
	}
	if l := w.hub(initctl.Loghub); l.State != initctl.HubOff || l.Restarts != 0 || l.LastExit.Code != 2 {
		t.Errorf("loghub %+v", l)
	}
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
	if starts := strings.Count(strings.Join(w.journal(), "\n"), "loghub start"); starts != 1 {
		t.Errorf("loghub was started %d times", starts)
	}
}

// TestBackoffPauses checks the sequence without waiting for it.
func TestBackoffPauses(t *testing.T) {
	tests := []struct {
		max  string // HUB_RESTART_MAX
		want []int  // ms
	}{
		{"", []int{500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 500}},
		{"3s", []int{500, 1000, 2000, 3000, 3000, 3000, 3000, 3000, 500}},
		{"200ms", []int{200, 200, 200, 200, 200, 200, 200, 200, 200}},
	}
	for _, test := range tests {
		t.Run("at most "+test.max, func(t *testing.T) {
			set, errs := settingsFrom(func(name string) string {
				if name == initctl.EnvRestartMax {
					return test.max
				}
				return ""
			})
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			s := &supervisor{alarms: alarms{}, set: set}
			h := &hub{name: "x", backoff: backoffMin, state: &initctl.HubState{}, started: time.Now()}
			var got []time.Duration
			for range 8 {
				got = append(got, s.backOff(h))
			}
			h.started = time.Now().Add(-backoffReset)
			got = append(got, s.backOff(h))
			var want []time.Duration
			for _, ms := range test.want {
				want = append(want, time.Duration(ms)*time.Millisecond)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestDeafHubs: hubs that ignore TERM are killed and do not change the code.
func TestDeafHubs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub,healthhub,confighub").
		setenv("PLAY_LOGHUB=deaf;copy", "PLAY_HEALTHHUB=deaf;ready;wait", "PLAY_CONFIGHUB=deaf;ready;wait").
		start("sh", "-c", "sleep 0.2; exit 5")
	w.waitRunning()
	begin := time.Now()
	w.wantExit(5)
	if took := time.Since(begin); took > 6*time.Second {
		t.Errorf("took %v", took)
	}
	if diff := cmp.Diff(`[healthhub confighub loghub]`, fmt.Sprint(w.lastEvent()["killed"])); diff != "" {
		t.Error(diff)
	}
}

// TestMissingHubs: not installed is fine unless it was asked for.
func TestMissingHubs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	for _, name := range startOrder() {
		os.Remove(w.path("bin/" + name))
	}
	w.start("sh", "-c", "exit 5").wantExit(5)
	w = newWorld(t, "confighub")
	os.Remove(w.path("bin/confighub"))
	w.start("sh", "-c", "exit 5").wantExit(78)
}
