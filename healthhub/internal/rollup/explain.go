// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"slices"
	"strings"

	"cloud4.internal/hub/internal/health"
)

// Explanation is why something is as it is: the steps from it to what is behind it, each because of the next one.
type Explanation struct {
	Path   string       `json:"path"` // of what was asked about; "": the root
	State  health.State `json:"state"`
	Steps  []Step       `json:"steps"`            // the first is what was asked about, the last the root cause
	Cause  string       `json:"cause,omitempty"`  // path of the last step, for a root its name; "" if there is nothing to explain
	Action string       `json:"action,omitempty"` // what to do, by the step that is nearest to the cause and says it
}

// Step is one node on the way to a cause.
type Step struct {
	Path   string       `json:"path"` // from the root, whose own is its name
	Kind   string       `json:"kind"`
	State  health.State `json:"state"`
	Flags  []string     `json:"flags,omitempty"`
	Text   string       `json:"text,omitempty"`
	Action string       `json:"action,omitempty"`
}

// Explain finds the shortest way from what a path names, "" for the root itself, to what is behind it: down to the child that
// contributes most, across to what it depends on, up to what it is a part of when that is silent, and from a group to its worst
// member. An error is health.Node.Find's.
func Explain(root *health.Node, path string) (Explanation, error) {
	chain := []*health.Node{root}
	if path != "" {
		var err error
		if chain, err = root.Find(path); err != nil {
			return Explanation{}, err
		}
	}
	out := Explanation{Path: health.Path(chain), State: chain[len(chain)-1].State}
	for _, c := range walk(chain) {
		n := c[len(c)-1]
		out.Steps = append(out.Steps, Step{Path: key(root, c), Kind: n.Kind, State: n.State, Flags: n.Flags, Text: n.Text, Action: n.Action})
	}
	if out.State == health.Pass {
		return out, nil
	}
	out.Cause = out.Steps[len(out.Steps)-1].Path
	for _, step := range slices.Backward(out.Steps) {
		if step.Action != "" {
			out.Action = step.Action
			break
		}
	}
	return out, nil
}

// walk follows the reasons of the last node of a chain: each element is the chain of the next step.
func walk(chain []*health.Node) (steps [][]*health.Node) {
	var seen []*health.Node
	for up := false; chain != nil; {
		n := chain[len(chain)-1]
		// What depends on itself has no cause but itself, and whoever was led up to something is not led down again.
		if slices.Contains(seen, n) {
			break
		}
		steps, seen = append(steps, chain), append(seen, n)
		if n.State == health.Pass || up && !suppressed(n) {
			break
		}
		then := next(chain)
		up = len(then) < len(chain)
		chain = then
	}
	return steps
}

// next is the chain of what is behind the last node of a chain; nil if nothing is.
func next(chain []*health.Node) []*health.Node {
	n := chain[len(chain)-1]
	if name := n.FlagValue(health.FlagSuppressedBy); name != "" {
		if because := named(chain, name); because != nil {
			return because
		}
	}
	if n.Kind == health.KindGroup && len(chain) > 1 {
		return worstMember(chain[:len(chain)-1], n.Name)
	}
	if marksOf(n).any(given) {
		return nil
	}
	var groups groupSet
	for _, above := range chain {
		groups = groups.with(above)
	}
	var worst *health.Node
	most := health.Pass
	for i := range n.Children {
		child := &n.Children[i]
		switch s := contribution(child, child.State, groups); {
		case s == health.Pass, n.HasFlag(health.FlagIsolated) && suppressedBy(child, n.Name):
		case worst == nil || s > most || s == most && before(child, worst):
			worst, most = child, s
		}
	}
	if worst == nil || n.HasFlag(health.FlagIsolated) && most <= health.Unknown {
		return nil // the isolation itself is behind it
	}
	return append(slices.Clip(chain), worst)
}

// before says which of two equally bad things is to be told of: what nothing else is to blame for, then by name.
func before(a, b *health.Node) bool {
	if sa, sb := suppressed(a), suppressed(b); sa != sb {
		return sb
	}
	return a.Name < b.Name
}

// named finds what the last node of a chain depends on: the worst sibling of that name, else what it is a part of.
func named(chain []*health.Node, name string) []*health.Node {
	if len(chain) < 2 {
		return nil
	}
	parent := chain[len(chain)-2]
	var found *health.Node
	for i := range parent.Children {
		if n := &parent.Children[i]; n.Name == name && n.State > health.Pass && (found == nil || n.State > found.State) {
			found = n
		}
	}
	if found != nil {
		return append(slices.Clip(chain[:len(chain)-1]), found)
	}
	for i := len(chain) - 2; i >= 0; i-- {
		if chain[i].Name == name {
			return slices.Clip(chain[:i+1])
		}
	}
	return nil
}

// worstMember finds the member that hurts a group most: beside it, or, at the fleet, on any host.
func worstMember(chain []*health.Node, group string) (found []*health.Node) {
	consider := func(chain []*health.Node) {
		parent := chain[len(chain)-1]
		for i := range parent.Children {
			n := &parent.Children[i]
			if n.Kind != health.KindContainer || n.State == health.Pass || marksOf(n).any(leftOut) || !memberOf(n, group) {
				continue
			}
			if found == nil || n.State > found[len(found)-1].State || n.State == found[len(found)-1].State && before(n, found[len(found)-1]) {
				found = append(slices.Clip(chain), n)
			}
		}
	}
	consider(chain)
	if parent := chain[len(chain)-1]; parent.Kind == health.KindFleet {
		for i := range parent.Children {
			consider(append(slices.Clip(chain), &parent.Children[i]))
		}
	}
	return found
}

// descend finds the chain of the names below root.
func descend(root *health.Node, names []string) ([]*health.Node, bool) {
	chain := []*health.Node{root}
	for _, name := range names {
		at := chain[len(chain)-1]
		var found *health.Node
		for i := range at.Children { // of two with one name the one that is to blame is meant
			if n := &at.Children[i]; n.Name == name && (found == nil || n.State > found.State) {
				found = n
			}
		}
		if found == nil {
			return nil, false
		}
		chain = append(chain, found)
	}
	return chain, true
}

// key is a chain's path, or of a root its name.
func key(root *health.Node, chain []*health.Node) string {
	if len(chain) == 1 {
		return root.Name
	}
	return health.Path(chain)
}

func last[T any](s []T) T { return s[len(s)-1] }

// String is the explanation in lines, the cause last.
func (e Explanation) String() string {
	var b strings.Builder
	for i, step := range e.Steps {
		b.WriteString(strings.Repeat("  ", i))
		if i > 0 {
			b.WriteString("because ")
		}
		b.WriteString(line([]string{step.Path}, step.State, step.Text) + "\n")
	}
	if e.Action != "" {
		b.WriteString("→ " + e.Action + "\n")
	}
	return b.String()
}
