// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/proctest"
)

// confighubPlays starts a service under a confighub that plays the steps once the
// service has printed "up".
func confighubPlays(t *testing.T, play string, argv ...string) *world {
	t.Helper()
	w := newWorld(t, "confighub")
	goFile := w.path("go")
	w.setenv("PLAY_CONFIGHUB=ready;await:" + goFile + ";" + strings.ReplaceAll(play, "DIR", w.dir) + ";note:played;wait").start(argv...)
	w.waitOut("up")
	if err := os.WriteFile(goFile, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestRestart(t *testing.T) {
	t.Parallel()
	w := confighubPlays(t, "restart;await:DIR/go2;restart",
		"sh", "-c", "echo up $$ $ADDED; exec sleep 100")
	w.waitJournal("confighub restart: <nil>")
	first := w.waitRunning()
	if last := first.Service.LastExit; first.Service.Restarts != 1 || last.Signal != "TERM" || last.OOM || last.Asked != "restart by confighub" {
		t.Errorf("after a restart: %+v", first.Service)
	}
	// The environment that confighub renders is read at each start.
	env := "ADDED=two\nlines\x00HUB_TOKEN=no\x00=bad\x00"
	if err := os.WriteFile(w.run+"/service.env", []byte(env), 0o600); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(w.path("go2"), nil, 0o644)
	w.waitOut("two lines") // the shell's echo splits words
	w.waitFor("second restart", func() bool { return w.state().Service.Restarts == 2 })
	if now := w.state(); now.Service.PID == first.Service.PID || !now.Service.StartedAt.After(first.Service.StartedAt) {
		t.Errorf("restart left %+v, was %+v", now.Service, first.Service)
	}
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
}

// TestRestartStubborn: a service that does not stop is killed, and its workers
// are gone before the new one starts.
func TestRestartStubborn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "confighub")
	journal := w.path("journal")
	w.setenv("HUB_STOP_GRACE=200ms", "HUB_STOP_SIGNAL=USR1", "PLAY_CONFIGHUB=ready;await:"+journal+".go;restart;wait").
		start(proctest.Argv("trap=USR1:", "trap=TERM:5", "child=ignore=TERM;append="+journal+":worker;wait", "print=up", "wait")...)
	w.waitOut("up")
	w.waitJournal("worker")
	os.WriteFile(journal+".go", nil, 0o644)
	w.waitJournal("confighub restart: <nil>")
	if !strings.Contains(w.out.String(), "USR1") || w.state().Service.LastExit.Signal != "KILL" {
		t.Errorf("stdout %s, state %+v", w.out, w.state().Service)
	}
	workers := 0
	for _, p := range processes() {
		if p.parent == w.cmd.Process.Pid {
			workers++
		}
	}
	if workers != 2 { // confighub and the new service
		t.Errorf("%d children of hubinit after the restart", workers)
	}
	w.waitFor("second up", func() bool { return strings.Count(w.out.String(), "up") == 2 })
	w.signal(syscall.SIGTERM)
	w.wantExit(5)
}

func TestSignalRequest(t *testing.T) {
	t.Parallel()
	w := confighubPlays(t, "signal:USR2;signal:NOPE", proctest.Argv("trap=USR2:", "print=up", "wait")...)
	w.waitOut("USR2")
	w.waitJournal("played")
	if !slices.Contains(w.journal(), "confighub signal:USR2: <nil>") || !strings.Contains(strings.Join(w.journal(), "\n"), "unknown signal") {
		t.Errorf("journal %v", w.journal())
	}
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
}

// TestHold: a held service may die; a restart brings it back in the same container.
func TestHold(t *testing.T) {
	t.Parallel()
	w := confighubPlays(t, "hold:20s;signal:KILL;await:DIR/go2;restart;release", "sh", "-c", "echo up $$; exec sleep 100")
	w.waitFor("the service's death", func() bool { return w.state().Service.State == initctl.ServiceExited })
	s := w.state()
	if s.Hold == nil || s.Hold.By != "confighub" || s.Service.LastExit.Code != 137 || s.Service.PID != 0 {
		t.Errorf("held: %+v", s)
	}
	os.WriteFile(w.path("go2"), nil, 0o644)
	w.waitJournal("played")
	if s := w.waitRunning(); s.Hold != nil || s.Service.Restarts != 1 {
		t.Errorf("after the release: %+v", s)
	}
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
}

func TestHoldEnds(t *testing.T) {
	t.Parallel()
	for name, play := range map[string]string{
		"released":      "hold:20s;signal:9;await:DIR/gone;release",
		"ran out":       "hold:200ms;signal:9",
		"never held":    "signal:9",
		"shortened":     "hold:20s;hold:200ms;signal:9",
		"told to stop":  "hold:20s;signal:9;await:DIR/gone;note:stop me",
		"restart fails": "hold:300ms;signal:9;await:DIR/gone;restart",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "confighub")
			service := w.path("service")
			os.WriteFile(service, []byte("#!/bin/sh\necho up; exec sleep 100\n"), 0o755)
			w.setenv("PLAY_CONFIGHUB=ready;await:" + w.path("go") + ";" + strings.ReplaceAll(play, "DIR", w.dir) + ";wait").start(service)
			w.waitOut("up")
			if name == "restart fails" {
				os.Remove(service)
			}
			os.WriteFile(w.path("go"), nil, 0o644)
			if strings.Contains(play, "gone") {
				w.waitFor("the service's death", func() bool { return w.state().Service.State == initctl.ServiceExited })
				os.WriteFile(w.path("gone"), nil, 0o644)
			}
			want := 137
			switch name {
			case "told to stop":
				w.waitJournal("stop me")
				w.signal(syscall.SIGTERM)
			case "restart fails":
				want = 127
			}
			w.wantExit(want)
		})
	}
}

// TestRestartWhileStopping is refused; a stop while restarting wins.
func TestRestartWhileStopping(t *testing.T) {
	t.Parallel()
	w := confighubPlays(t, "note:go on;await:DIR/stopping;restart;signal:HUP;hold:1s", proctest.Argv("trap=TERM:", "trap=INT:6", "print=up", "wait")...)
	w.waitJournal("go on")
	w.signal(syscall.SIGTERM)
	w.waitOut("TERM")
	os.WriteFile(w.path("stopping"), nil, 0o644)
	w.waitJournal("played")
	if n := strings.Count(strings.Join(w.journal(), "\n"), "the container is stopping"); n != 3 {
		t.Errorf("%d refusals: %v", n, w.journal())
	}
	w.signal(syscall.SIGINT)
	w.wantExit(6)

	w = confighubPlays(t, "restart", proctest.Argv("trap=TERM:", "trap=INT:6", "print=up", "wait")...)
	w.waitOut("TERM") // the restart's
	w.signal(syscall.SIGINT)
	w.wantExit(6)
}

// TestBadRequests: nonsense is refused and harms nothing; a long line does not
// swallow the next.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	w := confighubPlays(t, "raw:x dance;raw: ;raw:"+strings.Repeat("y", 3000)+";raw:z hold 2h;raw:!;signal:HUP", proctest.Argv("trap=HUP:", "print=up", "wait")...)
	w.waitOut("HUP")
	s := w.state()
	for _, id := range []string{"x", "z"} {
		if a, ok := s.Answer(id); !ok || a.State != initctl.AnswerRefused || a.Error == "" || a.From != "confighub" {
			t.Errorf("answer to %s: %+v", id, a)
		}
	}
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
}

// TestManyRequests: the file keeps the newest answers only.
func TestManyRequests(t *testing.T) {
	t.Parallel()
	w := confighubPlays(t, strings.Repeat("hold:9s;release;", 12)+"note:asked", proctest.Argv("print=up", "wait")...)
	w.waitJournal("asked")
	if n := len(w.state().Requests); n != initctl.AnswersKept {
		t.Errorf("%d answers", n)
	}
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
}

// TestRestartWhileHeld: a hub does not restart what another one holds, so that a configuration is not judged by a service
// that somebody else has just stopped.
func TestRestartWhileHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "confighub,healthhub")
	held, freed := w.path("held"), w.path("freed")
	w.setenv("PLAY_CONFIGHUB=ready;hold:1m;await:"+freed+";release;wait", "PLAY_HEALTHHUB=ready;await:"+held+";restart;await:"+freed+";await:"+freed+"2;restart;wait").
		start("sleep", "100")
	w.waitRunning()
	w.waitJournal("confighub hold:1m: <nil>")
	os.WriteFile(held, nil, 0o644)
	w.waitJournal("healthhub restart: asking hubinit to restart: refused: confighub holds the service")
	if n := w.state().Service.Restarts; n != 0 {
		t.Errorf("%d restarts", n)
	}
	os.WriteFile(freed, nil, 0o644)
	w.waitJournal("confighub release: <nil>")
	os.WriteFile(freed+"2", nil, 0o644)
	w.waitJournal("healthhub restart: <nil>")
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
}

// TestEndIsWrittenBeforeHealthhubIsTold: a job's healthhub reports how it ended.
func TestEndIsWrittenBeforeHealthhubIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "healthhub").setenv("HUB_SUCCESS_CODES=5", "PLAY_HEALTHHUB=ready;ending;wait").start("sh", "-c", "exit 5")
	w.waitJournal("healthhub TERM code 0 last 5")
	w.wantExit(0)
}
