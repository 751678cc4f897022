// SPDX-License-Identifier: AGPL-3.0-or-later

package repository

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Commit is one commit.
type Commit struct {
	// ID is its whole name, 40 or 64 hexadecimal digits.
	ID string
	// Depth is how many commits its line of first parents has, itself included.
	Depth uint64

	tree string
}

// Commit returns what the ref names, through tags.
func (rd *Reader) Commit() (Commit, error) {
	name := rd.head
	for range maxLinks {
		kind, raw, err := rd.object(name, maxCommit, "commit", "tag")
		if err != nil {
			return Commit{}, fmt.Errorf("reading %s: %w", rd.repo.ref, err)
		}
		if kind == "commit" {
			tree, parent, err := parseCommit(name, raw)
			if err != nil {
				return Commit{}, err
			}
			depth, err := rd.depth(name, parent)
			return Commit{ID: name, Depth: depth, tree: tree}, err
		}
		target, _, _ := bytes.Cut(bytes.TrimPrefix(raw, []byte("object ")), []byte("\n"))
		if name = string(target); !isObjectName(name) {
			return Commit{}, fmt.Errorf("reading %s: the tag is damaged", rd.repo.ref)
		}
	}
	return Commit{}, fmt.Errorf("reading %s: leads through more than %d tags", rd.repo.ref, maxLinks)
}

// parseCommit reads the header: "tree <name>", then a line "parent <name>" for each parent, the first one first.
func parseCommit(name string, raw []byte) (tree, parent string, err error) {
	line, rest, _ := strings.Cut(string(raw), "\n")
	tree, ok := strings.CutPrefix(line, "tree ")
	if line, _, _ = strings.Cut(rest, "\n"); strings.HasPrefix(line, "parent ") {
		parent = strings.TrimPrefix(line, "parent ")
	}
	if !ok || !isObjectName(tree) || parent != "" && !isObjectName(parent) {
		return "", "", fmt.Errorf("the commit %s is damaged", name)
	}
	return tree, parent, nil
}

// depth counts back from a commit with this first parent, as far as the one counted last.
func (rd *Reader) depth(id, parent string) (uint64, error) {
	r := rd.repo
	r.mu.Lock()
	known := r.counted
	r.mu.Unlock()
	depth := uint64(1)
	for at, next := id, parent; ; depth++ {
		if at == known.ID {
			depth += known.Depth - 1
			break
		}
		if next == "" {
			break
		}
		at = next
		_, raw, err := rd.object(at, maxCommit, "commit")
		if err == nil {
			_, next, err = parseCommit(at, raw)
		}
		if err != nil {
			return 0, fmt.Errorf("counting commits: %w", err)
		}
	}
	r.mu.Lock()
	r.counted = Commit{ID: id, Depth: depth}
	r.mu.Unlock()
	return depth, nil
}

// Entry is a file or directory of a commit.
type Entry struct {
	// Name is the path from the top, slash-separated. Its bytes are as they were committed.
	Name string
	// Mode is 0, or the type: ModeDir, ModeSymlink, ModeIrregular for a submodule and anything else.
	Mode fs.FileMode
	// Object is its name.
	Object string
}

// treeEntry is one line of a tree object.
type treeEntry struct {
	base   string
	mode   fs.FileMode
	object string
}

// maxLevels bounds directories in directories.
const maxLevels = 64

// List returns everything in the commit, directories before what they hold. What skip says of a base name is left out, with
// all below it. More than limit entries are an error, found before they are all read.
func (rd *Reader) List(c Commit, skip func(base string) bool, limit int) ([]Entry, error) {
	r := rd.repo
	r.mu.Lock()
	known := r.trees
	r.mu.Unlock()
	l := lister{Reader: rd, skip: skip, limit: limit, known: known, trees: map[string][]treeEntry{}}
	if err := l.list(c.tree, "", 0); err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.trees = l.trees
	r.mu.Unlock()
	return l.entries, nil
}

type lister struct {
	*Reader
	skip    func(base string) bool
	limit   int
	entries []Entry
	// known are the trees of the last commit, trees those of this one.
	known, trees map[string][]treeEntry
}

func (l *lister) list(tree, dir string, level int) error {
	if level == maxLevels {
		return fmt.Errorf("%s: has more than %d directories in each other", dir, maxLevels)
	}
	lines, err := l.tree(tree)
	if err != nil {
		return fmt.Errorf("reading the directory %q: %w", dir, err)
	}
	for _, line := range lines {
		if l.skip(line.base) {
			continue
		}
		if len(l.entries) >= l.limit {
			return fmt.Errorf("holds more than %d files and directories", l.limit)
		}
		name := dir + line.base
		l.entries = append(l.entries, Entry{Name: name, Mode: line.mode, Object: line.object})
		if line.mode.IsDir() {
			if err := l.list(line.object, name+"/", level+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// tree reads a tree object, or takes it from before.
func (l *lister) tree(name string) ([]treeEntry, error) {
	if lines, ok := l.trees[name]; ok {
		return lines, nil
	}
	lines, ok := l.known[name]
	if !ok {
		_, raw, err := l.object(name, maxTree, "tree")
		if err == nil {
			lines, err = parseTree(raw, len(name)/2)
		}
		if err != nil {
			return nil, err
		}
	}
	l.trees[name] = lines
	return lines, nil
}

// parseTree reads "<octal mode> <name>\0<binary object name>" until the end. What no file system could hold is refused.
func parseTree(raw []byte, nameBytes int) (lines []treeEntry, err error) {
	seen := map[string]bool{}
	for len(raw) > 0 {
		head, rest, ok := bytes.Cut(raw, []byte{0})
		mode, base, spaced := strings.Cut(string(head), " ")
		if !ok || !spaced || len(rest) < nameBytes {
			return nil, errors.New("is damaged")
		}
		if base == "" || base == "." || base == ".." || strings.Contains(base, "/") || seen[base] {
			return nil, fmt.Errorf("is damaged: it holds %q, twice or as no file can be called", base)
		}
		seen[base] = true
		lines = append(lines, treeEntry{base: base, mode: modeOf(mode), object: hex.EncodeToString(rest[:nameBytes])})
		raw = rest[nameBytes:]
	}
	return lines, nil
}

// modeOf translates the modes that git writes.
func modeOf(mode string) fs.FileMode {
	switch mode {
	case "40000", "040000":
		return fs.ModeDir
	case "100644", "100755", "100664":
		return 0
	case "120000":
		return fs.ModeSymlink
	}
	return fs.ModeIrregular
}
