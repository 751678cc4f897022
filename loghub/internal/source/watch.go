// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"bytes"
	"encoding/binary"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// watch is an inotify(7) instance that names cold files which changed before their turn comes. It is made only where there
// are many of them: a user has 128 instances on a whole machine, and other containers want some too. Nothing depends
// on it. A nil watch names none.
type watch struct {
	fd   int // -1: it could not be had
	dirs map[int32]string
	seen map[string]bool
	buf  []byte
}

const watchEvents = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_ONLYDIR

// add watches the directories of a file.
func (w *watch) add(f *Files, t *tail) *watch {
	if w == nil {
		w = &watch{dirs: make(map[int32]string), seen: make(map[string]bool), buf: make([]byte, 16<<10)}
		var err error
		if w.fd, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
			w.fd = -1
			f.sh.Log.Info().Err(err).Msg("no inotify here: a line in a file that was quiet for long is seen up to 2 s later")
		}
	}
	for _, path := range t.names {
		dir := filepath.Dir(path)
		if w.fd < 0 || w.seen[dir] || len(w.seen) >= maxFiles {
			continue
		}
		w.seen[dir] = true
		if wd, err := unix.InotifyAddWatch(w.fd, dir, watchEvents); err == nil {
			w.dirs[int32(wd)] = dir
		}
	}
	return w
}

// changed returns the paths that the kernel named since the last call, some of them several times.
func (w *watch) changed() (paths []string) {
	if w == nil || w.fd < 0 {
		return nil
	}
	last := ""
	for {
		n, err := unix.Read(w.fd, w.buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n < unix.SizeofInotifyEvent {
			return paths
		}
		for b := w.buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(b))
			mask := binary.NativeEndian.Uint32(b[4:])
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			name := string(bytes.TrimRight(b[unix.SizeofInotifyEvent:size], "\x00"))
			b = b[size:]
			dir, ok := w.dirs[wd]
			if mask&unix.IN_IGNORED != 0 { // the directory is gone; one of its name may come again
				delete(w.dirs, wd)
				delete(w.seen, dir)
				continue
			}
			if path := filepath.Join(dir, name); ok && path != last {
				paths, last = append(paths, path), path
			}
		}
	}
}

func (w *watch) close() {
	if w != nil && w.fd >= 0 {
		_ = unix.Close(w.fd)
	}
}
