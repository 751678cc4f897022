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
)

// Limits of what is read. The largest settings anybody wrote by hand are some kB; these keep a wrong path
// (a disk image, a directory of data) from costing memory in every container of a host.
const (
	maxFileBytes = 1 << 20
	maxDropIns   = 64
	maxDepth     = 32
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
		data, err := readFile(file)
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

// readFile reads a file that is no larger than maxFileBytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, cause(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", path, cause(err))
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("reading %q: larger than %d KiB", path, maxFileBytes>>10)
	}
	return data, nil
}

// cause takes operation and path off an error of package os: our messages have the path already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
