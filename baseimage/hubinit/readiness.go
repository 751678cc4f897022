// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"os"
	"syscall"
	"time"
)

// readiness is the pipe on which one process of a hub says "ready" with a
// newline. What stands before the newline is ignored (s6's notification-fd).
type readiness struct {
	r     *os.File
	w     uintptr       // the child's end; ours is closed once the child has it
	done  chan struct{} // wait has returned
	ready bool          // valid after done
}

func newReadiness() (*readiness, error) {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return nil, err
	}
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		return nil, err
	}
	return &readiness{r: os.NewFile(uintptr(fds[0]), "ready"), w: uintptr(fds[1]), done: make(chan struct{})}, nil
}

// started closes our copy of the child's end, so that its death is an end of file.
func (r *readiness) started() { syscall.Close(int(r.w)) }

// wait reads until the newline or the end of the process.
func (r *readiness) wait() bool {
	defer close(r.done)
	defer r.r.Close()
	buf := make([]byte, 64)
	for {
		n, err := r.r.Read(buf)
		if bytes.IndexByte(buf[:n], '\n') >= 0 {
			r.ready = true
			return true
		}
		if err != nil {
			return false
		}
	}
}

// settled says, after the process has ended, whether it had said ready. The pipe
// is at its end then, unless a child of the hub holds it; that one is not waited for.
func (r *readiness) settled() bool {
	select {
	case <-r.done:
	case <-time.After(50 * time.Millisecond):
		r.r.Close()
		<-r.done
	}
	return r.ready
}
