// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"fmt"
	"time"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
)

// phase is where a sender stands between its last report and being forgotten.
type phase uint8

const (
	fresh    phase = iota // what it said holds
	done                  // it is a job that has done its work, and is not due again yet
	stopping              // it said goodbye, and may be back soon
	stale                 // it should have reported again
	overdue               // it is a job that did not run in time
	missing               // it is expected, and has been away too long
	gone                  // nobody expects it, and it has been away too long
)

// standing is all that time alone changes of a sender.
type standing struct {
	phase
	voices int
}

// standingAt gives the standing of a sender. The caller holds summing and mu.
func (c *Collector) standingAt(name string, p *peer, now time.Time) standing {
	p.settle(now)
	return standing{c.phaseAt(name, &p.voices[0], now), len(p.voices)}
}

func (c *Collector) phaseAt(name string, v *voice, now time.Time) phase {
	listed := c.expected.lists(name)
	counts := listed || c.kind == health.KindHost
	// Where there is no list nobody knows that it may be away: whoever is silent is not well until an operator has it forgotten.
	forgets := !listed && c.expected.list != nil
	grace := rollup.MissingGrace
	if c.kind == health.KindHost {
		grace = hostGrace
	}
	if due := c.expected.due(name, v); due > 0 {
		switch away := v.away(c.born, now); {
		case away <= due:
			return done
		case forgets && away > due+forget:
			return gone
		}
		return overdue
	}
	if v.seen.IsZero() { // known from before a restart of the collector
		away := now.Sub(c.born)
		switch {
		case forgets && v.away(c.born, now) > forget:
			return gone
		case away > grace && counts:
			return missing
		}
		return stale
	}
	age := now.Sub(v.seen)
	switch {
	case v.stopping && age <= rollup.StoppingGrace:
		return stopping
	case v.stopping && !c.expected.exactly(name): // a replica more than the list names may go
		return gone
	case v.stopping:
		return missing
	case age <= v.valid:
		return fresh
	case forgets && age > forget:
		return gone
	case age > v.valid+grace && counts:
		return missing
	}
	return stale
}

// away is how long ago a voice was heard. From before a restart that is known by the wall clock alone, which may have been set
// since: nothing was heard in the future, and what passed since the start is counted in any case.
func (v *voice) away(born, now time.Time) time.Duration {
	if v.seen.IsZero() {
		return now.Sub(born) + max(0, born.Sub(v.wall))
	}
	return now.Sub(v.seen)
}

// nodeAt is a sender's node as it is to be seen in its standing.
func (p *peer) nodeAt(s standing) health.Node {
	if s.phase == fresh && s.voices > 1 {
		return p.forked()
	}
	return p.voices[0].nodeAt(s.phase)
}

// heard is the node as it was reported.
func (v *voice) heard() health.Node {
	n := v.node
	n.ValidUntil = v.wall.Add(v.valid)
	return n
}

func (v *voice) nodeAt(ph phase) health.Node {
	switch ph {
	case fresh:
		return v.heard()
	case done:
		n := v.node
		n.ObservedAt = v.wall
		n.ValidUntil = time.Time{}
		if v.due > 0 {
			n.ValidUntil = v.wall.Add(v.due)
		}
		return n
	case stopping:
		n := health.Node{Kind: v.node.Kind, Name: v.node.Name, State: health.Warn, Since: v.wall, ObservedAt: v.wall}
		n.SetFlag(health.FlagStopping, true)
		n.Text = "said goodbye at " + clock(v.wall)
		if end := v.end(); end != nil {
			n.State, n.Text, n.Action = health.Fail, end.Text+", at "+clock(v.wall), end.Action
		}
		return n
	}
	n := rollup.Silence(v.node, v.wall.Add(v.valid))
	n.ObservedAt, n.ValidUntil, n.Score, n.Extent = v.wall, time.Time{}, nil, nil
	n.Text = fmt.Sprintf("silent since %s; it was %v then", clock(v.wall), v.node.State)
	n.Action = "look whether it runs and reaches this server; its own log says why reports do not arrive"
	switch {
	case ph == overdue:
		n.Text = fmt.Sprintf("has not run since %s, and was due", clock(v.wall))
		n.Action = "look why it was not started: its timer, and its log of the last time"
	case v.stopping:
		n.Text = fmt.Sprintf("stopped at %s and has not come back", clock(v.wall))
		n.Action = "start it, or take it out of the list of what is expected"
		if end := v.end(); end != nil {
			n.Text, n.Action = fmt.Sprintf("%s, at %s, and has not come back", end.Text, clock(v.wall)), end.Action
		}
	}
	if ph == missing || ph == overdue {
		n.State = health.Fail
		n.SetFlag(health.FlagMissing, true)
	}
	return n
}

// end is what a goodbye says of an end that nobody asked for; nil: nothing.
func (v *voice) end() *health.Node {
	for i := range v.node.Children {
		if n := &v.node.Children[i]; n.Name == rollup.ExitCheck && n.State == health.Fail {
			return n
		}
	}
	return nil
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// aged reports whether time alone changed something.
func (c *Collector) aged() bool {
	c.summing.Lock()
	defer c.summing.Unlock()
	old, now := c.Snapshot().At, time.Now()
	if now.Sub(old) >= pulse || c.grace(old) != c.grace(now) {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, p := range c.peers {
		if c.standingAt(name, p, now) != p.at {
			return true
		}
	}
	return false
}

// grace reports whether who has never reported may still be about to: since the start, or since it is expected. The
// caller holds summing.
func (c *Collector) grace(now time.Time) bool {
	return now.Sub(c.expected.since) <= rollup.MissingGrace
}
