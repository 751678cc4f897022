// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSegmentGone: somebody removes the files of a running spool, or puts something else in their place. What was in them is
// lost and counted, what comes then is not.
func TestSegmentGone(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"removed": os.Remove,
		"replaced": func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Symlink("/dev/null", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, Options{Dir: dir})
			src := register(t, s, "a")
			put(t, s, src, 3, 10)
			paths, err := filepath.Glob(filepath.Join(dir, "*.seg"))
			if err != nil || len(paths) != 1 {
				t.Fatal(paths, err)
			}
			if err := harm(paths[0]); err != nil {
				t.Fatal(err)
			}
			if d, err := s.Peek(10, 1<<20); err == nil {
				t.Fatalf("%d records from a file that is gone", d.Len())
			}
			put(t, s, src, 2, 10)
			if got := len(drain(t, s)); got != 2 {
				t.Errorf("%d of the 2 records that came afterwards", got)
			}
			if st := s.Stats(); st.Corrupt != 1 || st.Backlog != 0 {
				t.Errorf("corrupt %d, backlog %d", st.Corrupt, st.Backlog)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			s = open(t, Options{Dir: dir})
			if diff := cmp.Diff(uint64(5), s.Restored()["a"].Seq); diff != "" {
				t.Errorf("the number of the last record: %s", diff)
			}
		})
	}
}

// scarce is a store that has no descriptors for a while.
type scarce struct {
	store
	err error
}

func (s *scarce) open(n uint64) (segment, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.store.open(n)
}

// TestDescriptorsSpent: that a segment cannot be opened for the moment loses nothing.
func TestDescriptorsSpent(t *testing.T) {
	d, err := openDirStore(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	disk := &scarce{store: d}
	s := open(t, Options{disk: disk})
	put(t, s, register(t, s, "a"), 3, 10)
	disk.err = &os.PathError{Op: "open", Path: "x", Err: syscall.EMFILE}
	if _, err := s.Peek(10, 1<<20); err == nil {
		t.Fatal("no error")
	}
	disk.err = nil
	if got := len(drain(t, s)); got != 3 || s.Stats().Corrupt != 0 {
		t.Errorf("%d of 3 records, corrupt %d", got, s.Stats().Corrupt)
	}
}

// TestStretchEnds: a segment in memory never reaches into the next one.
func TestStretchEnds(t *testing.T) {
	m, err := newMemStore(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	seg, err := m.create(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := seg.WriteAt(make([]byte, 2), strideBytes-2); err != nil {
		t.Error(err)
	}
	if _, err := seg.WriteAt(make([]byte, 2), strideBytes-1); err == nil {
		t.Error("written into the next stretch")
	}
}

// TestTornPlacesStayUnbelieved: the crash of a machine took a segment, so the places behind it do not count. They do not after
// the next crash either, though what waits in memory alone was acknowledged up to there meanwhile.
func TestTornPlacesStayUnbelieved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, boot: 1, segment: 1 << 10})
	a := register(t, s, "a")
	for range 12 {
		put(t, s, a, 1, 400)
	}
	last := s.active.number
	if last < 4 {
		t.Fatalf("%d segments: this tests nothing", last)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, fmt.Sprintf("%016x.seg", 2))); err != nil {
		t.Fatal(err)
	}
	open2 := func(boot uint64) *Spool {
		return open(t, Options{Dir: dir, Mode: MemoryFirst, boot: boot, segment: 1 << 10})
	}
	s = open2(2)
	place := s.Restored()["a"].Seq
	if place >= 12 {
		t.Fatalf("the place is %d: this tests nothing", place)
	}
	register(t, s, "a")
	for range 4 { // into the segments behind the one that is missing
		d, err := s.Peek(1, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = s.Ack(d, 0, d.Len()) // that it cannot remove anything is no matter here
		_ = s.retire()
	}
	s = open2(3) // what was in memory is gone
	if got := s.Restored()["a"].Seq; got > place {
		t.Errorf("the place is %d, and records were committed up to %d only", got, place)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
