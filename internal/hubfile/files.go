// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Limits of what is read. The largest settings anybody wrote by hand are some kB; these keep a wrong path
// (a disk image, a directory of data) from costing memory in every container of a host.
const (
	maxFileBytes  = 1 << 20
	maxValueBytes = 64 << 10 // of what a HUB_…_FILE names
	maxDropIns    = 64
	maxDepth      = 32
)

// dropInDir is the directory of the drop-ins, beside the settings file.
const dropInDir = "hub.d"

// readAll reads the settings file and its drop-ins and merges them. names are those of the files, by rank.
// whole is false when a file could not be read or parsed: then what is missing may stand there.
func readAll(path string, found *findings) (names []string, root *node, whole bool) {
	dir, base := filepath.Split(path)
	names = []string{base}
	root, whole = &node{kind: kindObject, at: position{name: base}}, true
	add := func(file string, rank int, optional bool) {
		data, err := ReadFile(file, maxFileBytes)
		if optional && errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			found.problem(position{rank: rank, name: names[rank]}, "", "%v", err)
			whole = false
			return
		}
		n := parse(data, rank, names[rank], found)
		switch {
		case n == nil:
			whole = false
		case rank == 0:
			root = n
		default:
			root = merge(root, n)
		}
	}
	add(path, 0, true)
	files, err := dropIns(filepath.Join(dir, dropInDir))
	if err != nil {
		found.problem(position{rank: 1, name: dropInDir}, "", "%v", err)
		return names, root, false
	}
	for i, file := range files {
		names = append(names, dropInDir+"/"+filepath.Base(file))
		add(file, i+1, false)
	}
	return names, root, whole
}

// dropIns lists the drop-ins of a directory in the order of their names.
func dropIns(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", dir, cause(err))
	}
	var files []string
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasSuffix(name, ".json") && !strings.HasPrefix(name, ".") {
			files = append(files, filepath.Join(dir, name))
		}
	}
	if len(files) > maxDropIns {
		return nil, fmt.Errorf("%d drop-ins, more than %d: join some of them", len(files), maxDropIns)
	}
	return files, nil
}

// ReadFile reads a regular file of at most limit bytes, following links. A pipe or a device is refused without being
// waited for or read: it may give its first byte never, or its last. The error names the file and what it is; it is
// fs.ErrNotExist when there is none.
func ReadFile(path string, limit int64) ([]byte, error) {
	// O_NONBLOCK: opening a pipe would wait for its writer; O_NOCTTY: a terminal would become ours.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, cause(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("reading %q: is %s, not a regular file", path, kindOf(info.Mode()))
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, cause(err))
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("reading %q: larger than %d KiB", path, limit>>10)
	}
	return data, nil
}

// kindOf names what is no regular file.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "something special"
}

// cause takes operation and path off an error of package os: our messages have the path already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
