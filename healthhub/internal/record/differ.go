// SPDX-License-Identifier: AGPL-3.0-or-later

package record

import (
	"fmt"
	"slices"
	"strings"

	"cloud4.internal/hub/internal/health"
)

// telling are the flags whose coming and going is worth an event. The others are a node's nature (critical, live), or
// follow the state of another node, which has an event of its own (suppressed_by).
var telling = []string{
	health.FlagStale, health.FlagMissing, health.FlagUnexpected, health.FlagStopping, health.FlagFlapping, health.FlagMuted,
	health.FlagPaused, health.FlagForced, health.FlagForked, health.FlagIsolated, health.FlagUnsupported,
}

// differ gathers what differs between two trees, what lies lower first: the leaf before the container it brings down.
type differ struct {
	path   []string // names from below the root
	events []Event
	depths []int // of events
}

func (d *differ) compare(before, after *health.Node) {
	switch {
	case before == nil && after == nil:
		return
	case before == nil:
		d.add(after, nil, &after.State)
		return
	case after == nil:
		d.add(before, &before.State, nil)
		return
	}
	d.children(before.Children, after.Children)
	if changed(before, after) {
		d.add(after, &before.State, &after.State)
	}
}

func changed(before, after *health.Node) bool {
	if slices.Equal(before.Flags, after.Flags) {
		return before.State != after.State && !after.HasFlag(health.FlagFlapping)
	}
	if slices.ContainsFunc(telling, func(flag string) bool { return before.HasFlag(flag) != after.HasFlag(flag) }) {
		return true
	}
	return before.State != after.State && !after.HasFlag(health.FlagFlapping)
}

func (d *differ) children(before, after []health.Node) {
	if len(before) == len(after) && (len(after) == 0 || &before[0] == &after[0]) {
		return
	}
	pair := func(b, a *health.Node) {
		d.path = append(d.path, either(a, b).Name)
		d.compare(b, a)
		d.path = d.path[:len(d.path)-1]
	}
	// Most trees have the same children in the same order: only from where they part are they looked up by name.
	same := 0
	for same < min(len(before), len(after)) && key(&before[same]) == key(&after[same]) {
		pair(&before[same], &after[same])
		same++
	}
	before, after = before[same:], after[same:]
	left := make(map[[2]string]*health.Node, len(before))
	for i := range before {
		left[key(&before[i])] = &before[i]
	}
	for i := range after {
		k := key(&after[i])
		pair(left[k], &after[i])
		delete(left, k)
	}
	for i := range before {
		if left[key(&before[i])] == &before[i] {
			pair(&before[i], nil)
		}
	}
}

func key(n *health.Node) [2]string { return [2]string{n.Kind, n.Name} }

func either(a, b *health.Node) *health.Node {
	if a != nil {
		return a
	}
	return b
}

func (d *differ) add(n *health.Node, from, to *health.State) {
	e := Event{
		Path: strings.Join(d.path, "/"), Kind: n.Kind,
		Text: cut(n.Text, maxText), Flags: n.Flags, Action: cut(n.Action, maxAction),
	}
	if from != nil {
		e.From = new(*from) // a copy: an event outlives the tree
	}
	if to != nil {
		e.To = new(*to)
	}
	d.events, d.depths = append(d.events, e), append(d.depths, len(d.path))
}

// upper gives at most limit of the events, in their order, those of upper levels rather than those of lower ones, and how
// many it left out.
func (d *differ) upper(limit int) (events []Event, dropped int) {
	if len(d.events) <= limit {
		return d.events, 0
	}
	order := make([]int, len(d.events))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return d.depths[a] - d.depths[b] })
	order = order[:limit]
	slices.Sort(order)
	for _, i := range order {
		events = append(events, d.events[i])
	}
	return events, len(d.events) - limit
}

func countText(n int) string { return fmt.Sprintf("%d more changes at the same moment", n) }
