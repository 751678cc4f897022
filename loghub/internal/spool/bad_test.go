// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"github.com/google/go-cmp/cmp"
)

func mustWrite(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// foreignSegment is one of a later version.
func foreignSegment(n uint64) []byte {
	b := append([]byte(headerMagic), 99, 0, 0, 0)
	return append(binary.LittleEndian.AppendUint64(b, n), "what nobody here can read"...)
}

// TestThingsInTheWay: whatever is named like a segment or the cursor, the spool
// opens, sends what is its own, and leaves alone what is not.
func TestThingsInTheWay(t *testing.T) {
	for name, cursor := range map[string]func(t *testing.T, path string){
		"no cursor": func(*testing.T, string) {},
		"empty":     func(t *testing.T, path string) { mustWrite(t, path, nil) },
		"NUL":       func(t *testing.T, path string) { mustWrite(t, path, make([]byte, 12<<10)) },
		"torn":      func(t *testing.T, path string) { mustWrite(t, path, []byte("1234567890")) },
		"garbage":   func(t *testing.T, path string) { mustWrite(t, path, bytes.Repeat([]byte("garbage"), 1000)) },
		"directory": func(t *testing.T, path string) {
			if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			at := func(name string) string { return filepath.Join(dir, name) }
			s := open(t, Options{Dir: dir})
			put(t, s, register(t, s, "a"), 5, 10)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(at("cursor")); err != nil {
				t.Fatal(err)
			}
			cursor(t, at("cursor"))
			outside := filepath.Join(t.TempDir(), "outside")
			mustWrite(t, outside, []byte("not ours"))
			mustWrite(t, at("0000000000000002.seg"), []byte("garbage, and no header"))
			mustWrite(t, at("0000000000000009.seg"), foreignSegment(9))
			mustWrite(t, at("ffffffffffffffff.seg"), []byte("no number of ours"))
			for _, err := range []error{
				os.MkdirAll(at("0000000000000003.seg/full"), 0o700),
				syscall.Mkfifo(at("0000000000000004.seg"), 0o600),
				os.Symlink(outside, at("000000000000000c.seg")),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				s = open(t, Options{Dir: dir})
				a := register(t, s, "a")
				if a.state.Seq != 5 {
					t.Errorf("the place is %d, want 5", a.state.Seq)
				}
				if s.active.number <= 12 {
					t.Errorf("segment %d is begun, and there is one of 12", s.active.number)
				}
				if n := s.Stats().Foreign; n != 4 {
					t.Errorf("%d foreign segments, want 4", n)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			s = open(t, Options{Dir: dir})
			defer s.Close()
			if diff := cmp.Diff(wantSeq("a", 1, 5), drain(t, s)); diff != "" {
				t.Error(diff)
			}
			if b, err := os.ReadFile(at("0000000000000009.seg")); err != nil || !bytes.Equal(b, foreignSegment(9)) {
				t.Errorf("a segment of a later version is %q, %v", b, err)
			}
			if b, err := os.ReadFile(outside); err != nil || string(b) != "not ours" {
				t.Errorf("a file outside is %q, %v", b, err)
			}
		})
	}
}

// TestLaterVersionInMemory: nor is a segment of a later version overwritten there.
func TestLaterVersionInMemory(t *testing.T) {
	m, err := newMemStore(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.f.WriteAt(foreignSegment(7), strideBytes); err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{Memory: m.f})
	defer s.Close()
	a := register(t, s, "a")
	for range 3 {
		put(t, s, a, 10, 200<<10)
		drain(t, s)
	}
	got := make([]byte, len(foreignSegment(7)))
	if _, err := m.f.ReadAt(got, strideBytes); err != nil || !bytes.Equal(got, foreignSegment(7)) {
		t.Errorf("it is %q, %v", got, err)
	}
	if st := s.Stats(); st.Foreign != 1 || s.active.number < 8 {
		t.Errorf("%+v, segment %d", st, s.active.number)
	}
}

// TestVersions: a spool of version 1 is read where its cursor stands, and what a
// later version wrote into the cursor stays.
func TestVersions(t *testing.T) {
	dir := t.TempDir()
	src := &Source{key: "a"}
	seg := append([]byte(headerMagic), 1, 0, 0, 0)
	seg = binary.LittleEndian.AppendUint64(seg, 3)
	seg = appendSource(seg, 0, "a", State{})
	b := NewBatch(src)
	b.Record(10, 1, &otlp.Record{Body: otlp.String("a-1")})
	acked := len(seg) + len(b.buf)
	b.Record(20, 2, &otlp.Record{Body: otlp.String("a-2")})
	seal(b.buf)
	mustWrite(t, filepath.Join(dir, "0000000000000003.seg"), append(seg, b.buf...))
	var old []byte
	for _, v := range []uint64{1, 3, uint64(acked)} {
		old = binary.LittleEndian.AppendUint64(old, v)
	}
	old = binary.LittleEndian.AppendUint32(old, crc32.Checksum(old, castagnoli))
	later := append(make([]byte, 3*slotBlock), "the cursor of version 3"...)
	copy(later, old)
	mustWrite(t, filepath.Join(dir, "cursor"), later)

	s := open(t, Options{Dir: dir})
	if st := s.Stats(); st.Foreign != 1 || st.Backlog != 1 || s.Restored()["a"].Seq != 2 {
		t.Errorf("%+v, %+v", st, s.Restored())
	}
	if diff := cmp.Diff(wantSeq("a", 2, 2), drain(t, s)); diff != "" {
		t.Error(diff)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Dir: dir})
	defer s.Close()
	if got := drain(t, s); got != nil {
		t.Errorf("again: %s", got)
	}
	got, err := os.ReadFile(filepath.Join(dir, "cursor"))
	if err != nil || !bytes.Equal(got[3*slotBlock:], later[3*slotBlock:]) {
		t.Errorf("the later cursor is %q, %v", got[3*slotBlock:], err)
	}
}

// sick is a store of which some blocks of segments cannot be read.
type sick struct {
	store
	bad map[int64]bool // blocks
}

type sickSegment struct {
	segment
	bad map[int64]bool
}

func (s sick) open(n uint64) (segment, error) {
	seg, err := s.store.open(n)
	return sickSegment{seg, s.bad}, err
}

func (s sickSegment) ReadAt(p []byte, off int64) (int, error) {
	for at := off; at < off+int64(len(p)); at++ {
		if s.bad[at/blockBytes] {
			n, _ := s.segment.ReadAt(p[:at-off], off)
			return n, syscall.EIO
		}
	}
	return s.segment.ReadAt(p, off)
}

// TestUnreadableBlock: a block that the disk does not give back costs the records
// in it, whether found at the start or later.
func TestUnreadableBlock(t *testing.T) {
	dir, err := openDirStore(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[int64]bool{}
	s := open(t, Options{disk: sick{dir, bad}})
	a := register(t, s, "a")
	put(t, s, a, 100, 400)
	bad[3] = true
	for range 2 {
		d, err := s.Peek(1000, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		got := bodies(t, d)
		if len(got) < 85 || len(got) > 92 || got[len(got)-1] != "a-100" {
			t.Errorf("%d records, the last is %s", len(got), got[len(got)-1])
		}
		if st := s.Stats(); st.Corrupt != 1 || st.Skipped < blockBytes {
			t.Errorf("%+v", st)
		}
		if s, err = Open(Options{disk: sick{dir, bad}}); err != nil {
			t.Fatal(err)
		}
	}
	drain(t, s)
	if st := s.Stats(); st.Backlog != 0 {
		t.Errorf("%+v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk: with a disk that takes nothing events wait in memory, which is
// said; when there is room again they go to the disk.
func TestFullDisk(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	now := time.Unix(1.8e9, 0)
	mem, disk := newModelTier(r, true), newModelTier(r, false)
	s := open(t, Options{Mode: OnDisk, mem: mem, disk: disk, now: func() time.Time { return now }})
	a := register(t, s, "a")
	put(t, s, a, 5, 10)
	disk.full = true
	put(t, s, a, 5, 10)
	st := s.Stats()
	if !st.Emergency || st.Trouble == "" || st.AtRisk == 0 {
		t.Errorf("%+v", st)
	}
	if err := s.tend(); err != nil {
		t.Error("before its time:", err)
	}
	disk.full = false
	now = now.Add(diskRetry)
	if err := s.tend(); err != nil {
		t.Fatal(err)
	}
	put(t, s, a, 1, 10)
	if st := s.Stats(); st.Emergency || st.Trouble != "" || st.AtRisk != 0 || st.InMemory != 0 {
		t.Errorf("%+v", st)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	mem.crash()
	disk.crash()
	s = open(t, Options{Mode: OnDisk, mem: mem, disk: disk, boot: 2})
	if diff := cmp.Diff(wantSeq("a", 1, 11), drain(t, s)); diff != "" {
		t.Error(diff)
	}
}

// TestBudget: beyond its bytes a day nothing more is written, that is said, and goes on
// when the day has moved on. A restart forgets nothing of it.
func TestBudget(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	now := time.Unix(1.8e9, 0)
	o := Options{Mode: MemoryFirst, mem: newModelTier(r, true), disk: newModelTier(r, false), DiskPerDay: 256 << 10,
		now: func() time.Time { return now }}
	s := open(t, o)
	a := register(t, s, "a")
	wait := func() error {
		put(t, s, a, 1, 20<<10)
		if err := s.tend(); err != nil {
			return err
		}
		now = now.Add(11 * time.Second)
		return s.tend()
	}
	spells := 0
	for ; spells < 50; spells++ {
		if err := wait(); err != nil {
			break
		}
	}
	st := s.Stats()
	if spells < 3 || spells > 10 || !st.Spent || st.Trouble == "" || st.WrittenToday > o.DiskPerDay || st.AtRisk < 20<<10 {
		t.Errorf("after %d spells: %+v", spells, st)
	}
	s = open(t, o) // the process was killed
	if got := s.Stats().WrittenToday; got < st.WrittenToday {
		t.Errorf("after a restart %d bytes were written today, before it %d", got, st.WrittenToday)
	}
	a = register(t, s, "a")
	now = now.Add(25 * time.Hour)
	if err := wait(); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); st.Spent || st.Trouble != "" || st.AtRisk != 0 {
		t.Errorf("a day later: %+v", st)
	}
}

func TestWindow(t *testing.T) {
	start := time.Unix(1.8e9, 0)
	var w window
	for h := range 30 {
		w.add(1<<20+100, start.Add(time.Duration(h)*time.Hour))
	}
	at := start.Add(29 * time.Hour)
	if got := w.sum(at); got < 24<<20 || got > 25<<20 {
		t.Errorf("%d bytes in a day of 24 times 1 MiB", got)
	}
	var again window
	again.decode(w.append(nil))
	if again.sum(at) != w.sum(at) {
		t.Error("another sum after writing and reading")
	}
	merged := w
	merged.merge(again)
	if merged.sum(at) != w.sum(at) {
		t.Error("merged with itself it is another sum")
	}
	if got := w.sum(at.Add(-100 * time.Hour)); got < 24<<20 {
		t.Errorf("a clock that was set back forgot: %d", got)
	}
	if got := w.sum(at.Add(100 * time.Hour)); got != 0 {
		t.Errorf("days later: %d", got)
	}
}

// TestErrorIsForcedDown: a record that is an error does not wait for its turn.
func TestErrorIsForcedDown(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Flush: time.Hour})
	a := register(t, s, "a")
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { s.Run(ctx, func(err error) { t.Error(err) }) })
	b := NewBatch(a)
	b.Record(1, 1, &otlp.Record{Severity: urgentSeverity, Body: otlp.String("it broke")})
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(60 * time.Second); ; {
		s.mu.Lock()
		done := s.active.synced == s.active.size
		s.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it was not forced down")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestAllAtOnce: sources, sender, and the spool's own goroutine, while segments go from
// memory to the disk and away.
func TestAllAtOnce(t *testing.T) {
	const each = 3000
	s := open(t, Options{Mode: MemoryFirst, Dir: t.TempDir(), Flush: time.Millisecond, DiskAfter: time.Millisecond, segment: 16 << 10})
	var all sync.WaitGroup
	stop := make(chan struct{})
	for _, key := range []string{"a", "b"} {
		src := register(t, s, key)
		all.Go(func() {
			b := NewBatch(src)
			for i := range uint64(each) {
				b.Record(i+1, i+1, &otlp.Record{Body: otlp.String(fmt.Sprintf("%s-%d", key, i+1))})
				if i%7 == 0 || i == each-1 {
					if err := s.Commit(b); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	defer run.Wait()
	defer cancel()
	run.Go(func() { s.Run(ctx, func(err error) { t.Error(err) }) })
	all.Go(func() {
		defer close(stop)
		next := map[string]int{"a": 1, "b": 1}
		for end := time.Now().Add(60 * time.Second); next["a"]+next["b"] < 2*each+2; {
			d, err := s.Peek(50, 1<<20)
			if err != nil {
				t.Error(err)
				return
			}
			for _, text := range bodies(t, d) {
				key := text[:1]
				if want := fmt.Sprintf("%s-%d", key, next[key]); text != want {
					t.Errorf("%s came, want %s", text, want)
					return
				}
				next[key]++
			}
			if _, err := s.Ack(d, 0, d.Len()); err != nil {
				t.Error(err)
			}
			if d.Len() == 0 && time.Now().After(end) {
				t.Errorf("nothing comes any more after %v", next)
				return
			}
			if next["a"]%5 == 0 {
				time.Sleep(100 * time.Microsecond) // so that there is something to spill
			}
		}
	})
	all.Wait()
	<-stop
	if st := s.Stats(); st.Backlog != 0 || st.WrittenToday == 0 {
		t.Errorf("%+v", st)
	}
}
