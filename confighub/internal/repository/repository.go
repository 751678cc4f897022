// SPDX-License-Identifier: AGPL-3.0-or-later

// Package repository owns reading one branch or tag of a git repository on this machine, and noticing that it moved.
//
//	repo, err := repository.Open("/srv/git/fleet.git", "main")
//	reader, err := repo.Read(ctx)      // one process of git, until Close
//	commit, err := reader.Commit()     // what the ref names now
//	entries, err := reader.List(commit, skip, limit)
//	raw, err := reader.Blob(entry.Object, limit)
//
// Whoever may write to the repository must not get to run anything here by it. So git never sees it as its repository: the
// only command is `git cat-file --batch-command`, in an empty repository of our own making that has nothing but the
// objects of the other one (GIT_OBJECT_DIRECTORY). The configuration, hooks, attributes, replacements, grafts and remotes
// of the repository are never read, the environment of git holds nothing of ours, and it may speak no protocol, so that
// nothing is fetched either. Refs are read here: a file below refs/, or a line of packed-refs (gitrepository-layout(5)).
// Each object's name is checked against its bytes. git gets a minute, and 2 GiB of address space.
//
// Refused with words: repositories that are shallow (the count of commits would be wrong), that lack objects, or that keep
// refs as reftables; worktrees and submodules, whose .git is a file.
//
// What a tree of configuration may hold is no business of this package: that is package tree's.
package repository

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Repository is one ref of a repository. It is safe for concurrent use.
type Repository struct {
	// dir is the git directory: it holds objects, refs and HEAD.
	dir string
	// ref is the name as it was given; names are the refs that it may mean, the first one that is there counts.
	ref   string
	names []string
	// program is the path of git.
	program string

	mu sync.Mutex
	// counted is the commit counted last: the next one is likely to be near.
	counted Commit
	// trees: name → what it holds, of the commit listed last: few of them change with the next one.
	trees map[string][]treeEntry
}

// Is reports whether a git repository is at path: a bare one, or one with a work tree around it.
func Is(path string) bool { return IsBare(path) || IsBare(filepath.Join(path, ".git")) }

// IsBare reports whether path is a git directory itself.
func IsBare(path string) bool {
	for _, name := range []string{"HEAD", "objects", "refs"} {
		if _, err := os.Stat(filepath.Join(path, name)); err != nil {
			return false
		}
	}
	return true
}

// Open finds the repository at path, bare or with a work tree, of which ref is a branch, else a tag, or the full name of
// either: refs/heads/main. It need not exist yet.
func Open(path, ref string) (*Repository, error) {
	r := &Repository{dir: path, ref: ref, names: []string{"refs/heads/" + ref, "refs/tags/" + ref}}
	if strings.HasPrefix(ref, "refs/") {
		r.names = []string{ref}
	}
	if !validRef(r.names[0]) {
		return nil, fmt.Errorf("%q is not the name of a branch or tag", ref)
	}
	inner := filepath.Join(path, ".git")
	switch info, err := os.Stat(inner); {
	case IsBare(path):
	case IsBare(inner):
		r.dir = inner
	case err == nil && info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is a worktree or submodule: give the repository that %s names", path, inner)
	default:
		return nil, fmt.Errorf("%s is not a git repository: neither it nor its .git holds HEAD, objects and refs", path)
	}
	var err error
	if r.dir, err = filepath.Abs(r.dir); err != nil {
		return nil, fmt.Errorf("finding the repository: %w", err)
	}
	if r.program, err = exec.LookPath("git"); err != nil {
		return nil, fmt.Errorf("reading %s needs the program git: %w", path, err)
	}
	return r, nil
}

// validRef reports whether name is one that git-check-ref-format(1) lets through.
func validRef(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") || strings.HasSuffix(part, ".") {
			return false
		}
	}
	return !strings.Contains(name, "..") && !strings.Contains(name, "@{") && len(name) < 1024 &&
		!strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r) })
}

// ErrNoRef means that the repository has no such branch or tag.
var ErrNoRef = errors.New("no such branch or tag")

// head is the name of the object that the ref names now.
func (r *Repository) head() (string, error) {
	if err := r.readable(); err != nil {
		return "", err
	}
	for _, name := range r.names {
		// Twice, since packing writes the line before it removes the file, and unpacking the other way round.
		for range 2 {
			object, err := r.resolve(name)
			if err == nil || !errors.Is(err, ErrNoRef) {
				return object, err
			}
		}
	}
	return "", fmt.Errorf("%w %q in %s", ErrNoRef, r.ref, r.dir)
}

// readable says why a repository that is there cannot be used.
func (r *Repository) readable() error {
	if !IsBare(r.dir) {
		return fmt.Errorf("%s is no git repository any more: HEAD, objects or refs is missing", r.dir)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "reftable")); err == nil {
		return fmt.Errorf("%s keeps its refs as reftables: change that with git refs migrate --ref-format=files", r.dir)
	}
	if info, err := os.Stat(filepath.Join(r.dir, "shallow")); err == nil && info.Size() > 0 {
		return fmt.Errorf("%s is a shallow clone, whose commits cannot be counted: complete it with git fetch --unshallow", r.dir)
	}
	return nil
}

const (
	// maxRefFile bounds a file below refs/.
	maxRefFile = 4 << 10
	// maxLinks bounds symbolic refs and tags of tags.
	maxLinks = 5
)

// resolve reads a ref, through symbolic ones.
func (r *Repository) resolve(name string) (string, error) {
	for range maxLinks {
		object, target, err := r.loose(name)
		switch {
		case errors.Is(err, ErrNoRef):
			return r.packed(name)
		case err != nil || object != "":
			return object, err
		}
		name = target
	}
	return "", fmt.Errorf("%s in %s leads through more than %d symbolic refs", name, r.dir, maxLinks)
}

// loose reads the file of a ref: the name of an object, or that of another ref.
func (r *Repository) loose(name string) (object, target string, err error) {
	raw, err := readSmall(filepath.Join(r.dir, filepath.FromSlash(name)))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		return "", "", ErrNoRef
	case err != nil:
		return "", "", fmt.Errorf("reading refs: %w", err)
	}
	text := strings.TrimSpace(string(raw))
	target, symbolic := strings.CutPrefix(text, "ref:")
	switch target = strings.TrimSpace(target); {
	case symbolic && strings.HasPrefix(target, "refs/") && validRef(target):
		return "", target, nil
	case !symbolic && isObjectName(text):
		return text, "", nil
	}
	return "", "", fmt.Errorf("%s in %s is damaged: it holds %.60q", name, r.dir, text)
}

// ways are the refs that decide what ours names: itself, and those that symbolic ones lead to.
func (r *Repository) ways() (names []string) {
	for _, name := range r.names {
		for range maxLinks {
			names = append(names, name)
			_, target, err := r.loose(name)
			if err != nil || target == "" {
				break
			}
			name = target
		}
	}
	return names
}

// packed finds the ref in packed-refs.
func (r *Repository) packed(name string) (string, error) {
	f, err := openRegular(filepath.Join(r.dir, "packed-refs"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrNoRef
	}
	if err != nil {
		return "", fmt.Errorf("reading refs: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		object, found, _ := strings.Cut(lines.Text(), " ")
		if found != name {
			continue
		}
		if !isObjectName(object) {
			return "", fmt.Errorf("packed-refs in %s is damaged: %s is %.60q", r.dir, name, object)
		}
		return object, nil
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("reading packed-refs: %w", err)
	}
	return "", ErrNoRef
}

// openRegular opens a file; what stands for one and blocks, as a pipe does, is an error.
func openRegular(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = &fs.PathError{Op: "read", Path: file, Err: syscall.EISDIR}
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is not a regular file", file)
	default:
		return f, nil
	}
	f.Close()
	return nil, err
}

func readSmall(file string) ([]byte, error) {
	f, err := openRegular(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxRefFile))
}

// isObjectName reports whether text is the hexadecimal name of an object, SHA-1 or SHA-256.
func isObjectName(text string) bool {
	return (len(text) == 40 || len(text) == 64) && len(bytes.Trim([]byte(text), "0123456789abcdef")) == 0
}
