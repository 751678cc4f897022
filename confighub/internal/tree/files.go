// SPDX-License-Identifier: AGPL-3.0-or-later

package tree

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// Open makes files an fs.FS, so that package bundle reads a fragment from memory as it would from a disk.
func (f files) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if raw, ok := f[name]; ok {
		return &openFile{entry: entry{name: path.Base(name), size: len(raw)}, Reader: bytes.NewReader(raw)}, nil
	}
	list := f.list(name)
	if len(list) == 0 && name != "." {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &openDir{entry: entry{name: path.Base(name), dir: true}, rest: list}, nil
}

// ReadFile is the fs.ReadFileFS form. The bytes are the caller's to read only.
func (f files) ReadFile(name string) ([]byte, error) {
	if raw, ok := f[name]; ok {
		return raw, nil
	}
	return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
}

// list is the directory's entries by name.
func (f files) list(dir string) (entries []fs.DirEntry) {
	prefix := dir + "/"
	if dir == "." {
		prefix = ""
	}
	seen := map[string]bool{}
	for name, raw := range f {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		base, _, deeper := strings.Cut(rest, "/")
		if seen[base] {
			continue
		}
		seen[base] = true
		entries = append(entries, entry{name: base, size: len(raw), dir: deeper})
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries
}

// entry is a file or directory in memory: both its fs.DirEntry and its fs.FileInfo.
type entry struct {
	name string
	size int
	dir  bool
}

func (e entry) Name() string               { return e.name }
func (e entry) IsDir() bool                { return e.dir }
func (e entry) Type() fs.FileMode          { return e.Mode().Type() }
func (e entry) Info() (fs.FileInfo, error) { return e, nil }
func (e entry) Size() int64                { return int64(e.size) }
func (e entry) ModTime() time.Time         { return time.Time{} }
func (e entry) Sys() any                   { return nil }

func (e entry) Mode() fs.FileMode {
	if e.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

type openFile struct {
	entry
	*bytes.Reader
}

func (f *openFile) Size() int64                { return f.entry.Size() }
func (f *openFile) Stat() (fs.FileInfo, error) { return f.entry, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	entry
	rest []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.entry, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: fs.ErrInvalid}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		all := d.rest
		d.rest = nil
		return all, nil
	}
	if len(d.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.rest))
	head := d.rest[:n]
	d.rest = d.rest[n:]
	return head, nil
}
