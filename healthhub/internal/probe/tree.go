// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"cloud4.internal/hub/internal/health"
)

// maxTreeFile bounds what is read of a file of the kernel's; a host with thousands of mounts has a large mountinfo.
const maxTreeFile = 4 << 20

// tree is the file system as looks see it: Place.Root.
type tree string

// path gives the place of an absolute path.
func (t tree) path(path string) string {
	if t == "" {
		return path
	}
	return filepath.Join(string(t), path)
}

// read gives what a file holds.
func (t tree) read(path string) (string, error) {
	f, err := os.Open(t.path(path))
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTreeFile))
	return string(data), err
}

// number reads a file that holds one whole number; "max" is the largest.
func (t tree) number(path string) (uint64, error) {
	text, err := t.read(path)
	if err != nil {
		return 0, err
	}
	text = strings.TrimSpace(text)
	if text == "max" {
		return noLimit, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// field finds "key 123" or "key: 123 kB" among lines; ok is false where there is none.
func field(text, key string) (n uint64, ok bool) {
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(line, key)
		if !found || rest == "" || rest[0] != ' ' && rest[0] != ':' {
			continue
		}
		words := strings.Fields(strings.TrimPrefix(rest, ":"))
		if len(words) == 0 {
			return 0, false
		}
		n, err := strconv.ParseUint(words[0], 10, 64)
		if len(words) > 1 && words[1] == "kB" {
			n <<= 10
		}
		return n, err == nil
	}
	return 0, false
}

// unsupported is the result where something cannot be looked at here, now and for good.
func unsupported(format string, args ...any) Result {
	r := blind(format, args...)
	r.Unsupported = true
	return r
}

// unreadable is the result where a file of the kernel's cannot be read: what is not there or not for this
// user will not be there at the next look.
func unreadable(what string, err error) Result {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return unsupported("%s: this kernel has none here (%v)", what, err)
	case errors.Is(err, fs.ErrPermission):
		return unsupported("%s: may not be read by this user (%v)", what, err)
	}
	return blind("%s: %v", what, err)
}

// notForUs is the result for a path that this user may not look at.
func notForUs(path string, err error) Result {
	return blind("%s is not for this user (%v)", path, err).advise("give the container's user the right to search its directory")
}

// value makes a health.Value without thresholds.
func value(name, unit string, v float64) health.Value {
	return health.Value{Name: name, Unit: unit, Value: v}
}
