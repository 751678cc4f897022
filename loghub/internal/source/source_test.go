// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/frame"
	"cloud4.internal/hub/loghub/internal/parse"
	"cloud4.internal/hub/loghub/internal/spool"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// bench is a spool on disk that is opened again and again, as kills would have it.
type bench struct {
	t     *testing.T
	dir   string
	quota int64 // of the spool; 0: its default
	sp    *spool.Spool
	sh    *Shared
	log   strings.Builder
	mu    sync.Mutex
}

func (b *bench) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *bench) said() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, dir: t.TempDir()}
	b.reopen()
	return b
}

// reopen is a new process on the old spool; the old one just ended.
func (b *bench) reopen() {
	b.t.Helper()
	var err error
	if b.sp, err = spool.Open(spool.Options{Dir: filepath.Join(b.dir, "log"), Quota: b.quota}); err != nil {
		b.t.Fatal(err)
	}
	b.sh = &Shared{Spool: b.sp, RunDir: b.dir, Log: zerolog.New(b)}
}

// rec is what a test wants to see of a record.
type rec struct{ Body, UID, Path string }

func (b *bench) records() []rec {
	b.t.Helper()
	d, err := b.sp.Peek(100000, 64<<20)
	if err != nil {
		b.t.Fatal(err)
	}
	var out []rec
	for i := range d.Len() {
		var r otlp.Record
		if err := otlp.DecodeRecord(d.Record(i), &r); err != nil {
			b.t.Fatal(err)
		}
		v := rec{Body: string(r.Body.Bytes)}
		for _, kv := range r.Attributes {
			switch kv.Key {
			case "log.record.uid":
				v.UID = string(kv.Value.Bytes)
			case "log.file.path":
				v.Path = string(kv.Value.Bytes)
			}
		}
		out = append(out, v)
	}
	return out
}

func (b *bench) bodies() []string {
	var out []string
	for _, r := range b.records() {
		out = append(out, r.Body)
	}
	return out
}

func (b *bench) want(want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.bodies()); diff != "" {
		b.t.Error(diff)
	}
}

func (b *bench) wait(want ...string) {
	b.t.Helper()
	end := time.Now().Add(patience)
	for len(b.bodies()) < len(want) && time.Now().Before(end) {
		time.Sleep(5 * time.Millisecond)
	}
	b.want(want...)
}

func (b *bench) uniqueUIDs() {
	b.t.Helper()
	seen := map[string]bool{}
	for _, r := range b.records() {
		if seen[r.UID] {
			b.t.Errorf("uid %s stands twice", r.UID)
		}
		seen[r.UID] = true
	}
}

func newPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func (b *bench) pipe(r *os.File) *Pipe {
	b.t.Helper()
	p, err := OpenPipe(b.sh, PipeOptions{Name: "stdout", Pipe: r, Parse: parse.Options{Loc: time.UTC}})
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (b *bench) see(p *Pipe) []byte {
	b.t.Helper()
	data, err := p.drain.peek(make([]byte, p.drain.limit), false)
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}

// TestPipeFaultPoints ends the process at each point between seeing and taking.
func TestPipeFaultPoints(t *testing.T) {
	tests := []struct {
		name string
		die  func(b *bench, p *Pipe, data []byte)
	}{
		{"before framing", func(*bench, *Pipe, []byte) {}},
		{"before taking", func(_ *bench, p *Pipe, data []byte) { p.frame(data) }},
		{"in the middle of taking", func(b *bench, p *Pipe, data []byte) {
			p.frame(data)
			if err := p.drain.take(7); err != nil {
				b.t.Error(err)
			}
		}},
		{"after taking", func(b *bench, p *Pipe, data []byte) {
			if err := p.step(data); err != nil {
				b.t.Error(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			r, w := newPipe(t)
			fmt.Fprint(w, "one\ntwo\nthr")
			p := b.pipe(r)
			tt.die(b, p, b.see(p))
			fmt.Fprint(w, "ee\nfour\n")
			b.reopen()
			p = b.pipe(r)
			if err := p.step(b.see(p)); err != nil {
				t.Fatal(err)
			}
			b.want("one", "two", "three", "four")
			b.uniqueUIDs()
		})
	}
}

func TestPipeLongAndPartialLines(t *testing.T) {
	b := newBench(t)
	r, w := newPipe(t)
	p := b.pipe(r)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	fmt.Fprint(w, "begin")
	b.wait("begin") // after partialWait
	fmt.Fprint(w, " rest\n\n  \nnext\r\n")
	b.wait("begin", " rest", "next")
	if err := unix.SetNonblock(int(w.Fd()), false); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("abcdefgh", frame.MaxLine/8)
	fmt.Fprint(w, long+"tail\nlast")
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b.want("begin", " rest", "next", long, "tail", "last")
	b.uniqueUIDs()
}

// TestPipeOfAnotherLife: a new pipe under the same name has nothing to do with
// the old one's place, but its unfinished line is not lost.
func TestPipeOfAnotherLife(t *testing.T) {
	b := newBench(t)
	r, w := newPipe(t)
	fmt.Fprint(w, "old\nunfini")
	p := b.pipe(r)
	if err := p.step(b.see(p)); err != nil {
		t.Fatal(err)
	}
	b.reopen()
	r2, w2 := newPipe(t)
	fmt.Fprint(w2, "new\n")
	p = b.pipe(r2)
	if err := p.step(b.see(p)); err != nil {
		t.Fatal(err)
	}
	b.want("old", "unfini", "new")
	b.uniqueUIDs()
}

// TestPipeWithoutCounter: where nothing can be counted, a kill repeats, and loses nothing.
func TestPipeWithoutCounter(t *testing.T) {
	b := newBench(t)
	b.sh.RunDir = "/nonexistent"
	r, w := newPipe(t)
	fmt.Fprint(w, "one\n")
	p := b.pipe(r)
	p.frame(b.see(p))
	b.reopen()
	b.sh.RunDir = "/nonexistent"
	p = b.pipe(r)
	if err := p.step(b.see(p)); err != nil {
		t.Fatal(err)
	}
	b.want("one", "one")
	if !strings.Contains(b.said(), "cannot count") {
		t.Errorf("not said: %s", b.said())
	}
}

func TestPipeCounterIsPunched(t *testing.T) {
	b := newBench(t)
	r, w := newPipe(t)
	p := b.pipe(r)
	line := strings.Repeat("x", 999) + "\n"
	for range 4000 {
		fmt.Fprint(w, line)
		if err := p.step(b.see(p)); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(b.dir, "log.stdout.taken"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != 4000*1000 || st.Blocks*512 > 2<<20 {
		t.Errorf("size %d, %d bytes on disk", st.Size, st.Blocks*512)
	}
}

func TestShed(t *testing.T) {
	tests := []struct {
		fill float64
		want string // which of debug, none, info, warn, error is shed
	}{
		{0.5, ""}, {0.85, "debug"}, {0.92, "debug none info"}, {0.96, "debug none info warn"}, {0.995, "debug none info warn error"},
	}
	for _, tt := range tests {
		var got []string
		for _, s := range []struct {
			name string
			n    uint8
		}{{"debug", 5}, {"none", 0}, {"info", 9}, {"warn", 13}, {"error", 17}} {
			if shed(tt.fill, s.n) {
				got = append(got, s.name)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("at %v: %v, want %s", tt.fill, got, tt.want)
		}
	}
}

// TestPipeWasNotCounted: what nobody counted is not taken for what stands in the pipe.
func TestPipeWasNotCounted(t *testing.T) {
	b := newBench(t)
	r, w := newPipe(t)
	b.sh.RunDir = filepath.Join(b.dir, "none")
	p := b.pipe(r)
	fmt.Fprintln(w, "one")
	do(t, p.step(b.see(p)))
	b.reopen()
	fmt.Fprintln(w, "two")
	p = b.pipe(r)
	do(t, p.step(b.see(p)))
	b.want("one", "two")
	b.reopen() // and from now on it is
	fmt.Fprintln(w, "three")
	p = b.pipe(r)
	do(t, p.step(b.see(p)))
	b.want("one", "two", "three")
}

// TestLossOfALoss: where the record of a loss finds no room, what was shed behind it counts too.
func TestLossOfALoss(t *testing.T) {
	b := newBench(t)
	sp, err := spool.Open(spool.Options{Quota: 1})
	do(t, err)
	b.sp, b.sh.Spool = sp, sp
	src, err := sp.Register("first", spool.State{})
	do(t, err)
	waits := spool.NewBatch(src)
	waits.Record(1, 1, &otlp.Record{})
	do(t, sp.Commit(waits)) // behind it there is no room
	r, _ := newPipe(t)
	p := b.pipe(r)
	s, err := OpenSyslog(b.sh, SyslogOptions{Path: filepath.Join(t.TempDir(), "log")})
	do(t, err)
	first := time.Now().Add(-time.Hour)
	for _, l := range []struct {
		told, loss *event.Loss
		pending    *[]pendingRecord
		batch      *spool.Batch
		commit     func()
	}{{&p.told, &p.loss, &p.pending, p.batch, p.commit}, {&s.told, &s.loss, &s.pending, s.batch, s.commit}} {
		l.told.Add(event.ReasonQuota, parse.Info, 10, first)
		l.loss.Add(event.ReasonQuota, parse.Info, 20, first.Add(time.Minute))
		*l.pending = []pendingRecord{{parse.Error, 5}}
		l.batch.Record(5, 1, &otlp.Record{})
		l.commit()
		if l.loss.Count != 3 || l.loss.Bytes != 35 || !l.loss.First.Equal(first) || time.Since(l.loss.Last) > patience {
			t.Errorf("%+v", l.loss)
		}
	}
	do(t, s.close())
}

// TestPipeStopsInFlood: a writer that never pauses does not keep a pipe from its end.
func TestPipeStopsInFlood(t *testing.T) {
	b := newBench(t)
	r, w := newPipe(t)
	p := b.pipe(r)
	p.o.Copy = func([]byte) { fmt.Fprintln(w, "again") } // what was taken is replaced at once
	fmt.Fprintln(w, "at first")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	cancel()
	select {
	case err := <-done:
		do(t, err)
	case <-time.After(patience):
		t.Error("it reads on")
	}
}
