// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"cloud4.internal/hub/internal/initctl"
)

// maxSlots bounds the search: no service has that many replicas on one host.
const maxSlots = 1024

// slot is the state directory this container has to itself for hubinit's life.
// Replicas that share a volume each take another one.
type slot struct {
	name string // "0", "1", … ; initctl.NoSlot
	dir  string
	lock *os.File // holds the flock; nil without a slot
	// foreign is about the first of the slots passed over as another uid's; nil if there was none.
	foreign error
}

// takeSlot takes the first slot of varDir whose lock is free and which this uid
// can open, making directories as needed. Without one it gives a volatile
// directory below runDir and says why.
func takeSlot(varDir, runDir string) (slot, error) {
	var why error
	if err := os.MkdirAll(varDir, 0o755); err != nil {
		why = err
	}
	tighten(varDir)
	var foreign error
	for n := 0; n < maxSlots && why == nil; n++ {
		s, err := openSlot(filepath.Join(varDir, strconv.Itoa(n)))
		switch {
		case err == nil:
			s.name, s.foreign = strconv.Itoa(n), foreign
			return s, nil
		case errors.Is(err, errNoNewSlot):
			why = err
		case errors.Is(err, errForeign) && foreign == nil:
			foreign = err
		}
	}
	if why == nil {
		why = fmt.Errorf("%d slots are taken", maxSlots)
	}
	s := slot{name: initctl.NoSlot, dir: filepath.Join(runDir, "state"), foreign: foreign}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return s, fmt.Errorf("%w; %w", why, err)
	}
	return s, why
}

// errNoNewSlot ends the search: this slot cannot be made or used for a reason
// that holds for every later one too.
var errNoNewSlot = errors.New("no slot is free and none can be made")

// errForeign: another uid made the directory. What it laid there would become
// ours: an identity, a journal of files to put back.
var errForeign = errors.New("belongs to another uid")

// openSlot takes one slot. A link in its place is refused, and so is a directory
// of another uid: the directory above may be writable to others, and a volume may
// have been another user's before. Root's are everybody's who may open them; an
// empty one root makes its own.
func openSlot(dir string) (slot, error) {
	made := os.Mkdir(dir, 0o700)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return slot{}, fmt.Errorf("%w: %w", errNoNewSlot, made)
	}
	d, err := os.OpenFile(dir, syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return slot{}, err
	}
	defer d.Close()
	fd := int(d.Fd())
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil {
		return slot{}, err
	}
	euid := os.Geteuid()
	switch {
	case int(stat.Uid) == euid:
		syscall.Fchmod(fd, 0o700)
	case stat.Uid == 0 || euid == 0 && adopt(d, stat):
	case made == nil:
		os.Remove(dir)
		return slot{}, fmt.Errorf("%w: %s %w although uid %d made it: its file system keeps no owners", errNoNewSlot, dir, errForeign, euid)
	default:
		return slot{}, fmt.Errorf("%s %w (%d, this is %d)", dir, errForeign, stat.Uid, euid)
	}
	lock, err := lockSlot(fd)
	if err != nil {
		return slot{}, err
	}
	return slot{dir: dir, lock: lock}, nil
}

// adopt makes an empty directory of another uid root's, and says whether it could.
func adopt(d *os.File, was syscall.Stat_t) bool {
	fd := int(d.Fd())
	if !empty(d) || syscall.Fchown(fd, 0, 0) != nil {
		return false
	}
	syscall.Fchmod(fd, 0o700)
	if !empty(d) { // something came before the door was shut
		syscall.Fchown(fd, int(was.Uid), int(was.Gid))
		return false
	}
	return true
}

func empty(d *os.File) bool {
	d.Seek(0, io.SeekStart)
	_, err := d.Readdirnames(1)
	return err == io.EOF
}

// lockSlot takes the flock of the slot whose directory fd is.
func lockSlot(fd int) (*os.File, error) {
	lock, err := syscall.Openat(fd, "lock", syscall.O_RDWR|syscall.O_CREAT|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EISDIR) {
			return nil, err // this slot's own trouble
		}
		return nil, fmt.Errorf("%w: opening its lock: %w", errNoNewSlot, err)
	}
	if err := syscall.Flock(lock, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		syscall.Close(lock)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: its file system knows no locks: %w", errNoNewSlot, err)
	}
	return os.NewFile(uintptr(lock), "lock"), nil
}

// tighten takes the world's write permission from a directory that the image
// ships as 1777, so that any uid can start; root does not need that.
func tighten(dir string) {
	info, err := os.Lstat(dir)
	if err == nil && os.Geteuid() == 0 && info.IsDir() && info.Mode().Perm()&0o022 != 0 {
		os.Chmod(dir, 0o755)
	}
}
