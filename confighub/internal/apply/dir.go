// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxTarget bounds a file that stands at a target, since it is kept for the way back.
const maxTarget = 64 << 20

// dir is a directory that was reached without following a link. All work on names in it goes through its
// descriptor, so that what is swapped above it meanwhile changes nothing.
type dir struct {
	disk
	fd       int
	path     string
	uid, gid uint32
}

// open opens an absolute path. With create, missing directories are made (0755) and appended to made.
func (k disk) open(name string, create bool, made *[]string) (*dir, error) {
	d, missing, err := k.reach(name)
	if err != nil {
		return nil, err
	}
	for _, part := range missing {
		if !create {
			defer d.close()
			return nil, fmt.Errorf("opening the directory %s: %w", path.Join(d.path, part), unix.ENOENT)
		}
		next, err := d.make(part, made)
		d.close()
		if err != nil {
			return nil, err
		}
		d = next
	}
	return d, nil
}

// reach opens an absolute path as far as it exists, and returns the names that are missing below.
func (k disk) reach(name string) (*dir, []string, error) {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("opening /: %w", err)
	}
	d := &dir{disk: k, fd: fd, path: "/"}
	var parts []string
	if name = strings.Trim(path.Clean(name), "/"); name != "" {
		parts = strings.Split(name, "/")
	}
	for i, part := range parts {
		next, err := d.enter(part)
		if errors.Is(err, unix.ENOENT) {
			return d, parts[i:], nil
		}
		d.close()
		if err != nil {
			return nil, nil, err
		}
		d = next
	}
	return d, nil, nil
}

// enter opens a directory in d, which is no link.
func (d *dir) enter(part string) (*dir, error) {
	full := path.Join(d.path, part)
	fd, err := unix.Openat(d.fd, part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	var stat unix.Stat_t
	if err != nil && unix.Fstatat(d.fd, part, &stat, unix.AT_SYMLINK_NOFOLLOW) == nil {
		switch stat.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			return nil, fmt.Errorf("%s is a link, which targets are not reached through: name the real path", full)
		case unix.S_IFDIR:
		default:
			return nil, fmt.Errorf("%s is not a directory", full)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the directory %s: %w", full, err)
	}
	next := &dir{disk: d.disk, fd: fd, path: full}
	if err := unix.Fstat(fd, &stat); err != nil {
		next.close()
		return nil, fmt.Errorf("looking at %s: %w", full, err)
	}
	next.uid, next.gid = stat.Uid, stat.Gid
	return next, nil
}

// make makes a directory in d, which may have appeared meanwhile, and opens it.
func (d *dir) make(part string, made *[]string) (*dir, error) {
	full := path.Join(d.path, part)
	err := d.before(opMkdir, full)
	if err == nil {
		err = as(d.uid, d.gid, func() error { return unix.Mkdirat(d.fd, part, 0o755) })
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("making the directory %s: %w", full, err)
	}
	*made = append(*made, full)
	if err := d.sync(); err != nil {
		return nil, err
	}
	return d.enter(part)
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

// errType is the kind of error for what stands where a regular file is to be.
var errType = errors.New("is no target")

// notFile is an errType that says what is there and what to do.
type notFile string

// Error says it.
func (e notFile) Error() string { return string(e) }

// Unwrap makes it an errType.
func (e notFile) Unwrap() error { return errType }

// stat looks at the regular file of this name; anything else is an error.
func (d *dir) stat(name string) (unix.Stat_t, error) {
	var stat unix.Stat_t
	full := path.Join(d.path, name)
	if err := unix.Fstatat(d.fd, name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return stat, fmt.Errorf("looking at %s: %w", full, err)
	}
	return stat, regular(stat, full)
}

func regular(stat unix.Stat_t, full string) error {
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFLNK:
		return notFile(full + " is a link, which is not followed and not replaced: name the real path")
	case unix.S_IFDIR:
		return notFile(full + " is a directory: remove it, or name a file in it")
	}
	return notFile(full + " is not a regular file: remove it, or name another path")
}

// read returns the file of this name; a zero meta when there is none. What is no regular file is not opened: that
// alone can block, or make a device act.
func (d *dir) read(name string) (meta, []byte, error) {
	full := path.Join(d.path, name)
	if _, err := d.stat(name); errors.Is(err, unix.ENOENT) {
		return meta{}, nil, nil
	} else if err != nil {
		return meta{}, nil, err
	}
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return meta{}, nil, fmt.Errorf("opening %s: %w", full, err)
	}
	f := os.NewFile(uintptr(fd), full)
	defer f.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return meta{}, nil, fmt.Errorf("looking at %s: %w", full, err)
	}
	if err := regular(stat, full); err != nil {
		return meta{}, nil, err
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

// exchange lets two names change their files in one step; errNoExchange where the file system cannot.
func (d *dir) exchange(one, other string) error {
	err := d.before(opExchange, path.Join(d.path, other))
	if err == nil {
		err = d.renameat(one, other, unix.RENAME_EXCHANGE)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return errNoExchange
	}
	return err
}

var errNoExchange = errors.New("the file system cannot exchange two files")

// move renames to a name that is free.
func (d *dir) move(from, to string) error {
	err := d.renameat(from, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		if _, err := d.stat(to); !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("replacing %s: %w", path.Join(d.path, to), unix.EEXIST)
		}
		return d.renameat(from, to, 0)
	}
	return err
}

// replace renames over what has that name.
func (d *dir) replace(from, to string) error { return d.renameat(from, to, 0) }

func (d *dir) renameat(from, to string, flags uint) error {
	full := path.Join(d.path, to)
	err := d.before(opRename, full)
	if err == nil {
		err = as(d.uid, d.gid, func() error { return unix.Renameat2(d.fd, from, d.fd, to, flags) })
	}
	if err != nil {
		return fmt.Errorf("replacing %s: %w", full, err)
	}
	return nil
}

// remove takes a name away; one that is not there is no error.
func (d *dir) remove(name string) error {
	full := path.Join(d.path, name)
	err := d.before(opRemove, full)
	if err == nil {
		err = as(d.uid, d.gid, func() error { return unix.Unlinkat(d.fd, name, 0) })
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing %s: %w", full, err)
	}
	return nil
}

// removeEmpty takes a directory away if nothing is in it.
func (d *dir) removeEmpty(name string) {
	as(d.uid, d.gid, func() error { return unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR) })
}

// sync forces the directory's entries to the disk. A directory that may be written and not read cannot be.
func (d *dir) sync() error {
	if err := d.before(opSync, d.path); err != nil {
		return fmt.Errorf("syncing %s: %w", d.path, err)
	}
	if d.volatile {
		return nil
	}
	fd, err := unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOENT) {
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
