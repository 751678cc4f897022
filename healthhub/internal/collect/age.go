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

// phase is where a sender stands between its last report and being forgotten.
type phase uint8

const (
	fresh    phase = iota // what it said holds
	stopping              // it said goodbye, and may be back soon
	stale                 // it should have reported again
	missing               // it is expected, and has been away too long
	gone                  // nobody expects it, and it has been away too long
)

// phaseAt gives the phase of a sender.
func (c *Collector) phaseAt(name string, p *peer, now time.Time) phase {
	listed := c.expects(name)
	grace := rollup.MissingGrace
	if c.kind == health.KindHost {
		grace = hostGrace
	}
	if p.seen.IsZero() { // known from before a restart of the collector
		away := now.Sub(c.born)
		switch {
		case !listed && away+c.born.Sub(p.wall) > forget:
			return gone
		case away > grace && (listed || c.kind == health.KindHost):
			return missing
		}
		return stale
	}
	age := now.Sub(p.seen)
	switch {
	case p.stopping && age <= rollup.StoppingGrace:
		return stopping
	case p.stopping && !c.expected[name]: // a replica more than the list names may go
		return gone
	case p.stopping:
		return missing
	case age <= p.valid:
		return fresh
	case !listed && age > forget:
		return gone
	case age > p.valid+grace && (listed || c.kind == health.KindHost):
		return missing
	}
	return stale
}

// expects reports whether the list names a sender, or the service it is a replica of.
func (c *Collector) expects(name string) bool {
	service, _, _ := strings.Cut(name, "/")
	return c.expected[name] || c.expected[service]
}

// nodeAt is a sender's node as it is to be seen in a phase.
func (p *peer) nodeAt(ph phase) health.Node {
	switch ph {
	case fresh:
		n := p.node
		n.ValidUntil = p.wall.Add(p.valid)
		return n
	case stopping:
		n := health.Node{Kind: p.node.Kind, Name: p.node.Name, State: health.Warn, Since: p.wall, ObservedAt: p.wall}
		n.SetFlag(health.FlagStopping, true)
		n.Text = "said goodbye at " + clock(p.wall)
		return n
	}
	n := rollup.Silence(p.node, p.wall.Add(p.valid))
	n.ObservedAt, n.ValidUntil, n.Score = p.wall, time.Time{}, nil
	n.Text = fmt.Sprintf("silent since %s; it was %v then", clock(p.wall), p.node.State)
	n.Action = "look whether it runs and reaches this server; its own log says why reports do not arrive"
	if p.stopping {
		n.Text = fmt.Sprintf("stopped at %s and has not come back", clock(p.wall))
		n.Action = "start it, or take it out of the list of what is expected"
	}
	if ph == missing {
		n.State = health.Fail
		n.SetFlag(health.FlagMissing, true)
	}
	return n
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// aged reports whether time alone changed something.
func (c *Collector) aged() bool {
	c.view.Lock()
	old := c.current.At
	c.view.Unlock()
	now := time.Now()
	if now.Sub(old) >= pulse || c.grace(old) != c.grace(now) {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, p := range c.peers {
		if c.phaseAt(name, p, now) != p.phase {
			return true
		}
	}
	return false
}

// grace reports whether who has never reported may still be about to.
func (c *Collector) grace(now time.Time) bool {
	return now.Sub(c.born) <= rollup.MissingGrace
}

// sum makes the tree anew.
func (c *Collector) sum() {
	c.view.Lock()
	now := time.Now()
	nodes := c.nodes(now)
	nodes = rollup.Expected{Kind: c.kind, Names: c.Expected, Grace: c.grace(now)}.Apply(nodes)
	var tree health.Node
	if c.kind == health.KindContainer {
		tree = rollup.Host(c.Self.Host, nodes)
	} else {
		tree = rollup.Fleet("fleet", nodes)
	}
	before := c.current.Node
	rollup.CarrySince(before, &tree, now.Round(0).UTC())
	c.current = page.Snapshot{Node: &tree, Generation: c.current.Generation + 1, At: now}
	changed := before == nil || !sameStates(before, &tree)
	c.view.Unlock()
	if changed && c.Changed != nil {
		c.Changed()
	}
}

// nodes gives everybody's node, sorted by name, and lets those go that are gone. The caller holds view.
func (c *Collector) nodes(now time.Time) []health.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	nodes := make([]health.Node, 0, len(c.peers))
	for name, p := range c.peers {
		p.phase = c.phaseAt(name, p, now)
		if p.phase == gone {
			delete(c.peers, name)
			continue
		}
		nodes = append(nodes, p.nodeAt(p.phase))
	}
	slices.SortFunc(nodes, func(a, b health.Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes
}

// sameStates reports whether two trees differ in nothing but texts and times.
func sameStates(a, b *health.Node) bool {
	if a.State != b.State || a.Name != b.Name || len(a.Children) != len(b.Children) || !slices.Equal(a.Flags, b.Flags) {
		return false
	}
	for i := range a.Children {
		if !sameStates(&a.Children[i], &b.Children[i]) {
			return false
		}
	}
	return true
}
