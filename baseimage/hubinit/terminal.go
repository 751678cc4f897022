// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"runtime"
	"syscall"
	"unsafe"
)

// isTerminal asks the driver (TCGETS). The file type says too little: /dev/null,
// the stdin of a detached container, is a character device as well.
func isTerminal(fd int) bool {
	var t syscall.Termios
	_, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TCGETS, uintptr(unsafe.Pointer(&t)))
	return errno == 0
}

// ownsForeground says whether the terminal on stdin is ours and our process
// group is in its foreground, so that the service can be put there.
func ownsForeground() bool {
	var group int32
	_, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, 0, syscall.TIOCGPGRP, uintptr(unsafe.Pointer(&group)))
	return errno == 0 && int(group) == syscall.Getpgrp()
}

// takeForeground brings our own process group back to the terminal's foreground.
// From the background that raises TTOU, which is blocked for this one call and
// on this one thread: ignoring it would be inherited by every child.
func takeForeground() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ttou, old := uint64(1)<<(uint(syscall.SIGTTOU)-1), uint64(0)
	const sigBlock, sigSetMask = 0, 2
	set := func(how uintptr, mask, old *uint64) {
		syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, how, uintptr(unsafe.Pointer(mask)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	}
	set(sigBlock, &ttou, &old)
	group := int32(syscall.Getpgrp())
	syscall.RawSyscall(syscall.SYS_IOCTL, 0, syscall.TIOCSPGRP, uintptr(unsafe.Pointer(&group)))
	set(sigSetMask, &old, nil)
}
