// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"strings"

	"cloud4.internal/hub/internal/health"
)

// Weights of the leaves: a critical check counts as much as three degrading ones and a bit. A container
// nobody has looked into counts as one critical check.
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
	var got, all int
	count(n, &got, &all)
	if all == 0 {
		got, all = value(n.State), 2
	}
	low, high := Band(n.State)
	return low + (high-low)*got/all
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

func count(n *health.Node, got, all *int) {
	if n.HasFlag(health.FlagUnexpected) {
		return
	}
	if len(n.Children) > 0 {
		for i := range n.Children {
			count(&n.Children[i], got, all)
		}
		return
	}
	w := weight(n)
	*got += w * value(n.State)
	*all += w * 2
}

func weight(leaf *health.Node) int {
	switch {
	case leaf.HasFlag(health.FlagInfo):
		return 0
	case leaf.Kind == health.KindCheck && (strings.HasPrefix(leaf.Name, HubPrefix) || !leaf.HasFlag(health.FlagCritical)):
		return weightDegrading
	}
	return weightCritical
}
