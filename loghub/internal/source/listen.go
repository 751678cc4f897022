// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// listenDatagrams makes a socket at path that everybody may write to. It takes the place of a socket of this user that
// nobody listens on; anything else that is there stays.
func listenDatagrams(path string) (*os.File, fileID, error) {
	dead, err := deadSocket(path)
	if err != nil {
		return nil, fileID{}, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fileID{}, os.NewSyscallError("socket", err)
	}
	sock := os.NewFile(uintptr(fd), path)
	id, err := bindAt(fd, path, dead)
	if err != nil {
		return nil, fileID{}, errors.Join(err, sock.Close())
	}
	return sock, id, nil
}

// bindAt names the socket. It gets its mode under another name, so that nobody finds it unwritable.
func bindAt(fd int, path string, replace bool) (fileID, error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		return fileID{}, os.NewSyscallError("setsockopt", err)
	}
	early := filepath.Join(filepath.Dir(path), fmt.Sprintf(".loghub-%d", os.Getpid()))
	_ = os.Remove(early) // of a process with this number that was killed right here
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: early}); err != nil {
		return fileID{}, err
	}
	defer os.Remove(early) // gone already when all went well
	if err := openToAll(early); err != nil {
		return fileID{}, err
	}
	flags := uint(unix.RENAME_NOREPLACE)
	if replace {
		flags = 0
	}
	if err := unix.Renameat2(unix.AT_FDCWD, early, unix.AT_FDCWD, path, flags); err != nil {
		if errors.Is(err, unix.EEXIST) {
			err = ErrTaken
		}
		return fileID{}, err
	}
	id, _ := socketID(path)
	return id, nil
}

// openToAll lets everybody write to a socket, and to nothing that took its place in a directory of somebody else's.
func openToAll(path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return ErrTaken
	}
	return os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o666) // fchmod(2) does not work on O_PATH
}

// deadSocket says whether a socket of this user is at path that nobody listens on; ErrTaken if something else is.
func deadSocket(path string) (bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.Mode().Type() != os.ModeSocket {
		return false, fmt.Errorf("%w: no socket", ErrTaken)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	if !errors.Is(err, unix.ECONNREFUSED) { // EPROTOTYPE: it is one of another kind
		return false, fmt.Errorf("%w: a socket that somebody listens on", ErrTaken)
	}
	if owner(info) != uint32(os.Geteuid()) {
		return false, fmt.Errorf("%w: a socket of another user", ErrTaken)
	}
	return true, nil
}

// socketID says which socket is at path.
func socketID(path string) (fileID, bool) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return fileID{}, false
	}
	return infoID(info), true
}
