// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// targetError says which target err is about, and what to do where that is known.
func targetError(doing, target string, err error) error {
	if what := remedy(err); what != "" {
		return fmt.Errorf("%s %s: %w: %s", doing, target, err, what)
	}
	return fmt.Errorf("%s %s: %w", doing, target, err)
}

// remedy says what to do about an error of the machine.
func remedy(err error) string {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "make room on that file system"
	case errors.Is(err, unix.EROFS):
		return "mount a volume or a tmpfs there, or take the target out of the bundle"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Sprintf("give the directory to uid %d, which this container runs as, and look for an immutable attribute (lsattr)", os.Geteuid())
	case errors.Is(err, unix.EIO):
		return "the device fails: the kernel's log says how"
	}
	return ""
}
