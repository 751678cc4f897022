// SPDX-License-Identifier: AGPL-3.0-or-later

// Package rollup is the algebra of health: checks make a container, containers a host, hosts the fleet. It is pure: same
// input, same output, no clock, no I/O.
//
// States (health.State, ordered by badness):
//
//   - A parent is as bad as the worst contribution of its children, and every sum is made anew from the leaves ([Of]), so that
//     who mutes or groups need not know what follows from it. A state that is worse than the parts explain stays.
//   - A check contributes by its criticality. critical: its own state. degrading, the default: at most warn. info: nothing. What
//     stands under "hub/" is the hubs' own trouble and contributes warn at most, and nothing while it is starting: an absent
//     genesis must not make anybody restart a fleet.
//   - A container is critical to its host, and a host to the fleet, unless the list of what is expected says degrading or info. The
//     default differs from that of checks on purpose: a container fails only because a check that somebody called critical
//     does, or because it is not there, and to temper that once more would make a host without its database a warning.
//   - What the runtime knows ([Facts]) joins the checks as critical ones under "runtime/".
//   - A container without any check passes with the flag unchecked: a grey wall would hide what really is not known.
//   - Expected and not there is starting within the grace, then fail with the flag missing ([Expected]). There and not expected
//     counts for nothing and is flagged. Where nothing is expected and nothing there, the parent is unknown: an
//     empty list is no proof of health.
//   - Members of a redundancy group ([Group]) count through the group alone.
//   - Hosts of a class ([Class]) are but a warning while few enough of them are in trouble.
//   - When most hosts go silent within one window, the fleet itself cannot see: see [FleetOf].
//   - Muted and paused things keep their true state and count for nothing above (paused for an hour: a warning); what is
//     unsupported cannot be looked at here and counts nowhere. The parent says how many are muted, in its text and
//     as a flag. When everything of a parent is muted it passes, for that is what was asked for, but at the lowest score
//     of that state, with no confidence, and its coverage falls.
//
// Scores: a score (0 … 100) tells at a glance how much is wrong. Its band is that of the state, the place in it the
// weighted share of leaves that are well. health.Extent says what it would be if all that is unknown were well, how much of it is
// fresh, and how many of the containers anything looks into. Only what is muted, paused, unsupported, info or unexpected
// drops out.
//
// What holds of every tree, tested on 100,000 generated ones each: worsening a leaf betters no state and raises no score, at no
// level; a score is in the band of its state and not above its high one; muting leaves what the rest has; what nobody expects
// changes nothing; the order of what was reported neither; what is not live is not ready. Two exceptions are meant:
// a group takes a member's first success for a betterment even where it is a warning (see votes.state), and an
// isolated observer takes the failing of most hosts at once for not knowing (see FleetOf).
//
// Left out: finding states out (monitor), receiving and ageing them (collect), who mutes and for how long (mute).
package rollup

import (
	"strings"

	"cloud4.internal/hub/internal/health"
)

// Beginnings of the names of checks that nobody declared.
const (
	HubPrefix     = "hub/"     // in these the hubs tell of their own trouble
	RuntimePrefix = "runtime/" // in these it is told what the runtime knows; see Facts
)

// Contribution is what a check adds to its container's state.
func Contribution(check *health.Node) health.State { return contribution(check, check.State, nil) }

// contribution is what a child in state s adds to its parent's state, of any kind. groups are those that members may count through.
func contribution(child *health.Node, s health.State, groups groupSet) health.State {
	m := marksOf(child)
	if m.any(leftOut) || m.any(grouped) && groups.cover(child) {
		return health.Pass
	}
	return weigh(child, m, s)
}

// weigh is what a child in state s adds by its criticality, if it counts.
func weigh(child *health.Node, m marks, s health.State) health.State {
	switch {
	case m.any(paused | degrading):
		return min(s, health.Warn)
	case child.Kind != health.KindCheck:
		return s
	case strings.HasPrefix(child.Name, HubPrefix):
		if s < health.Warn {
			return health.Pass
		}
		return health.Warn
	case m.any(critical):
		return s
	}
	return min(s, health.Warn)
}

// Container sums up the checks of a container. The checks become its children as they are.
func Container(name string, checks []health.Node) health.Node {
	n := health.Node{Kind: health.KindContainer, Name: name, Children: checks}
	n.SetFlag(health.FlagUnchecked, len(checks) == 0)
	return Of(n).Node
}

// Host sums up the containers of a host and its own checks.
func Host(name string, children []health.Node) health.Node {
	return HostOf(name, sums(children), Rules{}).Node
}

// Fleet sums up the hosts.
func Fleet(name string, hosts []health.Node) health.Node {
	return FleetOf(name, sums(hosts), Rules{}).Node
}

func sums(nodes []health.Node) []Sum {
	out := make([]Sum, len(nodes))
	for i := range nodes {
		out[i] = Of(nodes[i])
	}
	return out
}
