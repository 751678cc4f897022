// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"strings"

	"cloud4.internal/hub/internal/health"
)

// View is one of the questions that anything here answers.
type View uint8

// The views.
const (
	All     View = iota // how is it? Its state
	Live                // should it be left running? Checks of class live alone; starting is live
	Ready               // should it get requests? Every check counts: what is not live, or has not started, is not ready
	Started             // has it come up, whatever became of it since? Only checks of class started can still fail
)

// Judge answers a view. Views other than All give pass or warn for yes; see Yes. Of a host or the fleet Live is always yes: it is
// asked of whoever answers for it.
func Judge(n *health.Node, view View) health.State {
	switch view {
	case Live:
		return live(n)
	case Ready:
		if n.State == health.Warn && n.HasFlag(health.FlagPartStarting) {
			return health.Starting // which a warning must not hide: it has not come up
		}
	case Started:
		return started(n)
	}
	return n.State
}

// Yes reports whether a state is a yes to a view, which HTTP says with 200, and 503 if not (health.md §5.8).
func Yes(s health.State) bool { return s == health.Pass || s == health.Warn }

func live(n *health.Node) health.State {
	if n.Kind != health.KindContainer {
		return health.Pass
	}
	worst := health.Pass
	for i := range n.Children {
		// For what is forced, to try out who notices, nobody is to be restarted.
		if check := &n.Children[i]; check.HasFlag(health.FlagLive) && !check.HasFlag(health.FlagForced) {
			worst = max(worst, Contribution(check))
		}
	}
	if worst == health.Starting {
		return health.Pass
	}
	return worst
}

func started(n *health.Node) health.State {
	switch {
	case marksOf(n).any(leftOut), n.Kind == health.KindCheck && strings.HasPrefix(n.Name, HubPrefix):
		return health.Pass
	case n.Kind == health.KindCheck && n.HasFlag(health.FlagStarted):
		return Contribution(n)
	case len(n.Children) == 0 && n.State != health.Starting:
		return health.Pass
	case len(n.Children) == 0:
		return health.Starting
	}
	worst := health.Pass
	for i := range n.Children {
		worst = max(worst, started(&n.Children[i]))
	}
	return worst
}
