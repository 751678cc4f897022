// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"strings"

	"cloud4.internal/hub/internal/health"
)

// Weights of the leaves: a critical check counts as much as three degrading ones and a bit. A container
// nobody has looked into counts as one critical check, a group not at all: its members do.
const (
	weightCritical  = 10
	weightDegrading = 3
)

// Band returns the scores a state can have, both included.
func Band(s health.State) (low, high int) {
	switch s {
	case health.Pass:
		return 90, 100
	case health.Starting, health.Warn:
		return 60, 89
	case health.Unknown:
		return 30, 59
	}
	return 0, 29
}

// Score places a node in the band of its state by the weighted share of its leaves that are well.
// Where no leaf weighs anything the state alone decides.
func Score(n *health.Node) int {
	s := Of(*n)
	low, _ := s.tally.scores(n.State)
	return low
}

// value is what a leaf in that state is worth, of two: starting and warn half, not knowing nothing, so that it
// never pays to go silent.
func value(s health.State) int {
	switch s {
	case health.Pass:
		return 2
	case health.Starting, health.Warn:
		return 1
	}
	return 0
}

func weight(leaf *health.Node) int {
	switch {
	case leaf.Kind == health.KindGroup:
		return 0
	case leaf.Kind == health.KindCheck && (strings.HasPrefix(leaf.Name, HubPrefix) || !leaf.HasFlag(health.FlagCritical)):
		return weightDegrading
	}
	return weightCritical
}

// tally is what the sum above a node needs to know of it besides the node.
type tally struct {
	best     health.State // its state if all that is unknown were well
	starting bool         // then a part of it that counts still starts; see health.FlagPartStarting

	weight    int // of its leaves
	low, high int // twice what the leaves are worth: as they are, and if all that is unknown were well
	fresh     int // weight of those leaves that something is known of

	containers, checked int // expected ones, and those of them that anything looks into
	muted               int // outermost muted nodes below it
	hushed              int // weight that does not count because it is muted

	blames []blame // the worst reasons, worst first, maxReasons of them at most
}

// leaf is the tally of a node without parts.
func leaf(n *health.Node) tally {
	t := tally{best: n.State, weight: weight(n)}
	if n.State == health.Unknown {
		t.best = health.Pass
	}
	t.low, t.high = t.weight*value(n.State), t.weight*value(t.best)
	if n.State != health.Unknown && !n.HasFlag(health.FlagStale) {
		t.fresh = t.weight
	}
	if n.Kind == health.KindContainer || n.Kind == health.KindHost {
		t.containers = 1
	}
	return t
}

// add takes in the tally of a child, as far as the child counts.
func (t *tally) add(child *health.Node, m marks, of *tally) {
	switch {
	case m.any(muted):
		t.muted++
		t.hushed += of.weight + of.hushed
		if !m.any(unexpected) {
			t.containers += of.containers
		}
		return
	case m.any(leftOut):
		return
	}
	t.muted += of.muted
	t.containers += of.containers
	if m.any(paused) {
		return
	}
	t.hushed += of.hushed
	t.checked += of.checked
	t.weight += of.weight
	t.low += of.low
	t.high += of.high
	t.fresh += of.fresh
}

// scores places a node in that state, and the same node with everything unknown well, in their bands.
func (t *tally) scores(s health.State) (low, high int) {
	switch {
	case t.weight > 0:
		return place(s, t.low, 2*t.weight), place(t.best, t.high, 2*t.weight)
	case t.hushed > 0: // nothing is left that would say how well
		return place(s, 0, 1), place(t.best, 1, 1)
	}
	return place(s, value(s), 2), place(t.best, value(t.best), 2)
}

func place(s health.State, got, all int) int {
	low, high := Band(s)
	return low + (high-low)*got/all
}

// extent is the part of a sum that says how much of it is known.
func (t *tally) extent(scoreHigh int) *health.Extent {
	return &health.Extent{ScoreHigh: scoreHigh, Confidence: share(t.fresh, t.weight), Coverage: share(t.checked, t.containers)}
}

// share is part of all, to the thousandth; 0 of nothing.
func share(part, all int) float64 {
	if all == 0 {
		return 0
	}
	return float64(part*1000/all) / 1000
}
