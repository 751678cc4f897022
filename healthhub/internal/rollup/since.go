// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"fmt"
	"time"

	"cloud4.internal/hub/internal/health"
)

// CarrySince gives next and its children, where they do not say since when their state is what it is, a
// time: that of the same node in prev if the state is the same, else now. prev may be nil.
func CarrySince(prev, next *health.Node, now time.Time) {
	carrySince(prev, next, now)
	for i := range next.Children {
		child := &next.Children[i]
		if child.Since.IsZero() {
			carrySince(sibling(prev, child), child, now)
		}
	}
}

func carrySince(prev, next *health.Node, now time.Time) {
	switch {
	case !next.Since.IsZero():
	case prev != nil && prev.State == next.State && !prev.Since.IsZero():
		next.Since = prev.Since
	default:
		next.Since = now
	}
}

// sibling finds the node in prev's children that is what n is.
func sibling(prev, n *health.Node) *health.Node {
	if prev == nil {
		return nil
	}
	for i := range prev.Children {
		if old := &prev.Children[i]; old.Kind == n.Kind && old.Name == n.Name {
			return old
		}
	}
	return nil
}

// Silence makes a tree that nothing is known of any more unknown from root to leaf, since the given time. Texts
// stay: they are the last that was seen. Each part is told of as suppressed by what it is a part of: a silent host is
// one thing to look at, not thirty.
func Silence(n health.Node, since time.Time) health.Node {
	n.State, n.Since = health.Unknown, since
	n.SetFlag(health.FlagStale, true)
	children := make([]health.Node, len(n.Children))
	for i := range n.Children {
		children[i] = Silence(n.Children[i], since)
		if children[i].FlagValue(health.FlagSuppressedBy) == "" {
			children[i].SetFlag(health.FlagSuppressedBy+n.Name, true)
		}
	}
	n.Children = children
	return n
}

// PausedGrace is how long something may be paused before that is a warning: somebody may have forgotten it.
const PausedGrace = time.Hour

// Pause makes what somebody paused at a time what it is to be seen as: it counts for nothing, and after PausedGrace it warns.
func Pause(n health.Node, since, now time.Time) health.Node {
	n.State, n.Since = health.Pass, since
	n.SetFlag(health.FlagPaused, true)
	n.Text = "paused since " + since.UTC().Format("2006-01-02 15:04:05 UTC")
	if now.Sub(since) > PausedGrace {
		n.State, n.Since = health.Warn, since.Add(PausedGrace)
		n.Text += fmt.Sprintf(", which is longer than %v", PausedGrace)
		n.Action = "docker unpause it, or stop it if it is not needed"
	}
	return n
}
