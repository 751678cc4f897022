// SPDX-License-Identifier: AGPL-3.0-or-later

package health

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNotFound says that a path names nothing. That is never a state: a typo must not be green.
var ErrNotFound = errors.New("nothing of that name")

// Find follows a path of names, joined by slashes, down from n, and returns every node on it: n first, what the path
// names last. They are the tree's own, not copies.
//
// Names may hold slashes themselves: "web.shop.vm1/2/hub/log" is the check hub/log of the replica web.shop.vm1/2. Where
// several names of siblings fit, the longest that leads somewhere is meant. Below a fleet the host may be left out
// where only one host has what follows. An error wraps ErrNotFound unless the path names more than one thing.
func (n *Node) Find(path string) ([]*Node, error) {
	if path == "" || len(path) > MaxPath {
		return nil, fmt.Errorf("path %.80q: must have 1 to %d characters: %w", path, MaxPath, ErrNotFound)
	}
	found := n.follow(path)
	if len(found) == 0 && n.Kind == KindFleet {
		for i := range n.Children {
			for _, chain := range n.Children[i].follow(path) {
				found = append(found, slices.Insert(chain, 0, n))
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("path %.80q: %s %s has no such part: %w", path, n.Kind, n.Name, ErrNotFound)
	case 1:
		return found[0], nil
	}
	var names []string
	for _, chain := range found[:min(len(found), maxNamed)] {
		last := chain[len(chain)-1]
		names = append(names, last.Kind+" "+Path(chain))
	}
	return nil, fmt.Errorf("path %.80q names %d things, among them %s: say which", path, len(found), strings.Join(names, " and "))
}

// MaxPath bounds a path: four names with the slashes between them.
const MaxPath = 4*MaxName + 3

// maxNamed bounds how many meanings of an ambiguous path an error lists.
const maxNamed = 3

// follow returns the chains that the path means: several only where siblings of different kinds have one name.
func (n *Node) follow(path string) (found [][]*Node) {
	type fit struct {
		child *Node
		rest  string
	}
	var fits []fit
	for i := range n.Children {
		child := &n.Children[i]
		if rest, ok := strings.CutPrefix(path, child.Name); ok && child.Name != "" && (rest == "" || rest[0] == '/') {
			fits = append(fits, fit{child, strings.TrimPrefix(rest, "/")})
		}
	}
	slices.SortStableFunc(fits, func(a, b fit) int { return len(b.child.Name) - len(a.child.Name) })
	for i, f := range fits {
		if i > 0 && len(found) > 0 && len(f.child.Name) < len(fits[i-1].child.Name) {
			break // a longer name led somewhere
		}
		switch {
		case len(f.child.Name) == len(path):
			found = append(found, []*Node{n, f.child})
		case f.rest != "":
			for _, chain := range f.child.follow(f.rest) {
				found = append(found, slices.Insert(chain, 0, n))
			}
		}
	}
	return found
}

// Path is the inverse of Find: the names of a chain below its first node.
func Path(chain []*Node) string {
	var names []string
	for _, n := range chain[min(1, len(chain)):] {
		names = append(names, n.Name)
	}
	return strings.Join(names, "/")
}
