// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// age makes all files as old as if nothing had happened to them for a while.
func (f *Files) age(by time.Duration) {
	f.asked = time.Time{}
	for _, t := range f.tails {
		t.grown, t.left = t.grown.Add(-by), t.left.Add(-by)
	}
}

// TestShort: whom the disk is wanted for is a matter of how little is left and how long that may last.
func TestShort(t *testing.T) {
	const gib = 1 << 30
	tests := []struct {
		free, size int64
		quiet      time.Duration
		want       bool
	}{
		{99 * gib, 1000 * gib, time.Hour, false}, // less than a tenth, but plenty
		{gib - 1, 1000 * gib, time.Hour, true},
		{gib - 1, 1000 * gib, time.Minute, false},
		{gib, 10 * gib, time.Hour, false},
		{gib / 2, 10 * gib, releaseLow, true},
		{gib / 2, 10 * gib, releaseLow - 1, false},
		{50 << 20, 10 * gib, releaseNone, true}, // nothing is left
		{50 << 20, 10 * gib, releaseNone - 1, false},
		{200 << 10, 32 << 20, releaseNone, true}, // a small one
		{4 << 20, 32 << 20, time.Hour, false},
	}
	for _, tt := range tests {
		if got := short(tt.free, tt.size, tt.quiet); got != tt.want {
			t.Errorf("%d of %d free for %s: %v", tt.free, tt.size, tt.quiet, got)
		}
	}
}

// TestDeletedGivesSpaceBack: a file that was deleted before it could be read is let go when its disk is full, with its lines
// counted; the others go on waiting.
func TestDeletedGivesSpaceBack(t *testing.T) {
	needRoot(t)
	b := newBrim(t)
	do(t, os.Mkdir(b.dir+"/small", 0o700))
	volume(t, "tmpfs", b.dir+"/small", "size=16m")
	b.fill()
	full := b.path
	b.f.sets[0].Pattern = filepath.Join(b.dir, "**/*.log")
	waits := filepath.Join(b.dir, "waits.log")
	b.path = waits
	b.more(100)
	b.f.lookNow(false)
	do(t, os.Remove(waits))
	read := map[string]int{}
	for i, lines := range []int{20_000, 60_000} {
		b.path = filepath.Join(b.dir, fmt.Sprintf("small/%d.log", i))
		b.more(lines)
		b.f.lookNow(false)
		b.f.lookNow(false) // all of it is counted
		b.f.lookNow(false)
		read[b.path] = lines
		do(t, os.Remove(b.path))
	}
	b.f.lookNow(false)
	free := func() int64 {
		var st unix.Statfs_t
		do(t, unix.Statfs(filepath.Join(b.dir, "small"), &st))
		return int64(st.Bavail) * int64(st.Bsize)
	}
	small := free()
	write(t, filepath.Join(b.dir, "small/ballast"), strings.Repeat("x", int(small)-100<<10))
	b.f.age(releaseNone - 2*time.Second)
	b.f.lookNow(false)
	if n := len(b.f.tails); n != 4 {
		t.Errorf("%d of 4 files are followed before their time", n)
	}
	b.f.age(2 * time.Second)
	b.f.lookNow(false)
	if n, is := len(b.f.tails), free(); n != 3 || is < small/2 {
		t.Errorf("%d of 3 files are followed, and %d bytes are free", n, is)
	}
	for _, st := range b.f.Stats() {
		if st.Name == b.path && st.Lag > 0 {
			t.Errorf("the largest was to go: %+v", st)
		}
		if st.Name == "files that are gone" && (st.Lost != int64(read[b.path]) || st.LostBytes == 0) {
			t.Errorf("%+v, want %d", st, read[b.path])
		}
	}
	b.path = full
	b.counted(60_000)
	if b.lost.Count != 60_000 {
		t.Errorf("%d lines are told as lost", b.lost.Count)
	}
	b.f.close()
}

// TestDeletedIsHeld: where nobody knows how much is free, and where there is enough, a deleted file waits for as long as it takes.
func TestDeletedIsHeld(t *testing.T) {
	for _, err := range []error{nil, errors.New("its file system does not say")} {
		b := newBrim(t)
		b.fill()
		b.f.space = func(*os.File) (int64, int64, error) { return 50, 100, err }
		b.more(100)
		b.f.lookNow(false)
		do(t, os.Remove(b.path))
		b.f.lookNow(false)
		b.f.age(24 * time.Hour)
		b.f.lookNow(false)
		b.counted(0)
		if b.lost.Bytes > 0 {
			t.Errorf("%+v", b.lost)
		}
		b.f.close()
	}
}

// TestDeletedWhenItStops: who deletes a file and stops loghub before it was read learns what that took.
func TestDeletedWhenItStops(t *testing.T) {
	for _, room := range []bool{true, false} {
		b := newBrim(t)
		b.fill()
		if !room {
			b.ballast()
		}
		b.more(100)
		b.f.lookNow(false)
		do(t, os.Remove(b.path))
		b.f.lookNow(false)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		do(t, b.f.Run(ctx))
		b.small()
		b.f = b.files(b.path)
		b.counted(100)
		if strings.Contains(b.said(), "is gone") {
			t.Errorf("it is looked for: %s", b.said())
		}
		b.f.close()
	}
}

// TestDeletedKilled: what was read of a deleted file is in the log: a kill lets go of the file.
func TestDeletedKilled(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	write(t, path, "first\n")
	f := b.files(path)
	f.lookNow(false)
	write(t, path, strings.Repeat(strings.Repeat("x", 999)+"\n", 2*turnBytes/1000))
	do(t, os.Remove(path))
	f.round(t.Context(), false)
	tl := f.hot[0]
	if !tl.deleted || tl.offset == tl.size {
		t.Fatalf("deleted %v, read %d of %d bytes", tl.deleted, tl.offset, tl.size)
	}
	read := tl.n.records.Load()
	f.close()
	b.reopen()
	if got := int64(len(b.bodies())); got != read {
		t.Errorf("%d of %d records are there", got, read)
	}
}
