// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// maxTarget bounds a file that stands at a target, since it is kept for the way back.
const maxTarget = 64 << 20

// dir is a directory that was reached without following a link. All work on names in it goes through its
// descriptor, so that what is swapped above it meanwhile changes nothing.
type dir struct {
	fd       int
	path     string
	uid, gid uint32
}

// openDir opens an absolute path. With create, missing directories are made (0755) and appended to made.
func openDir(name string, create bool, made *[]string) (*dir, error) {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening /: %w", err)
	}
	at := "/"
	for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		if part == "" {
			continue
		}
		next, err := openPart(fd, at, part, create, made)
		unix.Close(fd)
		if err != nil {
			return nil, err
		}
		fd, at = next, path.Join(at, part)
	}
	d := &dir{fd: fd, path: at}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		d.close()
		return nil, fmt.Errorf("looking at %s: %w", at, err)
	}
	d.uid, d.gid = stat.Uid, stat.Gid
	return d, nil
}

func openPart(fd int, at, part string, create bool, made *[]string) (int, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	full := path.Join(at, part)
	next, err := unix.Openat(fd, part, flags, 0)
	if errors.Is(err, unix.ENOENT) && create {
		var parent unix.Stat_t
		if err := unix.Fstat(fd, &parent); err != nil {
			return -1, fmt.Errorf("looking at %s: %w", at, err)
		}
		err := as(parent.Uid, parent.Gid, func() error { return unix.Mkdirat(fd, part, 0o755) })
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return -1, fmt.Errorf("making the directory %s: %w", full, err)
		}
		*made = append(*made, full)
		next, err = unix.Openat(fd, part, flags, 0)
		if err != nil {
			return -1, fmt.Errorf("opening the directory %s: %w", full, err)
		}
		return next, nil
	}
	var stat unix.Stat_t
	if err != nil && unix.Fstatat(fd, part, &stat, unix.AT_SYMLINK_NOFOLLOW) == nil {
		switch stat.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			return -1, fmt.Errorf("%s is a link, which targets are not reached through: name the real path", full)
		case unix.S_IFDIR:
		default:
			return -1, fmt.Errorf("%s is not a directory", full)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("opening the directory %s: %w", full, err)
	}
	return next, nil
}

func (d *dir) close() { unix.Close(d.fd) }

// meta is what a file is, without its bytes. The zero meta is no file.
type meta struct {
	Exists bool   `json:"exists"`
	Sum    string `json:"sum,omitempty"`
	Mode   uint32 `json:"mode,omitempty"`
	UID    uint32 `json:"uid,omitempty"`
	GID    uint32 `json:"gid,omitempty"`
}

// sameBytes tells whose file it is: services give their files another mode or owner when they start, as the
// entrypoints of most databases do.
func (m meta) sameBytes(other meta) bool { return m.Exists == other.Exists && m.Sum == other.Sum }

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// stat looks at the regular file of this name; anything else is an error.
func (d *dir) stat(name string) (unix.Stat_t, error) {
	var stat unix.Stat_t
	full := path.Join(d.path, name)
	if err := unix.Fstatat(d.fd, name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return stat, fmt.Errorf("looking at %s: %w", full, err)
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return stat, nil
	case unix.S_IFLNK:
		return stat, fmt.Errorf("%s is a link, which is not followed and not replaced: name the real path", full)
	case unix.S_IFDIR:
		return stat, fmt.Errorf("%s is a directory: remove it, or name a file", full)
	}
	return stat, fmt.Errorf("%s is not a regular file", full)
}

// read returns the file of this name; a zero meta when there is none. What is no regular file is not opened: that
// alone can block, or make a device act.
func (d *dir) read(name string) (meta, []byte, error) {
	if _, err := d.stat(name); errors.Is(err, unix.ENOENT) {
		return meta{}, nil, nil
	} else if err != nil {
		return meta{}, nil, err
	}
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	full := path.Join(d.path, name)
	if err != nil {
		return meta{}, nil, fmt.Errorf("opening %s: %w", full, err)
	}
	f := os.NewFile(uintptr(fd), full)
	defer f.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return meta{}, nil, fmt.Errorf("looking at %s: %w", full, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return meta{}, nil, fmt.Errorf("%s is not a regular file", full)
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(f, maxTarget+1)); err != nil {
		return meta{}, nil, fmt.Errorf("reading %s: %w", full, err)
	}
	if b.Len() > maxTarget {
		return meta{}, nil, fmt.Errorf("reading %s: is larger than %d bytes", full, maxTarget)
	}
	return meta{Exists: true, Sum: sum(b.Bytes()), Mode: stat.Mode & 0o7777, UID: stat.Uid, GID: stat.Gid}, b.Bytes(), nil
}

// write makes a new file of this name, complete and on the disk. It fails when the name is taken.
func (d *dir) write(name string, data []byte, m meta) error {
	full := path.Join(d.path, name)
	var fd int
	err := as(d.uid, d.gid, func() (err error) {
		fd, err = unix.Openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return fmt.Errorf("creating %s: %w", full, err)
	}
	f := os.NewFile(uintptr(fd), full)
	if err := fill(f, data, m); err != nil {
		f.Close()
		d.remove(name)
		return err
	}
	if err := f.Close(); err != nil {
		d.remove(name)
		return fmt.Errorf("closing %s: %w", full, err)
	}
	return nil
}

// fill writes bytes, owner and mode to an open file, in an order in which no secret is readable by others.
func fill(f *os.File, data []byte, m meta) error {
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("writing %s: %w", f.Name(), err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return fmt.Errorf("looking at %s: %w", f.Name(), err)
	}
	if stat.Uid != m.UID || stat.Gid != m.GID {
		if err := f.Chown(int(m.UID), int(m.GID)); err != nil {
			return fmt.Errorf("giving %s to %d:%d: %w", f.Name(), m.UID, m.GID, err)
		}
	}
	if err := f.Chmod(fs.FileMode(m.Mode)); err != nil && stat.Mode&0o7777 != m.Mode {
		return fmt.Errorf("setting the mode of %s: %w", f.Name(), err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", f.Name(), err)
	}
	return nil
}

// overwrite replaces the bytes of a file in its place, for one that cannot be renamed over.
func (d *dir) overwrite(name string, data []byte, m meta) error {
	full := path.Join(d.path, name)
	fd, err := unix.Openat(d.fd, name, unix.O_WRONLY|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", full, err)
	}
	f := os.NewFile(uintptr(fd), full)
	defer f.Close()
	return fill(f, data, m)
}

func (d *dir) rename(from, to string) error {
	err := as(d.uid, d.gid, func() error { return unix.Renameat(d.fd, from, d.fd, to) })
	if err != nil {
		return fmt.Errorf("replacing %s: %w", path.Join(d.path, to), err)
	}
	return d.sync()
}

// remove takes a name away; one that is not there is no error.
func (d *dir) remove(name string) error {
	err := as(d.uid, d.gid, func() error { return unix.Unlinkat(d.fd, name, 0) })
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing %s: %w", path.Join(d.path, name), err)
	}
	return d.sync()
}

// sync forces the directory's entries to the disk. A directory that may be written and not read cannot be.
func (d *dir) sync() error {
	fd, err := unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EACCES) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening %s: %w", d.path, err)
	}
	defer unix.Close(fd)
	if err := unix.Fsync(fd); err != nil {
		return fmt.Errorf("syncing %s: %w", d.path, err)
	}
	return nil
}

// as runs f with the file system rights of uid, when this process is root and uid is not: the owner of a
// directory can move things in it under our feet, and must gain nothing by that which it could not do itself.
// Without the capability to change it, f runs with the rights there are.
func as(uid, gid uint32, f func() error) error {
	if uid == 0 || os.Geteuid() != 0 {
		return f()
	}
	result := make(chan error, 1)
	go func() {
		// The thread is not unlocked: should its rights not come back, it ends with the goroutine.
		runtime.LockOSThread()
		unix.Setfsgid(int(gid))
		unix.Setfsuid(int(uid))
		err := f()
		unix.Setfsuid(0)
		unix.Setfsgid(0)
		result <- err
	}()
	return <-result
}
