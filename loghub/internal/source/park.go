// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// spareDescriptors are left for everything that is no log file.
const spareDescriptors = 64

// descriptors is how many log files may be open at once. The Go runtime has raised the soft limit to the hard one.
func descriptors() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return maxFiles
	}
	return max(int(min(l.Cur, 2*maxFiles))-spareDescriptors, spareDescriptors/2)
}

// crowded says whether no more files can be opened besides n new ones.
func (f *Files) crowded(n int) bool { return f.open+n >= f.limit }

// makeRoom closes files until some more can be opened: those that were read to their ends and have not changed for
// longest. Only what has a name is closed, so that it can be found again.
func (f *Files) makeRoom() {
	for _, list := range [][]*tail{f.cold, f.hot} {
		for _, t := range list {
			if !f.crowded(f.limit / 8) {
				return
			}
			if t.f != nil && t.settled() {
				t.park()
			}
		}
	}
}

// park closes a file that is read on when it changes.
func (t *tail) park() {
	t.close()
	t.f = nil
}

// unpark opens a parked file again, under whatever name of its directory it has now. errGone: it has none; errLater: too many files are open.
func (t *tail) unpark() error {
	if t.f != nil {
		return nil
	}
	if t.files.crowded(0) {
		if t.files.makeRoom(); t.files.crowded(0) {
			return errLater
		}
	}
	for _, path := range t.names {
		if t.reopen(path) {
			return nil
		}
	}
	dir := filepath.Dir(t.path)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if id, ok := idAt(path); ok && id == t.id && t.reopen(path) {
			return nil
		}
	}
	return errGone
}

var (
	errGone  = errors.New("it was read to its end and is gone")
	errLater = errors.New("too many files are open")
)

// reopen says whether the file at path is the one that was closed. Its content is compared when it is read.
func (t *tail) reopen(path string) bool {
	c, err := t.files.candidate(path, t.set)
	if err != nil {
		return false
	}
	if c.id != t.id {
		c.close(t.sh.Log)
		return false
	}
	t.f, t.checked = c.f, false
	t.files.open++
	return true
}
