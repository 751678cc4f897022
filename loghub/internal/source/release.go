// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"cmp"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A file that was deleted before it was read, as when its receiver is away for days, is held open, and its space does not
// come back. That is right while there is plenty of it. When its file system runs out, what the service will write is worth more
// than what it has written: the file is let go, and its lines are counted.
const (
	// lowShare of a file system, though never more than lowBytes, is what may be free for releaseLow: long enough for the
	// receiver to be started anew, or for somebody who was told by a monitor, which mostly do so at a tenth, to act.
	lowShare   = 10
	lowBytes   = 1 << 30
	releaseLow = 10 * time.Minute
	// noneShare, though never more than noneBytes, is what is as good as nothing: the service is about to fail.
	noneShare   = 100
	noneBytes   = 100 << 20
	releaseNone = 10 * time.Second
	// askEvery is how often a file system is asked.
	askEvery = 5 * time.Second
)

// short says whether so little of a file system of size bytes is free that a file goes which nobody wrote to, and which had no
// name, for so long. One that is written to has a writer who holds it too: letting it go gives nothing back.
func short(free, size int64, quiet time.Duration) bool {
	return quiet >= releaseLow && free < min(size/lowShare, lowBytes) ||
		quiet >= releaseNone && free < min(size/noneShare, noneBytes)
}

// space is how many bytes of a file's file system are free for everybody, and how many it has.
func space(f *os.File) (free, size int64, err error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, 0, os.NewSyscallError("fstatfs", err)
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil
}

// release lets go of deleted files whose file systems have little room, the largest first.
func (f *Files) release(now time.Time) {
	if now.Sub(f.asked) < askEvery {
		return
	}
	f.asked = now
	for _, t := range f.orphans() {
		free, size, err := f.space(t.f)
		if err != nil || !short(free, size, min(now.Sub(t.grown), now.Sub(t.left))) {
			continue
		}
		t.sh.Log.Warn().Str("path", t.path).Int64("unread", t.size-t.offset).Int64("free", free).
			Msg("a log file was deleted before it could be read, and its disk is nearly full: it is let go, and its lines are lost")
		f.abandon(t)
	}
}

// orphans are the deleted files that were not read to their ends, those that take most room first.
func (f *Files) orphans() (list []*tail) {
	for _, t := range f.hot { // nothing that is not read to its end gets cold
		if t.deleted && t.f != nil && len(t.names) == 0 && t.offset < t.size && !t.held && f.tails[t.id] == t {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *tail) int { return cmp.Compare(b.blocks(), a.blocks()) })
	return list
}

// blocks is how many blocks a file takes; holes take none.
func (t *tail) blocks() int64 {
	var st unix.Stat_t
	if unix.Fstat(int(t.f.Fd()), &st) != nil {
		return 0
	}
	return st.Blocks
}

// abandon lets go of a file that nobody else can read any more, and counts what it held, unless that is there compressed.
func (f *Files) abandon(t *tail) {
	lose := t.losing(t.size)
	if !f.leave(t.asKnown(), t.left.Add(-copySlack), func(string) { lose() }) {
		lose()
	}
	f.forgetTail(t)
}
