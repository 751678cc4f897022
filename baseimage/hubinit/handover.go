// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"syscall"

	"cloud4.internal/hub/internal/initctl"
)

// handover is the memory file by which confighub tells loghub what to hide (initctl.Secrets). It lives as long as
// hubinit, so that each of the two may be killed and finds it again.
type handover struct {
	write int // for confighub; -1: none
	read  int // for loghub, which cannot change it
}

var noHandover = handover{-1, -1}

func newHandover() (handover, error) {
	fd, err := memfd("hub-secrets")
	if err != nil {
		return noHandover, err
	}
	read, err := syscall.Open(fmt.Sprintf("/proc/self/fd/%d", fd), syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil { // no /proc: loghub is trusted with both ways
		if read, err = dupCloexec(fd); err != nil {
			syscall.Close(fd)
			return noHandover, err
		}
	}
	return handover{fd, read}, nil
}

// end is the descriptor for a hub; -1: it gets none.
func (h handover) end(hub string) int {
	switch hub {
	case initctl.Confighub:
		return h.write
	case initctl.Loghub:
		return h.read
	}
	return -1
}
