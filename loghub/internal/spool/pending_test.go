// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"github.com/google/go-cmp/cmp"
)

// putAgain commits records from to to of a source that can be read again.
func putAgain(t *testing.T, s *Spool, src *Source, from, to int) {
	t.Helper()
	if err := s.Commit(againBatch(src, from, to)); err != nil {
		t.Fatal(err)
	}
}

func againBatch(src *Source, from, to int) *Batch {
	b := NewBatch(src)
	b.Again = true
	for seq := from; seq <= to; seq++ {
		b.Record(uint64(10*seq), uint64(seq), &otlp.Record{Body: otlp.String(fmt.Sprintf("%s-%d", src.key, seq))})
	}
	b.Prove(uint64(10*to), uint64(to), []byte("proof"))
	return b
}

// take takes n records, of which want tells the bodies.
func take(t *testing.T, s *Spool, n int, want ...[]string) *Delivery {
	t.Helper()
	d, err := s.Peek(n, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, w := range want {
		all = append(all, w...)
	}
	if diff := cmp.Diff(all, bodies(t, d)); diff != "" {
		t.Fatal(diff)
	}
	return d
}

func ack(t *testing.T, s *Spool, d *Delivery, i, j int, left int64) {
	t.Helper()
	if backlog, err := s.Ack(d, i, j); err != nil || backlog != left || s.Stats().Backlog != left {
		t.Fatalf("backlog %d and %d, %v; want %d", backlog, s.Stats().Backlog, err, left)
	}
}

// killed opens what a process leaves behind that was killed: Close would bring everything to the log.
func killed(t *testing.T, again func() Options) *Spool {
	t.Helper()
	s := open(t, again())
	t.Cleanup(func() { s.Close() })
	return s
}

// TestPending: what can be read again is sent without ever being in the log, which learns its place alone.
func TestPending(t *testing.T) {
	stores(t, func(t *testing.T, again func() Options) {
		s := killed(t, again)
		a := register(t, s, "a")
		putAgain(t, s, a, 1, 300)
		put := s.Stats()
		d := take(t, s, 200, wantSeq("a", 1, 200))
		ack(t, s, d, 0, 150, 150)
		d = take(t, s, 200, wantSeq("a", 151, 300))
		ack(t, s, d, 0, 150, 0)
		if now := s.Stats(); now.Bytes-put.Bytes > 100 {
			t.Errorf("the log took %d bytes", now.Bytes-put.Bytes)
		}
		next := killed(t, again)
		if st := next.Restored()["a"]; st.Pos != 3000 || st.Seq != 300 || string(st.Proof) != "proof" {
			t.Errorf("%+v", st)
		}
		if left := drain(t, next); left != nil {
			t.Errorf("%d records come again", len(left))
		}
	})
}

// TestPendingKilled: what was neither acknowledged nor in the log when the process was killed is read again.
func TestPendingKilled(t *testing.T) {
	stores(t, func(t *testing.T, again func() Options) {
		s := killed(t, again)
		putAgain(t, s, register(t, s, "a"), 1, 300)
		ack(t, s, take(t, s, 200, wantSeq("a", 1, 200)), 0, 150, 150)
		next := killed(t, again)
		if st := next.Restored()["a"]; st.Pos != 0 {
			t.Errorf("the place %d counts", st.Pos)
		}
		if left := drain(t, next); left != nil {
			t.Errorf("%d records are in the log", len(left))
		}
	})
}

// TestPendingLogged: what waits for long, or may not wait any more, is in the log, in order and once.
func TestPendingLogged(t *testing.T) {
	now := time.Now()
	tests := map[string]func(s *Spool, a *Source) error{
		"sync":   func(s *Spool, _ *Source) error { return s.Sync() },
		"secure": func(s *Spool, _ *Source) error { return s.Secure() },
		"age": func(s *Spool, _ *Source) error {
			now = now.Add(pendingAge)
			return s.logOld()
		},
		"a place of its own":       func(s *Spool, a *Source) error { return s.Update(a, State{Pos: 30, Seq: 3}) },
		"its source is forgotten":  func(s *Spool, a *Source) error { return s.Forget(a) },
		"more than may wait there": func(s *Spool, a *Source) error { return s.Commit(againBatch(a, 4, 40)) },
		"what may not wait there": func(s *Spool, a *Source) error {
			b := againBatch(a, 4, 40)
			b.Again = false
			return s.Commit(b)
		},
	}
	for name, event := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "log")
			again := func() Options {
				return Options{Dir: dir, now: func() time.Time { return now }, pending: 1000, patience: time.Millisecond}
			}
			s := killed(t, again)
			a, p := register(t, s, "a"), register(t, s, "p")
			putAgain(t, s, a, 1, 3)
			put(t, s, p, 2, 0)
			if err := event(s, a); err != nil {
				t.Fatal(err)
			}
			want := wantSeq("a", 1, 3)
			if strings.HasSuffix(name, "may wait there") || strings.HasSuffix(name, "may not wait there") {
				want = wantSeq("a", 1, 40)
			}
			if diff := cmp.Diff(append(wantSeq("p", 1, 2), want...), drain(t, killed(t, again))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestPendingUnderWay: what goes to the log while a request has it is acknowledged there too, also where records in front of it are not.
func TestPendingUnderWay(t *testing.T) {
	s := killed(t, func() Options { return Options{Dir: filepath.Join(t.TempDir(), "log")} })
	a, p := register(t, s, "a"), register(t, s, "p")
	putAgain(t, s, a, 1, 3)
	putAgain(t, s, a, 4, 6)
	d := take(t, s, 6, wantSeq("a", 1, 6))
	put(t, s, p, 2, 0)
	if err := s.Sync(); err != nil { // behind those of p
		t.Fatal(err)
	}
	put(t, s, p, 2, 0)
	ack(t, s, d, 0, 2, 8)
	ack(t, s, d, 2, 5, 5)
	d = take(t, s, 100, wantSeq("p", 1, 2), wantSeq("a", 6, 6), wantSeq("p", 3, 4))
	ack(t, s, d, 0, 2, 3)
	d = take(t, s, 100, wantSeq("a", 6, 6), wantSeq("p", 3, 4))
	ack(t, s, d, 0, 3, 0)
	putAgain(t, s, a, 7, 8)
	ack(t, s, take(t, s, 9, wantSeq("a", 7, 8)), 0, 2, 0)
	if len(s.queue.passed) > 0 {
		t.Errorf("%v is remembered, and lies behind", s.queue.passed)
	}
}

// TestPendingShut: while the receiver takes nothing, everything goes to the log at once; what it takes opens the way again.
func TestPendingShut(t *testing.T) {
	s := killed(t, func() Options { return Options{Dir: filepath.Join(t.TempDir(), "log")} })
	a := register(t, s, "a")
	putAgain(t, s, a, 1, 2)
	take(t, s, 9, wantSeq("a", 1, 2))
	d := take(t, s, 9, wantSeq("a", 1, 2)) // the first attempt failed
	putAgain(t, s, a, 3, 4)
	if len(s.queue.chunks) > 0 || s.backlog != 4 {
		t.Errorf("%d batches wait outside the log, %d records in there", len(s.queue.chunks), s.backlog)
	}
	ack(t, s, d, 0, 2, 2)
	putAgain(t, s, a, 5, 6)
	if len(s.queue.chunks) != 1 {
		t.Errorf("%d batches wait outside the log", len(s.queue.chunks))
	}
	ack(t, s, take(t, s, 9, wantSeq("a", 3, 6)), 0, 4, 0)
}

// TestPendingRoom: who finds no room waits for the acknowledgement that makes some, and says that it is worth sending.
func TestPendingRoom(t *testing.T) {
	s := killed(t, func() Options {
		return Options{Dir: filepath.Join(t.TempDir(), "log"), pending: 100, patience: time.Minute}
	})
	a := register(t, s, "a")
	putAgain(t, s, a, 1, 3)
	done := make(chan error)
	go func() { done <- s.Commit(againBatch(a, 4, 6)) }()
	for end := time.Now().Add(10 * time.Second); !s.Due(1000); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody says that room is wanted")
		}
	}
	if _, err := s.Ack(take(t, s, 9, wantSeq("a", 1, 3)), 0, 3); err != nil { // what waited may be there at once
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ack(t, s, take(t, s, 9, wantSeq("a", 4, 6)), 0, 3, 0)
	if s.total != 0 {
		t.Errorf("%d records went to the log", s.total)
	}
}

// TestPendingPart: a part of a batch that is acknowledged after the batch went to the log does not come again.
func TestPendingPart(t *testing.T) {
	s := killed(t, func() Options { return Options{Dir: filepath.Join(t.TempDir(), "log")} })
	a := register(t, s, "a")
	putAgain(t, s, a, 1, 9)
	d := take(t, s, 5, wantSeq("a", 1, 5))
	ack(t, s, d, 0, 2, 7)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	ack(t, s, d, 2, 4, 5)
	ack(t, s, take(t, s, 9, wantSeq("a", 5, 9)), 0, 5, 0)
}

// TestPendingOrder: what comes to the log after a Peek has seen its end, and before it looks what waits outside, is in front of that.
func TestPendingOrder(t *testing.T) {
	s := killed(t, func() Options { return Options{Dir: filepath.Join(t.TempDir(), "log")} })
	a := register(t, s, "a")
	take(t, s, 9)
	put(t, s, a, 2, 0)
	putAgain(t, s, a, 3, 4)
	if d := new(Delivery); s.lend(d, 9, 1<<20) || d.Len() > 0 {
		t.Errorf("%q came in front of the log", bodies(t, d))
	}
	ack(t, s, take(t, s, 9, wantSeq("a", 1, 4)), 0, 4, 0)
}

// TestPendingProof: what the place within a batch proves is in the log with it, also where the records behind the proof are acknowledged
// already and a crash of the machine takes the end of the batch.
func TestPendingProof(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	s := open(t, Options{Dir: dir})
	b := NewBatch(register(t, s, "a"))
	b.Again = true
	b.Prove(0, 0, []byte("first"))
	for seq := 1; seq <= 4; seq++ {
		b.Record(uint64(10*seq), uint64(seq), &otlp.Record{Body: otlp.String(fmt.Sprintf("a-%d", seq))})
		if seq == 1 {
			b.Prove(10, 1, []byte("untold"))
		}
	}
	b.Prove(40, 4, []byte("last"))
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	ack(t, s, take(t, s, 2, wantSeq("a", 1, 2)), 0, 2, 2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	info, err := os.Stat(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(files[0], info.Size()-1); err != nil {
		t.Fatal(err)
	}
	next := killed(t, func() Options { return Options{Dir: dir} })
	if st := next.Restored()["a"]; st.Pos != 40 || string(st.Proof) != "untold" {
		t.Errorf("%d, %q", st.Pos, st.Proof)
	}
}

// TestPendingNoRoom: what finds no room in the log, and waits on, keeps nothing else from the disk.
func TestPendingNoRoom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	o := Options{Mode: MemoryFirst, mem: newModelTier(r, true), disk: newModelTier(r, false)}
	s := open(t, o)
	put(t, s, register(t, s, "p"), 2, 0)
	putAgain(t, s, register(t, s, "a"), 1, 40)
	mem := o.mem.(*modelTier)
	mem.full = true
	if err := s.Secure(); !errors.Is(err, errNoSpace) {
		t.Errorf("%v, with %d batches outside the log", err, len(s.queue.chunks))
	}
	mem.full = false
	mem.crash()
	if diff := cmp.Diff(wantSeq("p", 1, 2), drain(t, killed(t, func() Options { return o }))); diff != "" {
		t.Error(diff)
	}
}
