// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"io/fs"
	"os"
	"syscall"
	"time"

	"cloud4.internal/hub/loghub/internal/spool"
	"golang.org/x/sys/unix"
)

// stamp changes with every change of a file.
type stamp struct {
	size         int64
	mtime, ctime unix.Timespec
}

// ready makes what reading takes.
func (t *tail) ready() {
	if t.builder == nil {
		t.builder = t.newBuilder()
	}
	if t.batch == nil && t.src != nil {
		t.batch = spool.NewBatch(t.src)
	}
	t.limits.ready()
}

// rest lets go of it: where there are many files, few of them are being read.
func (t *tail) rest() {
	t.builder, t.batch = nil, nil
	t.limits.rest()
}

// settled says whether all was read that there is, of a file that can be found again by its name.
func (t *tail) settled() bool {
	return t.checked && (t.offset == t.size || t.held) && !t.deleted && len(t.names) > 0 && t.limits.l.Next().IsZero()
}

// over says whether nothing more is to be expected of the file.
func (t *tail) over(now time.Time, named bool) bool {
	quiet := min(now.Sub(t.grown), now.Sub(t.left))
	switch {
	case named || t.offset < t.size && !t.held:
		return false
	case t.deleted:
		return quiet >= deletedQuiet
	}
	return quiet >= renamedQuiet
}

// changed says whether a file that was quiet has changed. What cannot be told is a change.
func (t *tail) changed(now time.Time) bool {
	var st unix.Stat_t
	var err error
	if t.f == nil {
		if len(t.names) == 0 {
			return true
		}
		err = unix.Stat(t.names[0], &st)
	} else {
		err = unix.Fstat(int(t.f.Fd()), &st)
	}
	if err == nil && t.id == (fileID{uint64(st.Dev), st.Ino}) && stampOf(&st) == t.stamp {
		t.intact = now
		return false
	}
	return true
}

func stampOf(st *unix.Stat_t) stamp { return stamp{st.Size, st.Mtim, st.Ctim} }

// stat notes what became of the file.
func (t *tail) stat(now time.Time) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(t.f.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	t.deleted = st.Nlink == 0
	s := stampOf(&st)
	if s == t.stamp {
		return nil
	}
	if t.checked {
		t.before = t.size
	}
	if s.size != t.stamp.size || s.mtime != t.stamp.mtime {
		t.grown, t.checked, t.held = now, false, false
	}
	t.stamp, t.size = s, s.size
	return nil
}

func (f *Files) newTail(c *candidate) *tail {
	now := time.Now()
	f.open++
	return &tail{sh: f.sh, files: f, f: c.f, id: c.id, path: c.path, set: c.set, size: c.size, before: c.size, grown: now, intact: now,
		born: now, left: now, join: &f.join, limits: limited{rate: f.rate(c.set)}}
}

// add sums up the figures of another source.
func (s *Stat) add(o Stat) {
	s.Position += o.Position
	s.Lag += o.Lag
	s.Waiting += o.Waiting
	s.Records += o.Records
	s.Lost += o.Lost
	s.LostBytes += o.LostBytes
	s.Zeros += o.Zeros
	s.Misfits += o.Misfits
	s.Limited += o.Limited
}

func statID(info fs.FileInfo) (dev, ino uint64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return uint64(st.Dev), uint64(st.Ino)
}

func owner(info fs.FileInfo) uint32 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ^uint32(0)
	}
	return st.Uid
}
