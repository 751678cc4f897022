// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// targetError says which target err is about.
func targetError(doing, target string, err error) error {
	return fmt.Errorf("%s %s: %w", doing, target, err)
}

// advised adds to an error of the machine what to do about it, where that is known.
func advised(err error) error {
	if what := remedy(err); what != "" {
		return fmt.Errorf("%w: %s", err, what)
	}
	return err
}

func remedy(err error) string {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "make room on that file system"
	case errors.Is(err, unix.EROFS):
		return "mount a volume or a tmpfs there, or take the target out of the bundle"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Sprintf("make the directory writable for its owner, or give it to uid %d, which this container runs as; "+
			"a file may also be immutable (lsattr)", os.Geteuid())
	case errors.Is(err, unix.EIO):
		return "the device fails: the kernel's log says how"
	}
	return ""
}
