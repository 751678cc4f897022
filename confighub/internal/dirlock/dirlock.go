// SPDX-License-Identifier: AGPL-3.0-or-later

// Package dirlock keeps a directory to one process at a time: flock(2) on the directory itself, so that no file is left in
// it and the end of the process, however it comes, is the end of the lock. Processes that do not ask are not kept out.
package dirlock

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrTaken means that another process, or another place of this one, has the directory.
var ErrTaken = errors.New("it is locked")

// Take takes the directory until unlock, or the end of the process. It does not wait: while somebody else has it, the
// error is ErrTaken.
func Take(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrTaken
		}
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}
