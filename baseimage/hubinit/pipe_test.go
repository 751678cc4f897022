// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/proctest"
)

// floodResult reads what a flooding service says last: its lines, and the longest
// time one write of it took.
func floodResult(t *testing.T, w *world) (lines int, longest time.Duration) {
	t.Helper()
	for line := range strings.Lines(w.err.String()) {
		var ms int
		if n, _ := fmt.Sscanf(line, "flood %d %d", &lines, &ms); n == 2 {
			return lines, time.Duration(ms) * time.Millisecond
		}
	}
	w.fatalf("the service did not report")
	return 0, 0
}

// blockedMax is one second, and as much again for a machine that is busy with
// other things.
const blockedMax = 2 * time.Second

// received counts the flood's lines that got to the container's stdout.
func received(w *world) int { return strings.Count(w.out.String(), "x\n") }

// TestLoghubKilled: the service floods its stdout while loghub is killed again
// and again. It gets no SIGPIPE, is never blocked for a second, and what loghub did
// not read itself is drained.
func TestLoghubKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub").start(proctest.Argv("flood=3s", "exit=5")...)
	w.waitRunning()
	for i := range 2 {
		w.waitFor("loghub", func() bool { h := w.hub(initctl.Loghub); return h.Restarts == i && h.Ready })
		w.kill(w.hub(initctl.Loghub).PID, syscall.SIGKILL)
	}
	w.wantExit(5)
	lines, longest := floodResult(t, w)
	if longest > blockedMax {
		t.Errorf("a write was blocked for %v", longest)
	}
	s := w.state()
	lost := int(s.Pipes[initctl.PipeStdout].Lost) / 100
	// Each killed loghub may take with it the one buffer it had read. On a busy machine hubinit kills some too: one
	// that stalls, and one that takes too long to end.
	killed := s.Hubs[initctl.Loghub].Restarts
	if names, _ := w.lastEvent()["killed"].([]any); slices.Contains(names, any(initctl.Loghub)) {
		killed++
	}
	if got := received(w); got < lines-lost-killed*((16<<10)/100+1) {
		t.Errorf("%d lines written, %d received, %d lost by hubinit, %d loghubs killed", lines, got, lost, killed)
	}
	if s.Pipes[initctl.PipeStdout].Drained == 0 {
		t.Errorf("nothing was drained: %+v", s.Pipes)
	}
}

// TestLoghubStopped: a loghub that reads nothing more is found out, killed and
// replaced; the service is blocked for about a second once.
func TestLoghubStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub").start(proctest.Argv("flood=4s", "exit=5")...)
	w.waitRunning()
	w.waitFor("loghub", func() bool { return w.hub(initctl.Loghub).Ready })
	w.kill(w.hub(initctl.Loghub).PID, syscall.SIGSTOP)
	w.waitFor("new loghub", func() bool { return w.hub(initctl.Loghub).Restarts == 1 && w.hub(initctl.Loghub).Ready })
	w.wantExit(5)
	if _, longest := floodResult(t, w); longest > blockedMax+time.Second {
		t.Errorf("a write was blocked for %v", longest)
	}
	if !strings.Contains(w.err.String(), "loghub does not read") {
		t.Errorf("not said: %s", w.err)
	}
}

// TestSlowLoghub: one that reads slowly, from a pipe that is always full, is
// working and must not be killed.
func TestSlowLoghub(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub").setenv("PLAY_LOGHUB=slow;wait").start(proctest.Argv("flood=3s", "exit=5")...)
	w.wantExit(5)
	if h := w.hub(initctl.Loghub); h.Restarts != 0 || strings.Contains(w.err.String(), "does not read") {
		t.Errorf("a slow loghub was killed: %+v\n%s", h, w.err)
	}
}

// TestLoghubOff: without a reader everything goes through hubinit.
func TestLoghubOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub").setenv("PLAY_LOGHUB=exit:2").
		start("sh", "-c", "sleep 0.1; echo to stdout; printf 'to stderr' >&2; exit 5")
	w.wantExit(5)
	if w.out.String() != "to stdout\n" || !strings.Contains(w.err.String(), "to stderr") {
		t.Errorf("stdout %q stderr %q", w.out, w.err)
	}
	want := initctl.Pipe{Drained: int64(len("to stdout\n"))}
	if got := w.state().Pipes[initctl.PipeStdout]; got != want {
		t.Errorf("stdout's count %+v, want %+v", got, want)
	}
	if got := w.state().Pipes[initctl.PipeStderr]; !got.Open {
		t.Errorf("stderr's count %+v: its last line has no end", got)
	}
}

// TestLastLine: what the service prints just before it dies is not lost, whether
// loghub lives, is being restarted or is off.
func TestLastLine(t *testing.T) {
	t.Parallel()
	for name, play := range map[string]string{"alive": "", "restarting": "exit:1", "off": "exit:2", "done": "exit:0"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "loghub")
			if play != "" {
				w.setenv("PLAY_LOGHUB=" + play)
			}
			w.start("sh", "-c", "sleep 0.1; echo last words; echo last error >&2; exit 5").wantExit(5)
			if !strings.Contains(w.out.String(), "last words\n") || !strings.Contains(w.err.String(), "last error\n") {
				t.Errorf("stdout %q stderr %q", w.out, w.err)
			}
		})
	}
}

// TestStuckStdout: a container stdout that takes nothing costs a bounded buffer
// and counted loss; it delays neither the service nor signals nor the end.
func TestStuckStdout(t *testing.T) {
	t.Parallel()
	r, stuck, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer stuck.Close()
	w := newWorld(t, "loghub").setenv("PLAY_LOGHUB=exit:2")
	argv := proctest.Argv("flood=1500ms", "trap=TERM:5", "eprint=flooded", "wait")
	w.cmd = proctest.Init(t, append([]string{w.path("bin/hubinit")}, argv...)...)
	w.cmd.Stdout = stuck
	w.launch()
	w.waitFor("flood", func() bool { return strings.Contains(w.err.String(), "flooded") })
	lines, longest := floodResult(t, w)
	if longest > blockedMax || lines < 10_000 {
		t.Errorf("%d lines, a write was blocked for %v", lines, longest)
	}
	w.signal(syscall.SIGTERM)
	begin := time.Now()
	w.wantExit(5)
	if took := time.Since(begin); took > 6*time.Second {
		t.Errorf("stopping took %v", took)
	}
	p := w.state().Pipes[initctl.PipeStdout]
	if p.Lost == 0 || p.Lost+p.Drained > int64(lines)*100 {
		t.Errorf("%d bytes written, %+v", lines*100, p)
	}
	stuck.Close()
	rest, _ := io.ReadAll(r)
	if !bytes.HasPrefix(rest, []byte("xxx")) {
		t.Errorf("what stdout took is %.20q", rest)
	}
}

// TestSpool: the memory file outlives loghub, with what is in it.
func TestSpool(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub").setenv("PLAY_LOGHUB=spool;copy").start("sleep", "100")
	w.waitJournal("spool held 0 bytes")
	w.waitFor("ready", func() bool { return w.hub(initctl.Loghub).Ready })
	w.kill(w.hub(initctl.Loghub).PID, syscall.SIGKILL)
	w.waitJournal("spool held 7 bytes")
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
}

// TestHubsPipe: what the other hubs say goes through loghub's pipe.
func TestHubsPipe(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub,healthhub").setenv("PLAY_HEALTHHUB=print:hello from healthhub;exit:2", "PLAY_LOGHUB=exit:2").
		start("sh", "-c", "sleep 0.3; exit 5")
	w.wantExit(5)
	if got := w.state().Pipes[initctl.PipeHubs]; got.Drained != int64(len("hello from healthhub\n")) {
		t.Errorf("hubs pipe %+v", got)
	}
	if !strings.Contains(w.err.String(), "hello from healthhub\n") || w.out.String() != "" {
		t.Errorf("stdout %q stderr %q", w.out, w.err)
	}
}
