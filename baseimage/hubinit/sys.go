// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"syscall"
	"time"
	"unsafe"
)

// What package syscall has no name for: prctl(2), poll(2), memfd_create(2).
const (
	prSetDumpable       = 4
	prSetChildSubreaper = 36

	pollIn  = 0x1
	pollOut = 0x4

	mfdCloexec = 0x1
)

func prctl(option, value uintptr) error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, option, value, 0); errno != 0 {
		return errno
	}
	return nil
}

// pollFD waits until one of events holds for fd, at most for the time given.
func pollFD(fd int, events int16, wait time.Duration) bool {
	p := struct {
		fd              int32
		events, revents int16
	}{fd: int32(fd), events: events}
	ts := syscall.NsecToTimespec(int64(wait))
	n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	return errno == 0 && n == 1 && p.revents&events != 0
}

// unread is how many bytes wait in a pipe (FIONREAD).
func unread(fd int) int {
	var n int32
	if _, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCINQ, uintptr(unsafe.Pointer(&n))); errno != 0 {
		return 0
	}
	return int(n)
}

// pipeSize is how many bytes a pipe can take.
func pipeSize(fd int) int {
	n, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETPIPE_SZ, 0)
	if errno != 0 {
		return 64 << 10 // pipe(7)
	}
	return int(n)
}

// dupCloexec duplicates a descriptor, close-on-exec.
func dupCloexec(fd int) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 3)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// memfd makes a memory file, close-on-exec.
func memfd(name string) (int, error) {
	p, err := syscall.BytePtrFromString(name)
	if err != nil {
		return -1, err
	}
	fd, _, errno := syscall.Syscall(sysMemfdCreate, uintptr(unsafe.Pointer(p)), mfdCloexec, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
