// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Harden keeps other processes of the same uid, the service first of all, from reading this one: no ptrace, no
// core file, /proc/<pid>/{environ,fd,mem} owned by root (prctl(2), PR_SET_DUMPABLE). Call it before a key is in memory.
func Harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("clearing the dumpable flag: %w", err)
	}
	return nil
}
