// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"slices"
	"strings"

	"cloud4.internal/hub/internal/health"
)

// maxReasons bounds how many reasons a parent names; more is what its children are for.
const maxReasons = 3

// Reason is a leaf that is to blame for the state of a node above it.
type Reason struct {
	Path   []string     // names from below the node down to the leaf: ["web.shop.vm1", "page"]
	State  health.State // the leaf's
	Text   string       // the leaf's
	Action string       // the leaf's
}

// String is one line: "web.shop.vm1: page: fail: connection refused".
func (r Reason) String() string {
	line := strings.Join(r.Path, ": ") + ": " + r.State.String()
	if r.Text != "" {
		line += ": " + r.Text
	}
	return line
}

// Reasons lists the leaves that make n what it is, worst first, then by path, at most limit of them. What another
// one is to blame for (flag suppressed_by) comes after what is not.
func Reasons(n *health.Node, limit int) []Reason {
	type found struct {
		Reason
		counts health.State
		other  bool // suppressed by another
	}
	var all []found
	var walk func(n *health.Node, path []string, limit health.State)
	walk = func(n *health.Node, path []string, limit health.State) {
		for i := range n.Children {
			child := &n.Children[i]
			counts := min(contribution(child), limit)
			if counts == health.Pass {
				continue
			}
			below := append(slices.Clip(path), child.Name)
			if before := len(all); len(child.Children) > 0 && !child.HasFlag(health.FlagStale) && !child.HasFlag(health.FlagMissing) {
				if walk(child, below, counts); len(all) > before {
					continue
				}
			}
			all = append(all, found{
				Reason{Path: below, State: child.State, Text: child.Text, Action: child.Action}, counts, suppressed(child),
			})
		}
	}
	walk(n, nil, health.Fail)
	slices.SortStableFunc(all, func(a, b found) int {
		switch {
		case a.counts != b.counts:
			return int(b.counts) - int(a.counts)
		case a.other != b.other:
			if a.other {
				return 1
			}
			return -1
		}
		return slices.Compare(a.Path, b.Path)
	})
	out := make([]Reason, 0, min(limit, len(all)))
	for _, f := range all[:min(limit, len(all))] {
		out = append(out, f.Reason)
	}
	return out
}

func suppressed(n *health.Node) bool {
	return slices.ContainsFunc(n.Flags, func(f string) bool { return strings.HasPrefix(f, health.FlagSuppressedBy) })
}

func reasonText(n *health.Node) string {
	reasons := Reasons(n, maxReasons)
	lines := make([]string, len(reasons))
	for i, r := range reasons {
		lines[i] = r.String()
	}
	return health.CleanText(strings.Join(lines, "; "))
}
