// SPDX-License-Identifier: AGPL-3.0-or-later

// Package rollup sums health up: checks make a container, containers a host, hosts the fleet. It is pure: same
// input, same output, no clock, no I/O.
//
// The rules:
//
//   - A parent is as bad as the worst contribution of its children (health.State is ordered).
//   - A check contributes by its criticality. critical: its own state. degrading, the default: at most warn.
//     info: nothing. What stands under "hub/" is the hubs' own trouble and contributes warn at most, and nothing while it is starting:
//     an absent genesis must not make anybody restart a fleet.
//   - A container without any check passes with the flag unchecked; only "nobody knows" is unknown.
//   - Expected and not there is starting within the grace, then fail with the flag missing. There and not
//     expected counts for nothing and is flagged. Where nothing is expected and nothing there, the parent is
//     unknown: an empty list is no proof of health.
//
// The score (0 … 100) tells at a glance how much is wrong: the band is that of the state, the place in it the weighted
// share of leaves that are well. Worsening a leaf never raises it.
//
// Left out: finding states out (monitor), receiving and ageing them (collect).
package rollup

import (
	"strings"
	"time"

	"cloud4.internal/hub/internal/health"
)

// HubPrefix begins the names of the checks in which the hubs tell of their own trouble.
const HubPrefix = "hub/"

// Contribution is what a check adds to its container's state.
func Contribution(check *health.Node) health.State {
	switch {
	case check.HasFlag(health.FlagInfo):
		return health.Pass
	case strings.HasPrefix(check.Name, HubPrefix):
		if check.State < health.Warn {
			return health.Pass
		}
		return health.Warn
	case check.HasFlag(health.FlagCritical):
		return check.State
	}
	return min(check.State, health.Warn)
}

// contribution is the same for any child of any parent.
func contribution(child *health.Node) health.State {
	switch {
	case child.Kind == health.KindCheck:
		return Contribution(child)
	case child.HasFlag(health.FlagUnexpected):
		return health.Pass
	}
	return child.State
}

// Container sums up the checks of a container. The checks become its children as they are.
func Container(name string, checks []health.Node) health.Node {
	n := parent(health.KindContainer, name, checks)
	own := 0
	for i := range checks {
		if !strings.HasPrefix(checks[i].Name, HubPrefix) {
			own++
		}
	}
	n.SetFlag(health.FlagUnchecked, own == 0)
	return n
}

// View is one of the questions a container answers.
type View uint8

// The views. Live asks whether it should be left running, Ready whether it should get requests.
const (
	Ready View = iota // every check counts: what is not live is not ready
	Live              // only checks of class live count, and starting is live
)

// Judge answers a view for a container: the worst contribution of the checks it asks about.
func Judge(container *health.Node, view View) health.State {
	worst := health.Pass
	for i := range container.Children {
		if check := &container.Children[i]; view == Ready || check.HasFlag(health.FlagLive) {
			worst = max(worst, contribution(check))
		}
	}
	if view == Live && worst == health.Starting {
		return health.Pass
	}
	return worst
}

// Host sums up the containers of a host.
func Host(name string, containers []health.Node) health.Node {
	return parent(health.KindHost, name, containers)
}

// Fleet sums up the hosts.
func Fleet(name string, hosts []health.Node) health.Node {
	return parent(health.KindFleet, name, hosts)
}

// parent is the worst of its children, with a score, the reasons as text, and the newest look as its own.
func parent(kind, name string, children []health.Node) health.Node {
	n := health.Node{Kind: kind, Name: name, Children: children}
	counted := 0
	for i := range children {
		child := &children[i]
		n.State = max(n.State, contribution(child))
		if child.ObservedAt.After(n.ObservedAt) {
			n.ObservedAt = child.ObservedAt
		}
		if !child.HasFlag(health.FlagUnexpected) {
			counted++
		}
	}
	if kind != health.KindContainer && counted == 0 {
		n.State = health.Unknown
		n.Text = "nothing is expected here and nothing has reported"
	}
	n.Text = firstOf(n.Text, reasonText(&n))
	score := Score(&n)
	n.Score = &score
	return n
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

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
// stay: they are the last that was seen.
func Silence(n health.Node, since time.Time) health.Node {
	n.State, n.Since = health.Unknown, since
	n.SetFlag(health.FlagStale, true)
	children := make([]health.Node, len(n.Children))
	for i := range n.Children {
		children[i] = Silence(n.Children[i], since)
	}
	n.Children = children
	return n
}
