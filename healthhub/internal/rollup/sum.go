// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cloud4.internal/hub/internal/health"
)

// Sum is a tree that has been summed up, with what the sum above it needs. Whoever keeps the sums of the parts pays for the
// change of one leaf with the path from it to the root, and not with the whole tree. It is never changed.
type Sum struct {
	Node health.Node

	tally tally
	parts []tally // of the node's children
}

// Of sums a tree up from its leaves, whatever sums are in it already: by the flags that are set now. What has no children is taken as
// it is, and so is the state of what is stale, missing, stopping or paused. The tree that is given is not changed.
func Of(n health.Node) Sum {
	s := Sum{Node: n}
	if n.Kind == health.KindCheck || n.Kind == health.KindGroup || n.Kind == health.KindHub {
		s.tally = leaf(&n)
		return s
	}
	s.parts = make([]tally, len(n.Children))
	shared := true
	for i := range n.Children {
		child := &n.Children[i]
		if child.Kind == health.KindCheck || child.Kind == health.KindGroup {
			s.parts[i] = leaf(child)
			continue
		}
		part := Of(*child)
		if shared {
			s.Node.Children, shared = slices.Clone(n.Children), false
		}
		s.Node.Children[i], s.parts[i] = part.Node, part.tally
	}
	s.regroup()
	s.combine(nil, nil)
	return s
}

// combine makes a node of its children. groups are those of levels above, which its children may count through; lenient, unless
// nil, tells which of them contribute at most warn, by their states.
func (s *Sum) combine(groups groupSet, lenient func(of func(i int) health.State) []bool) {
	n := &s.Node
	groups = groups.with(n)
	var some [2][16]health.State // spares most nodes the heap
	now, well := some[0][:0], some[1][:0]
	s.tally = tally{}
	counted := 0
	explained := health.Pass // even if nothing is muted and no group helps
	for i := range n.Children {
		child, part := &n.Children[i], &s.parts[i]
		m := marksOf(child)
		is, best := weigh(child, m, child.State), weigh(child, m, part.best)
		if !m.any(leftOut &^ muted) {
			explained = max(explained, is)
		}
		if m.any(leftOut) || m.any(grouped) && groups.cover(child) {
			is, best = health.Pass, health.Pass
		}
		now, well = append(now, is), append(well, best)
		s.tally.add(child, m, part)
		if child.ObservedAt.After(n.ObservedAt) {
			n.ObservedAt = child.ObservedAt
		}
		if (child.Kind == health.KindContainer || child.Kind == health.KindHost) && !m.any(unexpected) {
			counted++
		}
	}
	if lenient != nil {
		soften(now, lenient(func(i int) health.State { return n.Children[i].State }))
		soften(well, lenient(func(i int) health.State { return s.parts[i].best }))
	}
	own := n.State // if it is worse than the parts explain
	if own <= explained {
		own = health.Pass
	}
	is, best := slices.Max(append(now, health.Pass)), slices.Max(append(well, health.Pass))
	if is > health.Pass {
		s.tally.blames = gather(n, maxReasons, now, func(i int) []blame { return s.parts[i].blames })
	}
	s.settle(own, is, best)
	if n.Kind == health.KindContainer {
		s.container()
	} else if counted == 0 {
		s.nothing()
	}
	s.starts(now, well)
	s.finish()
}

func soften(states []health.State, lenient []bool) {
	for i, yes := range lenient {
		if yes {
			states[i] = min(states[i], health.Warn)
		}
	}
}

// settle decides the state: what is given stays, and what is worse than the parts explain too.
func (s *Sum) settle(own, now, well health.State) {
	n := &s.Node
	if marksOf(n).any(given) {
		if s.tally.best = n.State; n.State == health.Unknown {
			s.tally.best = health.Pass
		}
		return
	}
	s.tally.best = well
	if own != health.Unknown {
		s.tally.best = max(well, own)
	}
	before := n.State
	n.State = max(now, own)
	// Words that came with the state stay where the parts have none: what a job that ended well says of itself.
	if text := reasonText(s.tally.blames); own <= now && (text != "" || n.State != before) {
		n.Text = text
	}
}

// starts finds out whether a part that counts still starts, by what the children contribute as they are and if all were known.
func (s *Sum) starts(now, well []health.State) {
	n := &s.Node
	starting := false
	for i := range n.Children {
		starting = starting || now[i] == health.Starting || now[i] == health.Warn && n.Children[i].HasFlag(health.FlagPartStarting)
		s.tally.starting = s.tally.starting || well[i] == health.Starting || well[i] == health.Warn && s.parts[i].starting
	}
	m := marksOf(n)
	s.tally.starting = s.tally.starting && !m.any(given)
	n.SetFlag(health.FlagPartStarting, starting && n.State == health.Warn && !m.any(given))
}

// container adds what is so of containers alone: whether anything looks into it.
func (s *Sum) container() {
	n := &s.Node
	looked := false
	for i := range n.Children {
		looked = looked || looks(&n.Children[i])
	}
	gone := marksOf(n).any(given)
	s.tally.containers = 1
	if looked && !gone {
		s.tally.checked = 1
	}
	if len(n.Children) > 0 {
		n.SetFlag(health.FlagUnchecked, !looked && !gone)
	} else {
		s.asLeaf() // of which only who made it knows whether it runs
	}
}

// looks reports whether a check looks into its container, and shall.
func looks(check *health.Node) bool {
	return !strings.HasPrefix(check.Name, HubPrefix) && !strings.HasPrefix(check.Name, RuntimePrefix) &&
		!marksOf(check).any(muted|unsupported) && !check.HasFlag(health.FlagUnchecked)
}

// nothing is a host or a fleet with nothing in it that counts.
func (s *Sum) nothing() {
	n := &s.Node
	if !marksOf(n).any(given) && n.State < health.Unknown {
		n.State = health.Unknown
		if n.Text == "" {
			n.Text = "nothing is expected here and nothing has reported"
		}
	}
	s.asLeaf()
}

// asLeaf lets a node weigh something by itself.
func (s *Sum) asLeaf() {
	alone := leaf(&s.Node)
	s.tally.weight += alone.weight
	s.tally.low += alone.low
	s.tally.high += alone.high
	s.tally.fresh += alone.fresh
	s.tally.containers = max(s.tally.containers, alone.containers)
}

// finish writes the scores, and how many are muted.
func (s *Sum) finish() {
	n := &s.Node
	low, high := s.tally.scores(n.State)
	n.Score, n.Extent = &low, s.tally.extent(high)
	muted := ""
	if s.tally.muted > 0 {
		muted = health.FlagMutes + strconv.Itoa(s.tally.muted)
	}
	if old := n.FlagValue(health.FlagMutes); old != "" && health.FlagMutes+old != muted {
		n.SetFlag(health.FlagMutes+old, false)
	}
	if muted == "" {
		return
	}
	n.SetFlag(muted, true)
	words := fmt.Sprintf("muted: %d", s.tally.muted)
	if text, _, _ := strings.Cut(n.Text, mutedWords); text != "" && !strings.HasPrefix(text, "muted: ") {
		words = text + mutedWords + strconv.Itoa(s.tally.muted)
	}
	n.Text = words
}

// mutedWords stand before the number of what is muted, after a text that says something else.
const mutedWords = "; muted: "
