// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// machine is one whose disk and memory a test harms by hand.
type machine struct {
	mem, disk *modelTier
	mode      Mode
	boot      uint64
}

func newMachine(mode Mode) *machine {
	r := rand.New(rand.NewPCG(1, 1))
	return &machine{mem: newModelTier(r, true), disk: newModelTier(r, false), mode: mode}
}

// crash is the end of the machine, the next start follows.
func (m *machine) crash(t *testing.T) *Spool {
	t.Helper()
	m.mem.crash()
	m.boot++
	return m.start(t)
}

func (m *machine) start(t *testing.T) *Spool {
	t.Helper()
	return open(t, Options{Mode: m.mode, mem: m.mem, disk: m.disk, boot: m.boot, Quota: 64 << 10, segment: 4 << 10})
}

// TestTornTwice: the machine's end took a piece of the log, and the disk is full at the next start. What is there flows, and
// its files go; yet when the machine ends once more, the places behind that piece are believed as little as before.
func TestTornTwice(t *testing.T) {
	for _, mode := range []Mode{OnDisk, MemoryFirst, InMemory} {
		t.Run(string(mode), func(t *testing.T) {
			m := newMachine(OnDisk)
			s := m.crash(t)
			src := register(t, s, "a")
			for s.active.number < 12 {
				put(t, s, src, 1, 1000)
			}
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			delete(m.disk.names, 7) // it never got there
			m.disk.full, m.mode = true, mode
			s = m.crash(t)
			want := s.Restored()["a"].Seq
			if last := src.state.Seq; want == 0 || want >= last {
				t.Fatalf("the place is %d, of %d", want, last)
			}
			src = register(t, s, "a")
			for range 3 { // more than the quota holds
				d, err := s.Peek(1<<20, 1<<30)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = s.Ack(d, 0, d.Len()) // they say that the disk is full
				_ = s.retire()
				for range 40 {
					put(t, s, src, 1, 1000)
				}
			}
			if got := len(m.disk.names); got > 3 {
				t.Errorf("%d files are left", got)
			}
			s = m.crash(t)
			if got := s.Restored()["a"].Seq; got != want {
				t.Errorf("the place is %d after the second crash, and was %d after the first", got, want)
			}
			m.disk.full, m.mode = false, OnDisk
			s = m.crash(t)
			src = register(t, s, "a")
			drain(t, s)
			put(t, s, src, 1, 1000)
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			s = m.crash(t)
			if got := s.Restored()["a"].Seq; got != want+1 {
				t.Errorf("the place is %d with room on the disk, and should be %d", got, want+1)
			}
			if got := drain(t, s); len(got) != 1 {
				t.Errorf("in the log are %q", got)
			}
		})
	}
}

// TestCursorHalfWritten: a process is killed while it writes the cursor on the disk. The next one does not write over the
// slot that is whole.
func TestCursorHalfWritten(t *testing.T) {
	m := newMachine(OnDisk)
	s := m.crash(t)
	src := register(t, s, "a")
	put(t, s, src, 3, 10)
	for range 2 {
		d, err := s.Peek(1, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Ack(d, 0, 1); err != nil {
			t.Fatal(err)
		}
		if s.Stats().Backlog == 2 { // the second one is not forced down
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	half := make([]byte, slotBytes/2)
	if _, err := m.disk.cur.WriteAt(half, (1+s.cur.slot)*slotBlock); err != nil {
		t.Fatal(err)
	}
	before, _, _ := readCursor(m.disk.cur)
	m.disk.cur.versions = nil
	m.start(t)
	b := make([]byte, slotBytes)
	if _, err := m.disk.cur.ReadAt(b, int64(1+before.slot)*slotBlock); err != nil {
		t.Fatal(err)
	}
	if after, ok := newer(mark{}, false, b, before.slot); !ok || after.generation != before.generation {
		t.Errorf("the slot of generation %d holds %d, valid: %v", before.generation, after.generation, ok)
	}
}

// TestOldFilesNotForced: what a killed process left in files cannot be forced down. Nothing on the disk relies on it until it
// was.
func TestOldFilesNotForced(t *testing.T) {
	m := newMachine(OnDisk)
	s := m.crash(t)
	put(t, s, register(t, s, "a"), 3, 10)
	m.disk.refuse = true
	s = m.start(t)
	if len(m.disk.names) != 1 || s.Stats().Trouble == "" {
		t.Errorf("%d files, trouble %q", len(m.disk.names), s.Stats().Trouble)
	}
	put(t, s, register(t, s, "a"), 1, 10)
	if err := s.Secure(); err == nil {
		t.Error("secured what the disk refused")
	}
	if len(m.disk.names) != 1 {
		t.Errorf("%d files", len(m.disk.names))
	}
	m.disk.refuse = false
	if err := s.Secure(); err != nil {
		t.Error(err)
	}
	s = m.crash(t)
	if got := s.Restored()["a"].Seq; got != 4 || len(drain(t, s)) != 4 {
		t.Errorf("the place is %d, of 4 records", got)
	}
}

// TestNewestPlacesGoLast: a spool in memory leaves no places on the disk. The newest go when no crash can bring those before
// them back alone.
func TestNewestPlacesGoLast(t *testing.T) {
	m := newMachine(OnDisk)
	s := m.crash(t)
	src := register(t, s, "a")
	for s.active.number < 5 {
		put(t, s, src, 1, 1000)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	m.mode = InMemory
	s = m.crash(t)
	drain(t, s)
	if err := s.retire(); err != nil {
		t.Fatal(err)
	}
	if len(m.disk.names) > 0 {
		t.Errorf("%d files are left", len(m.disk.names))
	}
	if diff := cmp.Diff(map[uint64]bool{5: true}, m.disk.gone); diff != "" {
		t.Errorf("a crash may bring back: %s", diff)
	}
}
