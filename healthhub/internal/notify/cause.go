// SPDX-License-Identifier: AGPL-3.0-or-later

package notify

import (
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
)

// cause is something that is wrong, once for all that it brings down.
type cause struct {
	key    string       // path from below the root; "": the root itself
	counts health.State // what of it reaches the root: Warn, Unknown or Fail
	state  health.State // what it is itself
	text   string
	action string
	since  time.Time // of state; zero: not known
	forced bool
	more   int // further things that are wrong because of it
}

// bad reports whether it is more than a warning.
func (c *cause) bad() bool { return c.counts >= health.Unknown }

// causes finds what is wrong with a tree, worst first, by reasons of which there are at most limit. It is a
// warning at least, and counts.
func causes(root *health.Node, limit int) []cause {
	if root.State == health.Pass {
		return nil
	}
	var out []cause
	at := map[string]int{} // key → index in out
	explained := health.Pass
	for _, r := range rollup.Reasons(root, limit) {
		explained = max(explained, r.Counts)
		if r.Counts < health.Warn {
			continue
		}
		c, ok := newCause(root, r)
		if !ok {
			continue
		}
		if i, again := at[c.key]; again {
			out[i].more++
			out[i].counts = max(out[i].counts, c.counts)
			continue
		}
		at[c.key] = len(out)
		out = append(out, c)
	}
	if _, there := at[""]; explained < root.State && root.State >= health.Warn && !there {
		out = append(out, cause{counts: root.State, state: root.State, text: root.Text, action: root.Action, since: root.Since})
	}
	return out
}

// newCause is what is behind a reason. ok is false where that is not to be told: somebody muted it, or it said goodbye and is
// expected back, or else goes missing.
func newCause(root *health.Node, r rollup.Reason) (c cause, ok bool) {
	own := strings.Join(r.Path, "/")
	c = cause{key: r.Cause, counts: r.Counts, state: r.State, text: r.Text, action: r.Action, since: root.Since}
	chain := worst(follow(root, own))
	if chain == nil {
		c.key = "" // of the root itself: it is isolated
		return c, true
	}
	behind := chain
	if r.Cause != own {
		behind = worst(follow(root, r.Cause))
	}
	switch {
	case last(chain).Kind == health.KindGroup:
		// The group is what counts. Its worst member may be another one a moment later.
		c.key = own
		if behind != nil {
			c.forced = last(behind).HasFlag(health.FlagForced)
		}
	case behind == nil: // the root's name
		c.key = ""
		return c, true
	default:
		chain = behind
	}
	n := last(chain)
	c.state, c.text, c.since = n.State, n.Text, n.Since
	c.forced = c.forced || n.HasFlag(health.FlagForced)
	if n.Action != "" {
		c.action = n.Action
	}
	for _, n := range chain {
		if n.HasFlag(health.FlagMuted) || n.HasFlag(health.FlagStopping) {
			return c, false
		}
	}
	return c, true
}

// follow returns every chain of nodes, root first, whose names below it are the path.
func follow(n *health.Node, path string) (found [][]*health.Node) {
	for i := range n.Children {
		child := &n.Children[i]
		rest, ok := strings.CutPrefix(path, child.Name)
		switch {
		case !ok:
		case rest == "":
			found = append(found, []*health.Node{n, child})
		case rest[0] == '/':
			for _, chain := range follow(child, rest[1:]) {
				found = append(found, slices.Insert(chain, 0, n))
			}
		}
	}
	return found
}

// worst is the chain that ends in the worst state; nil of none.
func worst(chains [][]*health.Node) (out []*health.Node) {
	for _, chain := range chains {
		if out == nil || last(chain).State > last(out).State {
			out = chain
		}
	}
	return out
}

func last(chain []*health.Node) *health.Node { return chain[len(chain)-1] }

// fate is what became of a cause that is not to be seen any more.
type fate uint8

const (
	well   fate = iota // it is well, or counts no more
	hidden             // nobody can say, or something else that is told of is to blame
	muted              // somebody knows
	gone               // it is not there any more
	lesser             // it is wrong still, but less than the receiver wants to know
)

// fateOf finds out what became of the cause of a key. It is not among the causes of the tree.
func fateOf(root *health.Node, key string) fate {
	if key == "" {
		return well
	}
	chains := follow(root, key)
	if len(chains) == 0 {
		return fateOfAbsent(root, key)
	}
	out := well
	for _, chain := range chains {
		if f := fateOfChain(chain); f == hidden || f == muted {
			out = f
		}
	}
	return out
}

func fateOfChain(chain []*health.Node) fate {
	for _, n := range chain[1:] {
		switch {
		case n.HasFlag(health.FlagMuted):
			return muted
		case n.HasFlag(health.FlagUnexpected), n.HasFlag(health.FlagInfo), n.HasFlag(health.FlagUnsupported):
			return well
		case silent(n):
			return hidden
		}
	}
	// A parent was told of because it was silent, which it is not any more: what is wrong with its parts is told of by their names.
	if n := last(chain); n.State == health.Pass || len(n.Children) > 0 {
		return well
	}
	return hidden
}

// silent reports whether what is below a node is not known.
func silent(n *health.Node) bool {
	return n.HasFlag(health.FlagStale) || n.HasFlag(health.FlagMissing) || n.HasFlag(health.FlagStopping) || n.HasFlag(health.FlagPaused) ||
		n.State == health.Starting && len(n.Children) == 0
}

// fateOfAbsent looks at what is left of the way to something that is not there.
func fateOfAbsent(n *health.Node, path string) fate {
	for i := range n.Children {
		child := &n.Children[i]
		rest, ok := strings.CutPrefix(path, child.Name+"/")
		if ok && (silent(child) || fateOfAbsent(child, rest) == hidden) {
			return hidden
		}
	}
	return gone
}
