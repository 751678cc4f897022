// SPDX-License-Identifier: AGPL-3.0-or-later

// Package tree owns the configuration tree of a genesis machine: its layout on disk, reading it whole, and making
// one bundle of it for every container that is placed.
//
//	defaults/                                  for every container
//	services/<service>/                        for every container of that service
//	stacks/<stack>/                            for every container of that stack
//	stacks/<stack>/services/<service>/
//	hosts/<host>/                              for every container on that host
//	hosts/<host>/host.json                     what is placed there: see Host
//	hosts/<host>/stacks/<stack>/services/<service>/
//
// Each of these directories is a fragment and may hold bundle.json, data/*.json, templates/** and schema.json
// (package bundle). A container's bundle is its fragments in the order above: later templates replace by name,
// bundle.json and data merge by RFC 7396, every schema must hold.
//
// Names of hosts, stacks and services are lower-case DNS labels. Names that begin with a dot or end in ~, .swp or .tmp,
// and README.md, are passed over at every level, so that editors and version control do no harm. Links, special files and
// anything else that has no place above are errors. A tree is read whole or not at all.
//
// A tree lies in a directory, or in a branch or tag of a git repository (package repository), where a submodule is an error
// too and the bytes are those committed: no filter, no line ending is changed.
//
// Limits: 200,000 files of at most 8 MiB each, 1 GiB in all; those of package bundle for each bundle.
//
// The package serves nothing and does not know who asks: that is package serve's.
package tree

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/spiffe"
)

// Tree is one whole, valid configuration tree. It is not changed after it was read.
type Tree struct {
	// Revision is for people and logs: the commit, else the SHA-256 over the names and bytes of all files as 12
	// hexadecimal digits.
	Revision string
	// Depth is the number of commits on the commit's line of first parents; 0 for a directory.
	Depth uint64
	// Hosts: name → what is placed there.
	Hosts map[string]*Host

	// fragments: directory below the root → what it holds.
	fragments map[string]*fragment
	// commit stands before the files in problems; "" for a directory.
	commit string
}

type fragment struct {
	content *bundle.Fragment
	// host is what the directory of a host says of it; nil for others.
	host *Host
	// sum is the SHA-256 over the directory's name and its files.
	sum string
}

// Empty reports whether there is nothing in the tree at all, as in a directory that is not mounted.
func (t *Tree) Empty() bool { return len(t.Hosts) == 0 && len(t.fragments) == 0 }

func newTree(revision string) *Tree {
	return &Tree{Revision: revision, Hosts: map[string]*Host{}, fragments: map[string]*fragment{}}
}

// Read reads the tree in the directory root. What is wrong with it comes back as bundle.Problems, all at once, with the
// paths below root. ErrChanging means that somebody is writing it just now.
func Read(root string) (*Tree, error) { return readDirectory(root, nil) }

// readDirectory reads the tree, of which much may be as in last.
func readDirectory(root string, last *Tree) (*Tree, error) {
	found, err := scan(root)
	if err != nil {
		return nil, err
	}
	t := newTree(found.revision())
	problems := t.sort(found.files, last)
	if len(problems) > 0 {
		return nil, sorted(problems)
	}
	return t, nil
}

// sort puts the files where they belong and reads each fragment, or takes it from the last tree, which may be nil.
func (t *Tree) sort(all files, last *Tree) (problems bundle.Problems) {
	inside := map[string]files{}
	for _, name := range all.names() {
		dir, rest, err := place(name)
		if err != nil {
			problems = append(problems, bundle.Problem{File: name, Message: err.Error()})
			continue
		}
		if inside[dir] == nil {
			inside[dir] = files{}
		}
		inside[dir][rest] = all[name]
	}
	for dir, content := range inside {
		sum := content.sum(dir)
		if last != nil && last.fragments[dir] != nil && last.fragments[dir].sum == sum {
			t.take(dir, last.fragments[dir])
			continue
		}
		f, bad := readFragment(dir, content)
		if problems = append(problems, bad...); len(bad) == 0 {
			f.sum = sum
			t.take(dir, f)
		}
	}
	return append(problems, orphans(inside)...)
}

// take makes a fragment part of the tree, and the host that it may be of.
func (t *Tree) take(dir string, f *fragment) {
	t.fragments[dir] = f
	if name, ok := hostOf(dir); ok {
		t.Hosts[name] = f.host
	}
}

// readFragment reads all that a directory holds.
func readFragment(dir string, content files) (f *fragment, problems bundle.Problems) {
	f = new(fragment)
	if name, ok := hostOf(dir); ok {
		f.host, problems = readHost(name, dir, content)
	}
	var err error
	if f.content, err = bundle.ReadFragment(content, dir); err != nil {
		problems = append(problems, asProblems(dir, err)...)
	}
	return f, problems
}

// readHost reads host.json.
func readHost(name, dir string, content files) (*Host, bundle.Problems) {
	raw, ok := content[hostFile]
	if !ok {
		return nil, bundle.Problems{{File: path.Join(dir, hostFile), Message: fmt.Sprintf(
			"is missing: it lists what is placed on %s, for example %s", name, hostLine("shop", "web"))}}
	}
	host, err := ParseHost(path.Join(dir, hostFile), raw)
	if err != nil {
		return nil, asProblems(dir, err)
	}
	return host, nil
}

// orphans finds hosts of which only hosts/<host>/stacks/… exists.
func orphans(inside map[string]files) (problems bundle.Problems) {
	for dir := range inside {
		parts := strings.Split(dir, "/")
		if parts[0] != "hosts" || len(parts) == 2 {
			continue
		}
		if host := path.Join(parts[:2]...); inside[host] == nil {
			_, missing := readHost(parts[1], host, nil)
			problems = append(problems, missing...)
			inside[host] = files{}
		}
	}
	return problems
}

// place splits a file's path into its fragment's directory and the path in there.
func place(name string) (dir, rest string, err error) {
	parts := strings.Split(name, "/")
	depth, labels := 0, []int(nil)
	switch {
	case parts[0] == "defaults":
		depth = 1
	case parts[0] == "services":
		depth, labels = 2, []int{1}
	case parts[0] == "stacks" && len(parts) > 2 && parts[2] == "services":
		depth, labels = 4, []int{1, 3}
	case parts[0] == "stacks":
		depth, labels = 2, []int{1}
	case parts[0] == "hosts" && len(parts) > 2 && parts[2] == "stacks":
		depth, labels = 6, []int{1, 3, 5}
		if len(parts) > 4 && parts[4] != "services" {
			return "", "", fmt.Errorf("does not belong here: below hosts/%s/stacks/%s there is services/<service>/ only", parts[1], parts[3])
		}
	case parts[0] == "hosts":
		depth, labels = 2, []int{1}
	default:
		return "", "", errors.New("does not belong here: a tree holds defaults/, services/, stacks/ and hosts/")
	}
	if len(parts) <= depth {
		return "", "", errors.New("does not belong here: a directory is expected at this level")
	}
	for _, i := range labels {
		if err := spiffe.CheckLabel(parts[i]); err != nil {
			return "", "", fmt.Errorf("rename the directory %s: %w", path.Join(parts[:i+1]...), err)
		}
	}
	dir, rest = path.Join(parts[:depth]...), path.Join(parts[depth:]...)
	if _, isHost := hostOf(dir); belongs(rest) || isHost && rest == hostFile {
		return dir, rest, nil
	}
	return "", "", fmt.Errorf("does not belong here: %s holds bundle.json, data/*.json, templates/ and schema.json", dir)
}

// belongs reports whether a fragment may hold the file.
func belongs(rest string) bool {
	base, isData := strings.CutPrefix(rest, "data/")
	switch {
	case rest == "bundle.json", rest == "schema.json":
		return true
	case isData:
		return !strings.Contains(base, "/") && path.Ext(base) == ".json"
	}
	return strings.HasPrefix(rest, "templates/")
}

// hostOf reports whether dir is hosts/<host>.
func hostOf(dir string) (string, bool) {
	name, ok := strings.CutPrefix(dir, "hosts/")
	return name, ok && !strings.Contains(name, "/")
}

// asProblems gives an error of reading dir the form of all others.
func asProblems(dir string, err error) bundle.Problems {
	if problems, ok := err.(bundle.Problems); ok {
		return problems
	}
	return bundle.Problems{{File: dir, Message: err.Error()}}
}

// maxProblems bounds what one broken tree writes to the log.
const maxProblems = 50

func sorted(problems bundle.Problems) bundle.Problems {
	slices.SortStableFunc(problems, func(a, b bundle.Problem) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
	if more := len(problems) - maxProblems; more > 0 {
		last := bundle.Problem{File: problems[maxProblems].File, Message: fmt.Sprintf("and %d more problems from here on", more)}
		problems = append(problems[:maxProblems:maxProblems], last)
	}
	return problems
}
