// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"

	"golang.org/x/sys/unix"
)

// write makes a new file of this name, complete and on the disk. It fails when the name is taken.
func (d *dir) write(name string, data []byte, m meta) error {
	full := path.Join(d.path, name)
	fd := -1
	err := d.before(opCreate, full)
	if err == nil {
		err = as(d.uid, d.gid, func() (err error) {
			fd, err = unix.Openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("creating %s: %w", full, err)
	}
	f := os.NewFile(uintptr(fd), full)
	if err := d.fill(f, data, m); err != nil {
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

// fill writes bytes, owner and mode to an empty open file, in an order in which no secret is readable by others.
func (d *dir) fill(f *os.File, data []byte, m meta) error {
	err := d.before(opWrite, f.Name())
	if err == nil {
		_, err = f.Write(data)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", f.Name(), err)
	}
	return d.dress(f, m)
}

// dress gives an open file its owner and mode, and forces it to the disk.
func (d *dir) dress(f *os.File, m meta) error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return fmt.Errorf("looking at %s: %w", f.Name(), err)
	}
	if stat.Uid != m.UID || stat.Gid != m.GID {
		err := d.before(opOwn, f.Name())
		if err == nil {
			err = f.Chown(int(m.UID), int(m.GID))
		}
		if err != nil {
			return fmt.Errorf("giving %s to %d:%d: %w", f.Name(), m.UID, m.GID, err)
		}
	}
	if err := f.Chmod(fs.FileMode(m.Mode)); err != nil && stat.Mode&0o7777 != m.Mode {
		return fmt.Errorf("setting the mode of %s: %w", f.Name(), err)
	}
	err := d.before(opSync, f.Name())
	if err == nil && !d.volatile {
		err = f.Sync()
	}
	if err != nil {
		return fmt.Errorf("syncing %s: %w", f.Name(), err)
	}
	return nil
}

// overwrite replaces the bytes of a file in its place, for one that is mounted there and cannot be renamed over.
// A disk without room for the new bytes leaves the old ones. half is called in the middle.
func (d *dir) overwrite(name string, data []byte, m meta, half func()) error {
	full := path.Join(d.path, name)
	f, err := d.openMounted(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := d.before(opWrite, full); err != nil {
		return fmt.Errorf("writing %s: %w", full, err)
	}
	if len(data) > 0 {
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, int64(len(data)))
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
			return fmt.Errorf("making room in %s: %w", full, err)
		}
	}
	middle := len(data) / 2
	if _, err := f.WriteAt(data[:middle], 0); err != nil {
		return fmt.Errorf("writing %s: %w", full, err)
	}
	half()
	if _, err := f.WriteAt(data[middle:], int64(middle)); err != nil {
		return fmt.Errorf("writing %s: %w", full, err)
	}
	if err := f.Truncate(int64(len(data))); err != nil {
		return fmt.Errorf("cutting %s: %w", full, err)
	}
	return d.dress(f, m)
}

// openMounted opens a file for writing in its place. In a directory of another uid, who could have put any file
// there, it must be the mounted one (statx(2), STATX_ATTR_MOUNT_ROOT), or be writable for that uid.
func (d *dir) openMounted(name string) (*os.File, error) {
	full := path.Join(d.path, name)
	fd := -1
	open := func() (err error) {
		fd, err = unix.Openat(d.fd, name, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	}
	var look unix.Statx_t
	err := unix.Statx(d.fd, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO, &look)
	mounted := err == nil && look.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	if mounted {
		err = open()
	} else {
		err = as(d.uid, d.gid, open)
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", full, err)
	}
	f := os.NewFile(uintptr(fd), full)
	var stat unix.Stat_t
	err = unix.Fstat(fd, &stat)
	if err == nil {
		err = regular(stat, full)
	}
	if err == nil && mounted {
		err = unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO, &look)
		if err == nil && look.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
			err = fmt.Errorf("%s is no longer mounted", full)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
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
		// The thread is not unlocked: it ends with the goroutine, and what is left of its rights with it. The groups
		// are this thread's alone, which is why the system call is made by hand.
		runtime.LockOSThread()
		unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0)
		unix.Setfsgid(int(gid))
		unix.Setfsuid(int(uid))
		err := f()
		unix.Setfsuid(0)
		unix.Setfsgid(0)
		result <- err
	}()
	return <-result
}
