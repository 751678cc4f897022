// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloud4.internal/hub/internal/otlp"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func open(t *testing.T, o Options) *Spool {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func register(t *testing.T, s *Spool, key string) *Source {
	t.Helper()
	src, err := s.Register(key, s.Restored()[key])
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// put commits n records "<prefix>-<seq>" of pad bytes each.
func put(t *testing.T, s *Spool, src *Source, n, pad int) {
	t.Helper()
	b := NewBatch(src)
	pos, seq := src.state.Pos, src.state.Seq
	for range n {
		seq++
		pos += 10
		b.Record(pos, seq, &otlp.Record{Severity: 9, Body: otlp.String(fmt.Sprintf("%s-%d%s", src.key, seq, strings.Repeat(".", pad)))})
	}
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
}

// bodies reads up to n records without acknowledging them.
func bodies(t *testing.T, d *Delivery) []string {
	t.Helper()
	var out []string
	for i := range d.Len() {
		var r otlp.Record
		if err := otlp.DecodeRecord(d.Record(i), &r); err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.TrimRight(string(r.Body.Bytes), "."))
	}
	return out
}

func drain(t *testing.T, s *Spool) []string {
	t.Helper()
	var out []string
	for {
		d, err := s.Peek(100, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if d.Len() == 0 {
			return out
		}
		out = append(out, bodies(t, d)...)
		if _, err := s.Ack(d, 0, d.Len()); err != nil {
			t.Fatal(err)
		}
	}
}

func wantSeq(key string, from, to int) []string {
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprintf("%s-%d", key, i))
	}
	return out
}

// stores runs a test on both kinds of store. again gives the options for
// opening the same spool a second time.
func stores(t *testing.T, test func(t *testing.T, again func() Options)) {
	t.Run("disk", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "log")
		test(t, func() Options { return Options{Dir: dir} })
	})
	t.Run("memory", func(t *testing.T) {
		m, err := newMemStore(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer m.f.Close()
		test(t, func() Options {
			path := fmt.Sprintf("/proc/self/fd/%d", m.f.Fd())
			f, err := os.OpenFile(path, os.O_RDWR, 0) // as a second process holds it
			if err != nil {
				t.Fatal(err)
			}
			return Options{Memory: f}
		})
	})
}

func TestReopenKeepsRecordsAndPlaces(t *testing.T) {
	stores(t, func(t *testing.T, again func() Options) {
		s := open(t, again())
		a, b := register(t, s, "a"), register(t, s, "b")
		put(t, s, a, 5, 0)
		put(t, s, b, 2, 0)
		carry := NewBatch(a)
		carry.Carry(53, []byte("abc"))
		carry.Carry(55, []byte("de"))
		if err := s.Commit(carry); err != nil {
			t.Fatal(err)
		}
		d, err := s.Peek(3, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Ack(d, 0, 2); err != nil {
			t.Fatal(err)
		}
		// No Close: this is what a kill leaves behind.
		s = open(t, again())
		defer s.Close()
		want := map[string]State{
			"a": {Pos: 55, Seq: 5, Carry: []byte("abcde")},
			"b": {Pos: 20, Seq: 2},
		}
		if diff := cmp.Diff(want, s.Restored()); diff != "" {
			t.Error(diff)
		}
		if got := s.Stats().Backlog; got != 5 {
			t.Errorf("backlog is %d, want 5", got)
		}
		got := drain(t, s)
		if diff := cmp.Diff(append(wantSeq("a", 3, 5), wantSeq("b", 1, 2)...), got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSegmentsRollAndRetire(t *testing.T) {
	stores(t, func(t *testing.T, again func() Options) {
		s := open(t, again())
		a := register(t, s, "a")
		for range 60 {
			put(t, s, a, 10, 9000)
		}
		if n := s.Stats().Segments; n < 5 {
			t.Fatalf("%d segments, want several", n)
		}
		if diff := cmp.Diff(wantSeq("a", 1, 600), drain(t, s)); diff != "" {
			t.Error(diff)
		}
		if st := s.Stats(); st.Segments != 1 || st.Bytes > 2<<20 {
			t.Errorf("after the last acknowledgement: %+v, want one segment", st)
		}
		s = open(t, again())
		defer s.Close()
		if st := s.Restored()["a"]; st.Seq != 600 {
			t.Errorf("sequence %d after everything was sent, want 600", st.Seq)
		}
		if got := drain(t, s); got != nil {
			t.Errorf("%d records again", len(got))
		}
	})
}

func TestMarksAloneDoNotFill(t *testing.T) {
	s := open(t, Options{Quota: 4 << 20})
	defer s.Close()
	a := register(t, s, "a")
	b := NewBatch(a)
	for i := range 600 {
		for j := range 1000 {
			b.Mark(uint64(i*1000+j), 0)
		}
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		if err := s.retire(); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats(); st.Bytes > 3<<20 {
		t.Errorf("%d bytes of marks are kept", st.Bytes)
	}
}

// TestPlacesAreBounded: while nothing is acknowledged, what is no record does not grow without end either.
func TestPlacesAreBounded(t *testing.T) {
	s := open(t, Options{Quota: 2 << 20})
	defer s.Close()
	a := register(t, s, "a")
	put(t, s, a, 1, 0)
	b := NewBatch(a)
	var err error
	for i := uint64(1); err == nil && i < 100; i++ {
		b.Carry(10+i*64<<10, make([]byte, 64<<10))
		err = s.Commit(b)
	}
	if st := s.Stats(); !errors.Is(err, ErrFull) || st.Bytes <= 2<<20 || st.Bytes > 2<<20+256<<10 {
		t.Errorf("%d bytes, error %v", st.Bytes, err)
	}
	drain(t, s)
	if err := s.Commit(b); err != nil {
		t.Errorf("nothing waits any more: %v", err)
	}
}

func TestQuota(t *testing.T) {
	s := open(t, Options{Quota: 1 << 20})
	defer s.Close()
	a := register(t, s, "a")
	b := NewBatch(a)
	put(t, s, a, 1, 0)
	b.Record(2, 2, &otlp.Record{Body: otlp.String("a-2" + strings.Repeat(" ", 2<<20))})
	if err := s.Commit(b); !errors.Is(err, ErrFull) {
		t.Fatalf("error is %v, want ErrFull", err)
	}
	if diff := cmp.Diff(wantSeq("a", 1, 1), drain(t, s)); diff != "" {
		t.Error(diff)
	}
	if fill := s.Fill(); fill > 0 {
		t.Errorf("nothing waits, and it is filled to %.2f", fill)
	}
	if err := s.Commit(b); err != nil { // else what is larger than the quota would wait for ever
		t.Errorf("nothing waits: %v", err)
	}
	b.Record(3, 3, &otlp.Record{})
	if err := s.Commit(b); !errors.Is(err, ErrFull) {
		t.Errorf("error is %v, want ErrFull", err)
	}
}

// TestPlacesLargerThanTheQuota: where thousands of sources have places, records find room all the same.
func TestPlacesLargerThanTheQuota(t *testing.T) {
	s := open(t, Options{Quota: 1 << 20})
	defer s.Close()
	var a *Source
	for i := range 6000 {
		var err error
		if a, err = s.Register(fmt.Sprint(i), State{Aux: strings.Repeat("x", 250)}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		put(t, s, a, 1, 10)
		drain(t, s)
	}
}

func TestDamage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	a := register(t, s, "a")
	put(t, s, a, 100, 100)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	segs, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(segs) != 1 {
		t.Fatal(segs, err)
	}
	data, err := os.ReadFile(segs[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		data[len(data)/2+i] ^= 0xff
	}
	data = append(data[:len(data)-20], 'j', 'u', 'n', 'k') // a torn tail
	if err := os.WriteFile(segs[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cursor"), []byte("not a cursor"), 0o600); err != nil {
		t.Fatal(err)
	}
	foreignHead := append([]byte("CLSG\x63\x00\x00\x00"), make([]byte, 40)...)
	if err := os.WriteFile(filepath.Join(dir, "0000000000000000.seg"), foreignHead, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Dir: dir})
	defer s.Close()
	got := drain(t, s)
	if len(got) < 96 || len(got) > 98 {
		t.Errorf("%d of 100 records after damage in the middle and at the end, want 97", len(got))
	}
	if st := s.Stats(); st.Corrupt != 1 || st.Foreign != 1 || st.Skipped == 0 || st.Backlog != 0 {
		t.Errorf("stats are %+v", st)
	}
	if _, err := os.Stat(filepath.Join(dir, "0000000000000000.seg")); err != nil {
		t.Error("a segment of another version was removed:", err)
	}
}

// TestDamageWhileRunning: bytes that rot between Commit and Peek.
func TestDamageWhileRunning(t *testing.T) {
	s := open(t, Options{})
	defer s.Close()
	a := register(t, s, "a")
	put(t, s, a, 3, 100)
	if _, err := s.active.seg.WriteAt([]byte{1, 2, 3}, s.active.size-200); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a-1", "a-3"}, drain(t, s)); diff != "" {
		t.Error(diff)
	}
	if st := s.Stats(); st.Corrupt != 1 || st.Backlog != 0 {
		t.Errorf("stats are %+v", st)
	}
}

func TestForget(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	a, b := register(t, s, "a"), register(t, s, "b")
	put(t, s, a, 1, 0)
	put(t, s, b, 1, 0)
	if err := s.Forget(a); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Dir: dir})
	defer s.Close()
	if diff := cmp.Diff(map[string]State{"b": {Pos: 10, Seq: 1}}, s.Restored()); diff != "" {
		t.Error(diff)
	}
}

// TestTake: a restored source goes on under another key, and what is forgotten
// stays so, while the segments that knew them are still there.
func TestTake(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	for _, key := range []string{"a", "b", "c"} {
		put(t, s, register(t, s, key), 1, 0)
	}
	s = open(t, Options{Dir: dir})
	src, err := s.Take("a", "d", s.Restored()["a"])
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ForgetRestored("b"); err != nil {
		t.Fatal(err)
	}
	b := NewBatch(src)
	b.Prove(20, 1, []byte("proof"))
	b.Record(30, 2, &otlp.Record{}) // a batch cut short: its proof is missing
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	want := map[string]State{"c": {Pos: 10, Seq: 1}, "d": {Pos: 30, Seq: 2, Proof: []byte("proof")}}
	for range 2 {
		s = open(t, Options{Dir: dir})
		if diff := cmp.Diff(want, s.Restored()); diff != "" {
			t.Error(diff)
		}
	}
	if n := s.Stats().Backlog; n != 4 {
		t.Errorf("%d records", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCarry: bytes that were read wait in the spool until a record or mark has its place behind them.
func TestCarry(t *testing.T) {
	type step func(b *Batch)
	carry := func(pos uint64, text string) step { return func(b *Batch) { b.Carry(pos, []byte(text)) } }
	record := func(pos, seq uint64) step { return func(b *Batch) { b.Record(pos, seq, &otlp.Record{}) } }
	mark := func(pos, seq uint64) step { return func(b *Batch) { b.Mark(pos, seq) } }
	tests := []struct {
		name    string
		batches [][]step
		want    State
	}{
		{"ended", [][]step{{carry(3, "abc")}, {record(4, 1)}}, State{Pos: 4, Seq: 1}},
		{"ended where it ends", [][]step{{carry(3, "abc")}, {mark(3, 0)}}, State{Pos: 3}},
		{"ended in its middle", [][]step{{carry(3, "abc")}, {carry(5, "de")}, {record(2, 1)}}, State{Pos: 5, Seq: 1, Carry: []byte("cde")}},
		{"in its middle, and goes on", [][]step{{carry(3, "abc")}, {record(2, 1), carry(5, "de")}}, State{Pos: 5, Seq: 1, Carry: []byte("cde")}},
		{"several times", [][]step{{carry(5, "abcde")}, {record(2, 1), mark(3, 1), record(4, 2)}}, State{Pos: 5, Seq: 2, Carry: []byte("e")}},
		{"ended and begun", [][]step{{carry(3, "abc")}, {record(4, 1), carry(6, "ef")}}, State{Pos: 6, Seq: 1, Carry: []byte("ef")}},
		{"a batch between was lost", [][]step{{carry(3, "abc")}, {carry(9, "hi")}}, State{Pos: 9, Carry: []byte("hi")}},
		{"written again", [][]step{{carry(3, "abc")}, {carry(5, "bcde")}}, State{Pos: 5, Carry: []byte("bcde")}},
		{"back to the beginning", [][]step{{record(9, 1)}, {record(2, 2)}}, State{Pos: 2, Seq: 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, Options{Dir: dir})
			src := register(t, s, "a")
			for _, steps := range tt.batches {
				b := NewBatch(src)
				for _, f := range steps {
					f(b)
				}
				if err := s.Commit(b); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want, src.state, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("state: %s", diff)
			}
			s = open(t, Options{Dir: dir}) // as after a kill: the frames say the same
			defer s.Close()
			if diff := cmp.Diff(tt.want, s.Restored()["a"], cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("restored: %s", diff)
			}
		})
	}
}

// FuzzFrames: no bytes in a segment make Open fail, hang or invent records.
func FuzzFrames(f *testing.F) {
	b := NewBatch(&Source{key: "a"})
	b.Record(1, 1, &otlp.Record{Body: otlp.String("x")})
	b.Carry(2, []byte("y"))
	b.Mark(3, 1)
	seal(b.buf)
	good := append(appendSource(appendHeader(nil, 1), 0, "a", State{}), b.buf...)
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add([]byte("CLSG"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := newMemStore(nil) // on disk each run would wait for its fsync
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.f.WriteAt(data[:min(len(data), strideBytes)], strideBytes); err != nil {
			t.Fatal(err)
		}
		s, err := Open(Options{Memory: m.f})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for {
			d, err := s.Peek(10, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if d.Len() == 0 {
				break
			}
			if _, err := s.Ack(d, 0, d.Len()); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.Stats().Backlog; n != 0 {
			t.Fatalf("backlog is %d at the end", n)
		}
	})
}
