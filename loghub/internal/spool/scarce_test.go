// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

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

// illDisk is a store that cannot be forced down while it has an error, nor written to if it is dead too.
type illDisk struct {
	store
	err  atomic.Pointer[error]
	dead bool
}

type illFile struct {
	segment
	d *illDisk
}

func (d *illDisk) failing() error {
	if err := d.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (d *illDisk) wrap(seg segment, err error) (segment, error) {
	if err != nil {
		return nil, err
	}
	return illFile{seg, d}, nil
}

func (d *illDisk) create(n uint64) (segment, error) {
	if err := d.failing(); err != nil && d.dead {
		return nil, err
	}
	return d.wrap(d.store.create(n))
}

func (d *illDisk) open(n uint64) (segment, error) { return d.wrap(d.store.open(n)) }
func (d *illDisk) cursor() (segment, error)       { return d.wrap(d.store.cursor()) }

func (d *illDisk) sync() error {
	if err := d.failing(); err != nil {
		return err
	}
	return d.store.sync()
}

func (s illFile) Sync() error {
	if err := s.d.failing(); err != nil {
		return err
	}
	return s.segment.Sync()
}

func (s illFile) WriteAt(p []byte, off int64) (int, error) {
	if err := s.d.failing(); err != nil && s.d.dead {
		return 0, err
	}
	return s.segment.WriteAt(p, off)
}

// TestDiskThatCannotBeForced: a disk that was remounted read-only after an error, or forgets what it is given, keeps the files that
// are there; records go on in memory as if it were not there, it is said once, and when it is well again they are back on it.
func TestDiskThatCannotBeForced(t *testing.T) {
	for name, dead := range map[string]bool{"read-only": true, "forgetful": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d, err := openDirStore(dir, false)
			if err != nil {
				t.Fatal(err)
			}
			disk := &illDisk{store: d, dead: dead}
			clock := atomic.Int64{}
			start := time.Now()
			const quota = 64 << 10
			s := open(t, Options{disk: disk, Quota: quota, segment: 4 << 10, Flush: time.Millisecond,
				now: func() time.Time { return start.Add(time.Duration(clock.Load())) }})
			a := register(t, s, "a")
			for s.Fill() < 0.6 {
				put(t, s, a, 1, 1000)
			}
			var said, mended atomic.Int64
			ctx, cancel := context.WithCancel(t.Context())
			var run sync.WaitGroup
			defer run.Wait()
			defer cancel()
			rofs := error(syscall.EROFS)
			disk.err.Store(&rofs)
			run.Go(func() {
				s.Run(ctx, func(err error) {
					if err == nil {
						mended.Add(1)
					} else {
						said.Add(1)
					}
				})
			})
			eventually(t, "word of the disk", func() bool { return said.Load() > 0 })
			files := func() int {
				known, _, err := d.segments()
				if err != nil {
					t.Fatal(err)
				}
				return len(known)
			}
			before := files()
			drain(t, s)
			for range 300 { // several times the quota
				put(t, s, a, 1, 1000)
				drain(t, s)
				clock.Add(int64(time.Second / 5))
				eventually(t, "room in memory", func() bool { return s.Stats().InMemory < quota/2 })
			}
			for range 20 { // while some wait there is room too
				put(t, s, a, 1, 1000)
			}
			if fill := s.Fill(); fill > 0.9 {
				t.Errorf("the spool is filled to %.2f", fill)
			}
			if st := s.Stats(); !st.Emergency || st.Trouble == "" || st.InMemory == 0 {
				t.Errorf("%+v", st)
			}
			if n := files(); n > before+1 { // one may be tried at this moment
				t.Errorf("%d files, and there were %d", n, before)
			}
			if said.Load() != 1 || mended.Load() != 0 {
				t.Errorf("said %d times, and %d times that it is well", said.Load(), mended.Load())
			}
			disk.err.Store(nil)
			eventually(t, "return to the disk", func() bool {
				clock.Add(int64(time.Second))
				st := s.Stats()
				return !st.Emergency && st.InMemory == 0 && st.Bytes < quota/2 && mended.Load() == 1
			})
			last := a.state.Seq
			if err := s.Sync(); err != nil {
				t.Error(err)
			}
			cancel()
			run.Wait()
			s = open(t, Options{Dir: dir})
			if got := s.Restored()["a"].Seq; got != last {
				t.Errorf("the place is %d, want %d", got, last)
			}
			if got := len(drain(t, s)); got != 20 {
				t.Errorf("%d of 20 records that wait", got)
			}
		})
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}
