// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many links may stand in a path, as the kernel has it (path_resolution(7)).
const maxLinks = 40

// never are directories whose files are no logs, or secrets, or our own.
var never = []string{"/proc", "/sys", "/dev", "/run/secrets", "/run/hub", "/var/lib/hub"}

// forbidden says why a path is never read.
func forbidden(path string, more ...string) string {
	for _, dirs := range [][]string{never, more} {
		for _, dir := range dirs {
			if dir != "" && (path == dir || strings.HasPrefix(path, dir+"/")) {
				return "files below " + dir + " are no logs"
			}
		}
	}
	return ""
}

// openLog opens the regular file at path, which is absolute. Links anywhere in the path are followed if root owns them,
// and no others: who may write to a directory of logs must not lead us out of it. What the path leads to in the end
// is what is judged. It never waits, whatever stands there.
func openLog(path string, more ...string) (*os.File, error) {
	path = filepath.Clean(path)
	if why := forbidden(path, more...); why != "" {
		return nil, errors.New(why)
	}
	return openPlain(path, more...)
}

// openPlain is openLog wherever path is.
func openPlain(path string, more ...string) (*os.File, error) {
	path = filepath.Clean(path)
	fd, err := openDirect(path)
	if err != nil {
		fd, err = openWalking(path, more)
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	if err := judge(fd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

const openFlags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC

// openDirect opens a path without any link in it, in one system call (Linux 5.6).
func openDirect(path string) (int, error) {
	return unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags: openFlags, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// openWalking opens a path with links in it, or where openat2(2) is missing or a container's filter forbids it.
func openWalking(path string, more []string) (int, error) {
	asked := path
	for range maxLinks {
		fd, next, err := walk(path)
		if err != nil || next == "" {
			return fd, err
		}
		if why := forbidden(next, more...); why != "" {
			return -1, fmt.Errorf("it leads to %s: %s", next, why)
		}
		path = next
	}
	return -1, &os.PathError{Op: "open", Path: asked, Err: unix.ELOOP}
}

// walk opens path step by step, holding on to each directory. At the first link it stops: next is the path that results.
func walk(path string) (fd int, next string, err error) {
	dir, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", err
	}
	defer func() { _ = unix.Close(dir) }()
	names := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, name := range names {
		so := "/" + strings.Join(names[:i+1], "/")
		if i == len(names)-1 {
			if fd, err = unix.Openat(dir, name, openFlags, 0); err == nil || !errors.Is(err, unix.ELOOP) {
				return fd, "", pathError(so, err)
			}
		}
		step, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, "", pathError(so, err)
		}
		target, err := link(step, so)
		if err != nil || target != "" {
			_ = unix.Close(step)
			if err == nil && !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(so), target)
			}
			return -1, filepath.Join(append([]string{target}, names[i+1:]...)...), err
		}
		_ = unix.Close(dir)
		dir = step
	}
	return -1, "", pathError(path, unix.ELOOP) // it was a link when it was opened, and is none now
}

func pathError(path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: "open", Path: path, Err: err}
}

// link returns where an open link leads, "" if it is none.
func link(fd int, path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", pathError(path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", nil
	}
	if st.Uid != 0 {
		return "", fmt.Errorf("%s is a link, and root does not own it; name the file itself", path)
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err == nil && n == 0 {
		err = unix.ENOENT
	}
	return string(buf[:max(n, 0)]), pathError(path, err)
}

// judge says why an open file is not to be read.
func judge(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("it is no regular file")
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	switch int64(uint32(fs.Type)) { // wherever they are mounted
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
		unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC:
		return errors.New("it is no file of a disk but one of the kernel's")
	}
	return nil
}
