// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestFewDescriptors: however few descriptors there are while it opens, the spool has everything, or says that it could not
// open and has everything the next time.
func TestFewDescriptors(t *testing.T) {
	if dir := os.Getenv("SPOOL_TEST_DIR"); dir != "" {
		fewDescriptors(t, dir)
		return
	}
	for _, mode := range []Mode{OnDisk, MemoryFirst, InMemory} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, Options{Dir: dir, segment: 1 << 10})
			a := register(t, s, "a")
			for range 8 {
				put(t, s, a, 1, 400)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFewDescriptors$", "-test.v")
			child.Env = append(os.Environ(), "SPOOL_TEST_DIR="+dir, "SPOOL_TEST_MODE="+string(mode))
			if out, err := child.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func fewDescriptors(t *testing.T, dir string) {
	mode := Mode(os.Getenv("SPOOL_TEST_MODE"))
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe() // the runtime makes its epoll instance now
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(r.Close(), w.Close()) }()
	failed := 0
	for more := range 10 {
		memory, err := newMemStore(nil)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		few := limit
		few.Cur = uint64(len(entries) - 4 + more)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
			t.Fatal(err)
		}
		s, err := Open(Options{Dir: dir, Mode: mode, mem: memory})
		if restoreErr := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); restoreErr != nil {
			t.Fatal(restoreErr)
		}
		if err != nil {
			failed++
			if !errors.Is(err, syscall.EMFILE) {
				t.Errorf("with %d: %v", more, err)
			}
			continue
		}
		st := s.Stats()
		if got := s.Restored()["a"].Seq; got != 8 || st.Corrupt > 0 || st.Foreign > 0 || st.Backlog != 8 {
			t.Errorf("with %d: place %d, %+v", more, got, st)
		}
		_ = s.Close() // in memory mode the places go with it; the files stay
	}
	s := open(t, Options{Dir: dir, Mode: mode})
	if diff := cmp.Diff(wantSeq("a", 1, 8), drain(t, s)); diff != "" {
		t.Error(diff)
	}
	t.Logf("%d of 10 did not open", failed)
	if failed == 0 || failed == 10 {
		t.Error("this tests nothing")
	}
}
