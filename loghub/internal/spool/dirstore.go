// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxNumber bounds the numbers of segments: a file named above it is not ours.
const maxNumber = 1 << 48

// dirStore keeps each segment in a file <dir>/<number>.seg.
type dirStore struct{ dir string }

// file is a segment of a dirStore.
type file struct{ *os.File }

func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f file) Sync() error { return unix.Fdatasync(int(f.Fd())) }

// openDirStore makes the directory; with leftovers it returns nil in place of one
// that holds no segments.
func openDirStore(dir string, leftovers bool) (*dirStore, error) {
	d := &dirStore{dir: dir}
	if leftovers {
		known, _, err := d.segments()
		switch {
		case passes(err):
			return nil, err
		case err != nil || len(known) == 0:
			return nil, nil
		}
		return d, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *dirStore) path(n uint64) string {
	return filepath.Join(d.dir, fmt.Sprintf("%016x.seg", n))
}

// segments lists the files named like segments. A directory of such a name, or a
// segment of a version that we do not know, is foreign.
func (d *dirStore) segments() (known, foreign []uint64, err error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".seg")
		if !ok || len(name) != 16 {
			continue
		}
		n, err := strconv.ParseUint(name, 16, 64)
		if err != nil || n > maxNumber || fmt.Sprintf("%016x", n) != name {
			continue
		}
		ours := e.Type().IsRegular()
		if ours {
			if ours, err = d.readable(n); err != nil {
				return nil, nil, err
			}
		}
		if ours {
			known = append(known, n)
		} else {
			foreign = append(foreign, n)
		}
	}
	slices.Sort(known)
	slices.Sort(foreign)
	return known, foreign, nil
}

// readable says whether the file of segment n is not of another version. One
// whose header is damaged may hold frames all the same. The error is one that passes.
func (d *dirStore) readable(n uint64) (bool, error) {
	f, err := d.open(n)
	switch {
	case passes(err):
		return false, err
	case err != nil:
		return false, nil
	}
	defer f.Close()
	var head [headerBytes]byte
	_, _ = f.ReadAt(head[:], 0) // what cannot be read is damage, and that is counted later
	_, v, ok := parseHeader(head[:])
	return !ok || v <= version, nil
}

func (d *dirStore) create(n uint64) (segment, error) {
	f, err := os.OpenFile(d.path(n), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (d *dirStore) open(n uint64) (segment, error) {
	// NOFOLLOW and NONBLOCK: what is named so need not be a file of ours.
	f, err := os.OpenFile(d.path(n), os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		f, err = os.OpenFile(d.path(n), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	}
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (d *dirStore) remove(n uint64) error {
	if err := os.Remove(d.path(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *dirStore) cursor() (segment, error) {
	path := filepath.Join(d.dir, "cursor")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		// Another directory may be written to: then the cursor is lost, the log not.
		if f, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0); err != nil {
			return nil, err
		}
	}
	return file{f}, nil
}

func (d *dirStore) sync() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *dirStore) close() error { return nil }
