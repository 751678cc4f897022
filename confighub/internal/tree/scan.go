// SPDX-License-Identifier: AGPL-3.0-or-later

package tree

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"cloud4.internal/hub/confighub/internal/bundle"
)

// Limits of a tree, against a wrong --root ("/") more than against an enemy.
const (
	maxFiles     = 200_000
	maxFileBytes = 8 << 20
	maxTreeBytes = 1 << 30
)

// ErrChanging means that the tree was written while it was read. Read it again when it is quiet.
var ErrChanging = errors.New("the tree changed while it was read")

// files: slash-separated path → bytes.
type files map[string][]byte

func (f files) names() []string { return slices.Sorted(maps.Keys(f)) }

// sum is the SHA-256 over dir and the names and bytes of the files.
func (f files) sum(dir string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00", dir)
	for _, name := range f.names() {
		fmt.Fprintf(h, "%s\x00%d\x00", name, len(f[name]))
		h.Write(f[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// scanned is what lies below a root.
type scanned struct {
	files files
	// stamps: path → what a change of the file or directory would change.
	stamps map[string]stamp
}

// stamp tells a file from the same file written again, without reading it.
type stamp struct {
	dev, ino    uint64
	size        int64
	mtim, ctim  int64 // ns
	permissions fs.FileMode
}

func (s *scanned) revision() string { return s.files.sum("")[:12] }

// scan reads every file below root into memory. Links, special files, unusable names and too much of anything are
// Problems. The state of all files is compared before and after, so that a tree is not read half old, half new.
func scan(root string) (*scanned, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("reading the tree: %w", err)
	}
	defer dir.Close()
	stamps, problems, err := stampAll(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the tree %q: %w", root, err)
	}
	if len(problems) > 0 {
		return nil, sorted(problems)
	}
	s := &scanned{files: files{}, stamps: stamps}
	total := 0
	for name, st := range stamps {
		if st.permissions.IsDir() {
			continue
		}
		raw, err := readFile(dir, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, ErrChanging
		case err != nil:
			return nil, bundle.Problems{{File: name, Message: err.Error()}}
		}
		if total += len(raw); total > maxTreeBytes {
			return nil, fmt.Errorf("reading the tree %q: is larger than %d MiB in all", root, maxTreeBytes>>20)
		}
		s.files[name] = raw
	}
	after, _, err := stampAll(dir)
	if err != nil || !maps.Equal(stamps, after) {
		return nil, ErrChanging
	}
	return s, nil
}

// stampAll walks the tree without reading a file.
func stampAll(dir *os.Root) (map[string]stamp, bundle.Problems, error) {
	stamps := map[string]stamp{}
	var problems bundle.Problems
	err := fs.WalkDir(dir.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if name != "." && errors.Is(err, fs.ErrNotExist) {
				return nil // gone since its directory was listed; the next look sees it
			}
			return err
		}
		if name != "." && ignored(d.Name()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if message := refuse(name, d.Type()); message != "" {
			problems = append(problems, bundle.Problem{File: name, Message: message})
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(stamps) >= maxFiles {
			return fmt.Errorf("holds more than %d files and directories: is this the right directory?", maxFiles)
		}
		stamps[name] = stampOf(info)
		return nil
	})
	return stamps, problems, err
}

func stampOf(info fs.FileInfo) stamp {
	st := stamp{size: info.Size(), mtim: info.ModTime().UnixNano(), permissions: info.Mode()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		st.dev, st.ino, st.ctim = uint64(sys.Dev), uint64(sys.Ino), sys.Ctim.Nano()
	}
	return st
}

// ignored reports whether a name is passed over wherever it stands.
func ignored(name string) bool {
	return bundle.Temporary(name) || name == "README.md"
}

// refuse says what makes a directory entry no part of a tree, or "".
func refuse(name string, mode fs.FileMode) string {
	base := path.Base(name)
	switch {
	case name == ".":
		return ""
	case mode&fs.ModeSymlink != 0:
		return "is a symbolic link: a tree holds files and directories only, put the file itself here"
	case mode&fs.ModeIrregular != 0:
		return "is a submodule, or what no directory holds: a tree holds files and directories only, put the files themselves here"
	case !mode.IsDir() && !mode.IsRegular():
		return "is a " + kindOf(mode) + ": a tree holds files and directories only"
	case strings.ContainsFunc(base, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == '\uFFFD' }):
		return "has a name with control characters, a backslash or broken UTF-8: rename it"
	}
	return ""
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "named pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// readFile reads a regular file, whatever may have taken its place since it was listed.
func readFile(dir *os.Root, name string) ([]byte, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, unwrapPath(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, unwrapPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fs.ErrNotExist
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, unwrapPath(err)
	}
	if len(raw) > maxFileBytes {
		return nil, fmt.Errorf("is larger than %d MiB", maxFileBytes>>20)
	}
	return raw, nil
}

// unwrapPath takes the path out of an error, for messages that begin with it already.
func unwrapPath(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
