// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestTraces: what a service prints of an exception is one event, unless the settings say otherwise.
func TestTraces(t *testing.T) {
	trace := "ERROR order failed\njava.lang.IllegalStateException: no stock\n\tat a.B.c(B.java:7)\n"
	events := func(env ...string) (out []map[string]any) {
		text, log, code := command(t, "one\n"+trace+"two\n", append(env, "HUB_LOG_STDOUT=json"), "run")
		if code != 0 {
			t.Errorf("exit %d\n%s", code, log)
		}
		for line := range strings.Lines(text) {
			var e map[string]any
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			out = append(out, e)
		}
		return out
	}
	got := events()
	if len(got) != 3 {
		t.Fatalf("%d events: %v", len(got), got)
	}
	e := got[1]
	delete(e, "time")
	delete(e, "log.record.uid")
	message, _ := e["message"].(string)
	delete(e, "message")
	if want := strings.TrimPrefix(strings.TrimSuffix(trace, "\n"), "ERROR "); strings.TrimPrefix(message, "ERROR ") != want {
		t.Errorf("message %q", message)
	}
	want := map[string]any{
		"level": "error", "hub.lines": 3.0, "exception.type": "java.lang.IllegalStateException", "exception.message": "no stock",
	}
	for key := range e {
		if strings.HasPrefix(key, "severity") || strings.HasPrefix(key, "observed") {
			delete(e, key)
		}
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	if got := events("HUB_LOG_MULTILINE=false"); len(got) != 5 {
		t.Errorf("apart: %v", got)
	}
}

// TestKillInATrace kills loghub again and again while traces are written piece by piece: each line arrives once and in
// its place, whether in the pipe, held, in the spool or in a file.
func TestKillInATrace(t *testing.T) {
	for _, mode := range []string{"disk", "memory"} {
		t.Run(mode, func(t *testing.T) {
			g := newGenesis(t)
			logs := t.TempDir()
			c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q, "spool": %q, "stdout": "off", "files": {"app": {"path": "%s/app.log"}}}}`, g.url(), mode, logs))
			c.enrol(g.ca, webID)
			if mode == "memory" {
				fd := must(unix.MemfdCreate("spool", unix.MFD_CLOEXEC))
				c.memory = os.NewFile(uintptr(fd), "memfd")
				defer c.memory.Close()
			}
			file := must(os.OpenFile(filepath.Join(logs, "app.log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600))
			defer file.Close()
			var texts [2]strings.Builder
			stop := make(chan struct{})
			var writers sync.WaitGroup
			for i, w := range []*os.File{c.pipes["stdout"].w, file} {
				writers.Go(func() { writeTraces(t, w, &texts[i], stop) })
			}
			for range 12 {
				h := c.start()
				time.Sleep(time.Duration(30+rand.IntN(250)) * time.Millisecond)
				h.kill()
			}
			h := c.start()
			time.Sleep(300 * time.Millisecond)
			close(stop)
			writers.Wait()
			is := []func(received) bool{
				func(r received) bool { return r.text("log.iostream") == "stdout" },
				func(r received) bool { return r.text("log.file.path") != "" },
			}
			for i, mine := range is {
				var got string
				waitFor(t, 60*time.Second, "last line", func() bool {
					got = strings.Join(g.messages(mine), "\n") + "\n"
					return strings.HasSuffix(got, "the end\n")
				})
				if want := texts[i].String(); got != want {
					t.Error(cmp.Diff(want, got))
				}
				whole := len(g.messages(func(r received) bool { return mine(r) && r["hub.lines"] == 5.0 }))
				all := strings.Count(texts[i].String(), "\tat a.B.last(")
				t.Logf("%d of %d traces are whole", whole, all)
				if whole == 0 {
					t.Error("nothing was joined")
				}
			}
			h.stop(t)
		})
	}
}

// writeTraces writes numbered traces in pieces until it is told to stop.
func writeTraces(t *testing.T, w *os.File, text *strings.Builder, stop chan struct{}) {
	write := func(s string) {
		if _, err := w.WriteString(s); err != nil {
			t.Error(err)
		}
		text.WriteString(s)
	}
	for n := 0; ; n++ {
		select {
		case <-stop:
			write("the end\n")
			return
		default:
		}
		trace := fmt.Sprintf("java.lang.Error: number %d\n\tat a.B.c(B.java:%d)\nCaused by: java.io.IOException\n\tat a.B.d(B.java:1)\n\tat a.B.last(B.java:2)\n", n, n)
		for len(trace) > 0 {
			size := min(len(trace), 1+rand.IntN(100))
			write(trace[:size])
			trace = trace[size:]
			time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
		}
	}
}
