// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
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
