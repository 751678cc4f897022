// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
)

// fleetName is what the root of the fleet's tree is called.
const fleetName = "fleet"

// sum makes the tree anew. The sums of senders that are as they were stay: a report costs its own sender's part and one look
// at the others' roots.
func (c *Collector) sum() {
	c.summing.Lock()
	defer c.summing.Unlock()
	now := time.Now()
	parts := c.muted(c.parts(now))
	rules := c.expected.rules
	rules.Groups = slices.Clone(rules.Groups)
	for i := range rules.Groups {
		g := &rules.Groups[i]
		g.Grace, g.Muted = c.grace(now), c.mutes.Muted(g.Name)
	}
	var tree health.Node
	if c.kind == health.KindContainer {
		tree = rollup.HostOf(c.Self.Host, parts, rules).Node
	} else {
		tree = rollup.FleetOf(fleetName, parts, rules).Node
	}
	for _, end := range c.mutes.Look(&tree) { // of the whole tree: groups are in no part of it
		c.noted(now, fmt.Sprintf("%s is not muted any more: %s", end.Mute.Path, end.Why))
		c.Poke()
	}
	before := c.Snapshot()
	rollup.CarrySince(before.Node, &tree, now.Round(0).UTC())
	next := page.Snapshot{Node: &tree, Generation: before.Generation + 1, At: now}
	c.current.Store(&next)
	events := c.recorder.Note(before.Node, &tree, now)
	if c.tell != nil {
		c.tell(next, events)
	}
	if c.Changed != nil && (before.Node == nil || !sameStates(before.Node, &tree)) {
		c.Changed()
	}
}

// parts are the sums of all that the tree is made of: this machine's own checks, who reports and who should, by name.
func (c *Collector) parts(now time.Time) []rollup.Sum {
	observed := c.observed(now)
	nodes := make([]health.Node, len(observed))
	for i := range observed {
		nodes[i] = observed[i].Node
	}
	own := c.own()
	parts := make([]rollup.Sum, 0, len(own)+len(observed))
	for _, n := range own {
		parts = append(parts, rollup.Of(n))
	}
	wants := c.expected.wantsAt(now, func(name string) bool {
		return slices.ContainsFunc(nodes, func(n health.Node) bool { return n.Name == name })
	})
	for i, n := range (rollup.Expected{Kind: c.kind, Wants: wants, Grace: c.grace(now)}).Apply(nodes) {
		if i < len(observed) {
			part := *observed[i]
			part.Node = n // with what the list says of it
			parts = append(parts, part)
			continue
		}
		parts = append(parts, rollup.Of(n))
	}
	return parts
}

// observed are the sums of who reports or did, sorted by name; those that are gone go.
func (c *Collector) observed(now time.Time) []*rollup.Sum {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*rollup.Sum, 0, len(c.peers))
	for name, p := range c.peers {
		at := c.standingAt(name, p, now)
		if at.phase == gone {
			delete(c.peers, name)
			continue
		}
		if !p.fresh || at != p.at || p.sum == nil {
			s := rollup.Of(p.nodeAt(at))
			p.sum, p.at, p.fresh = &s, at, true
		}
		all = append(all, p.sum)
	}
	slices.SortFunc(all, func(a, b *rollup.Sum) int { return strings.Compare(a.Node.Name, b.Node.Name) })
	return all
}

// muted flags what is muted.
func (c *Collector) muted(parts []rollup.Sum) []rollup.Sum {
	root := health.Node{Kind: c.Level(), Name: fleetName, Children: make([]health.Node, len(parts))}
	for i := range parts {
		root.Children[i] = parts[i].Node
	}
	for _, i := range c.mutes.Apply(&root) {
		parts[i] = rollup.Of(root.Children[i])
	}
	return parts
}

// noted puts something that is no change of a state into the history and the log.
func (c *Collector) noted(now time.Time, text string) {
	c.recorder.Mark(text, now)
	c.log.Info().Msg(text)
}

// sameStates reports whether two trees differ in nothing but texts, times and values. Children that are the same slice
// are the same.
func sameStates(a, b *health.Node) bool {
	if a.State != b.State || a.Name != b.Name || len(a.Children) != len(b.Children) || !slices.Equal(a.Flags, b.Flags) {
		return false
	}
	if len(a.Children) > 0 && &a.Children[0] == &b.Children[0] {
		return true
	}
	for i := range a.Children {
		if !sameStates(&a.Children[i], &b.Children[i]) {
			return false
		}
	}
	return true
}
