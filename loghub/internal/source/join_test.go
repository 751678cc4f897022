// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/loghub/internal/frame"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/parse"
	"github.com/google/go-cmp/cmp"
)

// traces are the records of a stream in which much is held: heads that nothing follows, messages of several lines that
// turn out to be none, blank lines, a trace behind a trace.
var traces = []string{
	"one",
	"ERROR x\njava.lang.IllegalStateException: first\n  second\n\tat a.B.c(B.java:1)\nCaused by: java.io.IOException\n\t... 3 more",
	"ERROR y",
	"ERROR z\nTraceback (most recent call last):\n  File \"a.py\", line 1, in <module>\nValueError: x\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 2, in <module>\nKeyError: 'y'",
	"TypeError: nothing behind it",
	"perhaps more of it",
	"and more",
	"WARN v",
	"panic: boom\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:5 +0x2c",
	"java.lang.Error: second\n\tat a.B.c(B.java:1)",
	"ERROR w",
}

// written is what a program wrote to make them.
func written(records []string) string { return strings.Join(records, "\n") + "\n" }

// TestPipeKilledInATrace kills the process wherever it may be killed, between any two pieces that the program writes.
func TestPipeKilledInATrace(t *testing.T) {
	text := written(traces)
	for _, size := range []int{29, 97} {
		for _, point := range []string{"before framing", "before taking", "in the middle of taking", "after taking"} {
			t.Run(fmt.Sprintf("%s, %d", point, size), func(t *testing.T) {
				b := newBench(t)
				r, w := newPipe(t)
				for i := 0; i < len(text); i += size {
					fmt.Fprint(w, text[i:min(i+size, len(text))])
					p := b.pipe(r)
					data := b.see(p)
					if point != "before framing" {
						p.frame(data)
					}
					switch point {
					case "in the middle of taking":
						do(t, p.drain.take(len(data)/2))
					case "after taking":
						do(t, p.drain.take(len(data)))
					}
					do(t, p.drain.close())
					b.reopen()
				}
				p := b.pipe(r)
				if data, err := p.drain.peek(make([]byte, p.drain.limit), false); err == nil {
					do(t, p.step(data))
				}
				p.flush(join.Over)
				b.want(traces...)
				b.uniqueUIDs()
			})
		}
	}
}

// TestPipeTornWrite: the last batch reaches the spool only in part, since the kill came while it was written. What was
// held before is taken from the pipe already, and must not go with it.
func TestPipeTornWrite(t *testing.T) {
	head, rest := "one\nTypeError: x\nperhaps\nmore\nERR", "OR y\nlast\nERROR z\n"
	want := []string{"one", "TypeError: x", "perhaps", "more", "ERROR y", "last", "ERROR z"}
	for torn := 0; ; torn += 11 {
		b := newBench(t)
		r, w := newPipe(t)
		fmt.Fprint(w, head)
		p := b.pipe(r)
		do(t, p.step(b.see(p)))
		segments, err := filepath.Glob(filepath.Join(b.dir, "log", "*.seg"))
		if err != nil || len(segments) == 0 {
			t.Fatalf("no segments: %v", err)
		}
		segment := segments[len(segments)-1]
		before := sizeOf(t, segment)
		fmt.Fprint(w, rest)
		p.frame(b.see(p))
		after := sizeOf(t, segment)
		if before+int64(torn) > after {
			if torn == 0 {
				t.Fatal("nothing was written")
			}
			return
		}
		do(t, os.Truncate(segment, before+int64(torn)))
		b.reopen()
		p = b.pipe(r)
		if data, err := p.drain.peek(make([]byte, p.drain.limit), false); err == nil {
			do(t, p.step(data))
		}
		p.flush(join.Over)
		b.want(want...)
		b.uniqueUIDs()
		if t.Failed() {
			t.Fatalf("with %d of %d bytes", torn, after-before)
		}
	}
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	do(t, err)
	return info.Size()
}

func TestDue(t *testing.T) {
	since := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	tests := []struct {
		name                 string
		now                  time.Duration // after since
		lines, sure, unended bool
		want                 time.Duration
	}{
		{"a line without an end", time.Second, false, false, true, time.Second + partialWait},
		{"a head", 0, true, false, false, joinWait},
		{"a head, and lines of its message", joinWait / 2, true, false, false, joinWait},
		{"a head, and a line without an end", joinWait / 2, true, false, true, partialWait},
		{"a trace", time.Second, true, true, false, time.Second + joinWait},
		{"a trace, and a line without an end", time.Second, true, true, true, time.Second + partialWait},
		{"a trace that goes on and on", joinAge - joinWait/2, true, true, false, joinAge},
	}
	for _, tt := range tests {
		if got := due(since.Add(tt.now), since, tt.lines, tt.sure, tt.unended).Sub(since); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestPipeTakesWhatWaits: what is held comes without anything behind it.
func TestPipeTakesWhatWaits(t *testing.T) {
	b := newBench(t)
	r, w := newPipe(t)
	p := b.pipe(r)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	fmt.Fprint(w, "plain\nERROR alone\n")
	b.wait("plain", "ERROR alone")
	fmt.Fprint(w, "ERROR x\njava.lang.Error: y\n\tat a.B.c(B.java:1)\n")
	b.wait("plain", "ERROR alone", "ERROR x\njava.lang.Error: y\n\tat a.B.c(B.java:1)")
	fmt.Fprint(w, "\tat a.B.d(B.java:2)\n\tat a.B.e(B.ja") // too late
	b.wait("plain", "ERROR alone", "ERROR x\njava.lang.Error: y\n\tat a.B.c(B.java:1)", "\tat a.B.d(B.java:2)\n\tat a.B.e(B.ja")
	fmt.Fprint(w, "va:3)\n\tat a.B.f(B.java:4)\nERROR last\n")
	cancel()
	do(t, <-done)
	got := b.all()[3:]
	want := []map[string]any{
		{"body": "\tat a.B.d(B.java:2)\n\tat a.B.e(B.ja", "hub.lines": int64(2), "hub.lines.part": int64(2), "hub.line.piece": int64(1), "hub.line.continues": ""},
		{"body": "va:3)", "hub.lines.part": int64(3), "hub.line.piece": int64(2)},
		{"body": "\tat a.B.f(B.java:4)", "hub.lines.part": int64(4)},
		{"body": "ERROR last"},
	}
	for _, m := range got {
		delete(m, "log.record.uid")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestPipePieces: the pieces of a line are numbered, also when a kill came between.
func TestPipePieces(t *testing.T) {
	b := newBench(t)
	r, w := newPipe(t)
	p := b.pipe(r)
	kill := func() {
		do(t, p.drain.close())
		b.reopen()
		p = b.pipe(r)
	}
	say := func(text string, quiet bool) {
		fmt.Fprint(w, text)
		do(t, p.step(b.see(p)))
		if quiet {
			p.flush(join.Quiet)
		}
	}
	say("one", true)
	kill()
	say(" two", false)
	kill()
	p.flush(join.Quiet)
	say(" three\nnext\n", false)
	var got []string
	for _, m := range b.all() {
		_, open := m["hub.line.continues"]
		got = append(got, fmt.Sprintf("%v %v %v", m["body"], m["hub.line.piece"], open))
	}
	if diff := cmp.Diff([]string{"one 1 true", " two 2 true", " three 3 false", "next <nil> false"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestPipeLossBreaksALine: what hubinit read in between is told behind what was held, which is whole.
func TestPipeLossBreaksALine(t *testing.T) {
	b := newBench(t)
	r, w := newPipe(t)
	fmt.Fprint(w, "ERROR x\njava.lang.Error: y\n\tat a.B.c(B.java:1)\n\tat a.B.d(")
	p := b.pipe(r)
	do(t, p.step(b.see(p)))
	do(t, p.drain.close())
	b.reopen()
	fmt.Fprint(w, "next\n")
	p, err := OpenPipe(b.sh, PipeOptions{Name: "stdout", Pipe: r, Parse: parse.Options{Loc: time.UTC}, Drained: 100})
	do(t, err)
	do(t, p.step(b.see(p)))
	b.want("ERROR x\njava.lang.Error: y\n\tat a.B.c(B.java:1)\n\tat a.B.d(", "lost 100 bytes of stdout: read by hubinit", "next")
	b.uniqueUIDs()
}

func TestPipeApart(t *testing.T) {
	b := newBench(t)
	r, w := newPipe(t)
	p, err := OpenPipe(b.sh, PipeOptions{Name: "stdout", Pipe: r, Apart: true})
	do(t, err)
	fmt.Fprint(w, "java.lang.Error: y\n\tat a.B.c(B.java:1)\nERROR z\n")
	do(t, p.step(b.see(p)))
	b.want("java.lang.Error: y", "\tat a.B.c(B.java:1)", "ERROR z")
}

// TestFilesTraces: wherever the file ends when it is looked at, and wherever loghub is killed, the records are the same.
func TestFilesTraces(t *testing.T) {
	text := written(traces)
	for _, killed := range []bool{false, true} {
		for _, size := range []int{13, 200} {
			t.Run(fmt.Sprintf("killed %v, %d", killed, size), func(t *testing.T) {
				b := newBench(t)
				path := filepath.Join(t.TempDir(), "a.log")
				f := b.files(path)
				for i := 0; i < len(text); i += size {
					write(t, path, text[i:min(i+size, len(text))])
					if killed {
						b.reopen()
						f = b.files(path)
					}
					f.lookNow(false)
				}
				f.lookNow(true)
				b.want(traces...)
				at := 0
				for i, r := range b.records() {
					if want := fmt.Sprint("@", at); !strings.HasSuffix(r.UID, want) {
						t.Errorf("%q has uid %s, want …%s", r.Body, r.UID, want)
					}
					at += len(traces[i]) + 1
				}
			})
		}
	}
}

// TestFilesWait: what is held at the end of a file is taken after a second without news, and a trace whose lines come and
// come not later than joinAge.
func TestFilesWait(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	write(t, path, "one\njava.lang.Error: x\n\tat a.B.c(B.java:1)\n")
	f := b.files(path)
	f.lookNow(false)
	b.want("one")
	later := func(what func(*tail)) {
		for _, tl := range f.tails {
			what(tl)
		}
		f.lookNow(false)
	}
	later(func(tl *tail) { tl.grown = tl.grown.Add(-fileQuiet) })
	b.want("one", "java.lang.Error: x\n\tat a.B.c(B.java:1)")
	write(t, path, "\tat a.B.d(B.java:2)\n\tat a.B.e(")
	f.lookNow(false)
	later(func(tl *tail) { tl.waits = tl.waits.Add(-joinAge) })
	b.want("one", "java.lang.Error: x\n\tat a.B.c(B.java:1)", "\tat a.B.d(B.java:2)")
	write(t, path, "B.java:3)\nERROR z\n")
	f.lookNow(true)
	b.want("one", "java.lang.Error: x\n\tat a.B.c(B.java:1)", "\tat a.B.d(B.java:2)", "\tat a.B.e(B.java:3)", "ERROR z")
	if got := b.all(); got[2]["hub.lines.part"] != int64(2) || got[3]["hub.lines.part"] != int64(3) || got[4]["hub.lines.part"] != nil {
		t.Errorf("%v", got)
	}
}

// TestFilesPieces: the rest of a line that was taken without its end says so, after a restart too.
func TestFilesPieces(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	f := b.files(path)
	write(t, path, "begin")
	f.lookNow(true)
	write(t, path, " middle")
	f.lookNow(true)
	b.reopen()
	f = b.files(path)
	write(t, path, " end\n"+strings.Repeat("x", frame.MaxLine)+"rest\nERROR next\n")
	f.lookNow(true)
	var got []string
	for _, m := range b.all() {
		_, open := m["hub.line.continues"]
		got = append(got, fmt.Sprintf("%.7s %v %v", m["body"], m["hub.line.piece"], open))
	}
	// The number of a piece is not kept over a restart: it is 2 at least.
	if diff := cmp.Diff([]string{"begin 1 true", " middle 2 true", " end 2 false", "xxxxxxx 1 true", "rest 2 false", "ERROR n <nil> false"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestFilesLongTrace: a trace that is larger than the buffer, and one larger than a record may be.
func TestFilesLongTrace(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	frames := func(n, size int) string {
		return strings.Repeat("\tat a.B.c("+strings.Repeat("x", size-len("\tat a.B.c()\n"))+")\n", n)
	}
	write(t, path, "java.lang.Error: x\n"+frames(900, 1000)+"java.lang.Error: y\n"+frames(1500, 100)+"Traceback (most recent call last):\n"+frames(30, 100000)+"KeyError: z\n")
	f := b.files(path)
	f.lookNow(false)
	f.lookNow(true)
	var got []string
	for _, m := range b.all() {
		_, cut := m["hub.lines.continue"]
		got = append(got, fmt.Sprint(m["hub.lines"], m["hub.lines.part"], cut, len(m["body"].(string))))
	}
	want := []string{
		"901 <nil> false 900018", "1000 <nil> true 99918", "501 2 false 50099",
		"11 <nil> true 1000034", "10 2 true 999999", "11 3 false 1000011",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(f.buf); n != readBytes {
		t.Errorf("the buffer has %d bytes", n)
	}
	b.uniqueUIDs()
}

func TestFilesApart(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	write(t, path, "java.lang.Error: y\n\tat a.B.c(B.java:1)\nERROR z\n")
	f, err := OpenFiles(b.sh, []FileSet{{Name: "app", Pattern: path, Apart: true}})
	do(t, err)
	f.lookNow(false)
	b.want("java.lang.Error: y", "\tat a.B.c(B.java:1)", "ERROR z")
}
