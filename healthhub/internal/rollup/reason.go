// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"cmp"
	"slices"
	"strings"

	"cloud4.internal/hub/internal/health"
)

// maxReasons bounds how many reasons a parent names; more is what its children are for.
const maxReasons = 3

// Reason is a leaf that is to blame for the state of a node above it.
type Reason struct {
	Path   []string     `json:"path"`             // names from below the node down to the leaf: ["web.shop.vm1", "page"]
	State  health.State `json:"state"`            // the leaf's
	Text   string       `json:"text,omitempty"`   // the leaf's
	Action string       `json:"action,omitempty"` // the leaf's
	Cause  string       `json:"cause"`            // path of what is behind it: reasons of one cause are one thing to do; see Explain
	Counts health.State `json:"-"`                // what of State reaches the node: warn, for a check that fails and is not critical
}

// String is one line: "web.shop.vm1: page: fail: connection refused".
func (r Reason) String() string { return line(r.Path, r.State, r.Text) }

func line(path []string, state health.State, text string) string {
	out := strings.Join(path, ": ") + ": " + state.String()
	if text != "" {
		out += ": " + text
	}
	return out
}

// Reasons lists the leaves that make n what it is, worst first, then by path, at most limit of them. What another
// one is to blame for (flag suppressed_by) comes after what is not.
func Reasons(n *health.Node, limit int) []Reason {
	found := blames(n, limit, nil)
	out := make([]Reason, len(found))
	for i, b := range found {
		out[i] = Reason{Path: b.path, State: b.state, Text: b.text, Action: b.action, Cause: n.Name, Counts: min(b.counts, n.State)}
		if chain, ok := descend(n, b.path); ok {
			out[i].Cause = key(n, last(walk(chain)))
		}
	}
	return out
}

// blame is a reason on its way up.
type blame struct {
	path   []string // from below the node whose blame it is
	state  health.State
	text   string
	action string
	counts health.State // what of its state reaches that node
	other  bool         // suppressed by another
	self   bool         // of the node itself, not of a leaf below it
}

// blames finds the reasons of a tree.
func blames(n *health.Node, limit int, groups groupSet) []blame {
	groups = groups.with(n)
	now := make([]health.State, len(n.Children))
	for i := range now {
		now[i] = contribution(&n.Children[i], n.Children[i].State, groups)
	}
	return gather(n, limit, now, func(i int) []blame { return blames(&n.Children[i], limit, groups) })
}

// gather chooses among the reasons of n's children, of whom below knows them; now is what each of them contributes.
func gather(n *health.Node, limit int, now []health.State, below func(i int) []blame) []blame {
	type candidate struct {
		child string
		blame
	}
	var all []candidate
	isolated := n.HasFlag(health.FlagIsolated)
	if isolated {
		all = append(all, candidate{blame: isolation(n)})
	}
	for i, most := range now {
		child := &n.Children[i]
		if most == health.Pass || isolated && suppressedBy(child, n.Name) {
			continue
		}
		explained := health.Pass
		if !marksOf(child).any(given) {
			for _, b := range below(i) {
				b.counts = min(b.counts, most)
				explained = max(explained, b.counts)
				all = append(all, candidate{child.Name, b})
			}
		}
		if explained < most {
			all = append(all, candidate{blame: blame{
				path: []string{child.Name}, state: child.State, text: child.Text, action: child.Action, counts: most, other: suppressed(child),
			}})
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.counts, a.counts), bit(a.other)-bit(b.other), comparePaths(a.child, a.path, b.child, b.path))
	})
	out := make([]blame, 0, min(limit, len(all)))
	for _, c := range all[:min(limit, len(all))] {
		if c.child != "" {
			c.path = slices.Insert(slices.Clip(c.path), 0, c.child)
		}
		out = append(out, c.blame)
	}
	return out
}

// comparePaths compares two paths, each with another name, if any, before it.
func comparePaths(first string, path []string, otherFirst string, other []string) int {
	if first == "" {
		first, path = path[0], path[1:]
	}
	if otherFirst == "" {
		otherFirst, other = other[0], other[1:]
	}
	return cmp.Or(strings.Compare(first, otherFirst), slices.Compare(path, other))
}

func suppressed(n *health.Node) bool { return n.FlagValue(health.FlagSuppressedBy) != "" }

func suppressedBy(n *health.Node, name string) bool { return n.HasFlag(health.FlagSuppressedBy + name) }

func reasonText(reasons []blame) string {
	if len(reasons) == 0 {
		return ""
	}
	lines := make([]string, len(reasons))
	for i, b := range reasons {
		if lines[i] = b.text; !b.self {
			lines[i] = line(b.path, b.state, b.text)
		}
	}
	text := strings.Join(lines, "; ")
	if len(text) > health.MaxTextBytes {
		return health.CleanText(text) // cuts: what it was made of is clean
	}
	return text
}
