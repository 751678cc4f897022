// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"fmt"
	"slices"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// told is what goes out of a check: a change of it is told.
type told struct {
	state       health.State
	stale       bool
	unchecked   bool
	flapping    bool
	unsupported bool
	gone        bool   // it is not shown
	blame       string // what it depends on and what is in trouble itself; empty: nothing
}

// flags gives the flags of the check's node.
func (t told) flags(c *check) []string {
	n := health.Node{}
	n.SetFlag(health.FlagCritical, c.Criticality == setting.Critical)
	n.SetFlag(health.FlagInfo, c.Criticality == setting.Info)
	n.SetFlag(health.FlagLive, c.Class == setting.ClassLive)
	n.SetFlag(health.FlagStarted, c.Class == setting.ClassStarted)
	n.SetFlag(health.FlagStale, t.stale)
	n.SetFlag(health.FlagUnchecked, t.unchecked)
	n.SetFlag(health.FlagFlapping, t.flapping)
	n.SetFlag(health.FlagUnsupported, t.unsupported)
	if t.blame != "" {
		n.SetFlag(health.FlagSuppressedBy+t.blame, true)
	}
	return n.Flags
}

// judge finds what every check tells now, and reports whether that is something else than before. The caller holds the lock.
func (m *Monitor) judge(now time.Time) (changed bool) {
	m.is = slices.Grow(m.is[:0], len(m.checks))[:len(m.checks)]
	is := m.is
	for i, c := range m.checks {
		if !now.Before(m.deadline(c, now)) {
			c.giveUp()
		}
		is[i] = m.tell(c, now)
	}
	for i, c := range m.checks { // what is to blame is looked for among what is told now
		if is[i].state != health.Pass {
			is[i].blame = m.blame(c, is)
		}
	}
	for i, c := range m.checks {
		if is[i] == c.told {
			continue
		}
		changed = true
		if is[i].state != c.told.state {
			c.since = now
		}
		c.told = is[i]
		c.flags = c.told.flags(c)
	}
	return changed
}

// tell finds what a check tells at a time, but for whom it blames.
func (m *Monitor) tell(c *check, now time.Time) told {
	t := told{state: c.machine.told(), flapping: c.flapping}
	switch {
	case c.Look == nil && !c.reported:
		// Nobody reported yet. That is no failure before the ttl is over: a nightly backup reports at night.
		t.state, t.unchecked = health.Pass, true
		if now.After(c.awaited) && (c.told.stale || !m.excused(now)) {
			t.expire(c)
		}
	case c.Look == nil && c.expired(now) && (c.told.stale || !m.excused(now)):
		t.expire(c)
	case c.Look != nil && c.unsupported:
		return told{state: health.Unknown, unsupported: true}
	case c.Look != nil && m.stale(c, now):
		t.state, t.stale = health.Unknown, true
	}
	return t
}

func (c *check) expired(now time.Time) bool { return !c.expires.IsZero() && !now.Before(c.expires) }

// expire makes of a push check that nobody reports on what its settings say.
func (t *told) expire(c *check) {
	t.stale = true
	switch c.OnExpire {
	case setting.ExpireRemove:
		*t = told{gone: true}
	case setting.ExpireUnknown:
		t.state = health.Unknown
	default:
		t.state = health.Fail
	}
}

// stale reports whether nobody could look at a check for too long. One that only starts is judged by its deadline.
func (m *Monitor) stale(c *check, now time.Time) bool {
	if c.state == health.Starting && !c.late || c.Class == setting.ClassStarted && c.succeeded {
		return false
	}
	from := c.seen
	if from.IsZero() {
		from = m.born
	}
	return now.Sub(from) > staleAfter(c) && (c.told.stale || !m.excused(now))
}

func staleAfter(c *check) time.Duration {
	return max(3*c.Interval, c.Interval+c.Timeout+5*time.Second)
}

// blame finds a check that c depends on and that fails or is unknown itself.
func (m *Monitor) blame(c *check, is []told) string {
	for _, name := range c.DependsOn {
		if i, ok := m.index(name); ok && is[i].state >= health.Unknown && !is[i].unsupported {
			return name
		}
	}
	return ""
}

// hubNodes is room for those that callers add: what the hubs tell of themselves.
const hubNodes = 8

// Nodes gives the checks as they are now, sorted by name.
func (m *Monitor) Nodes() []health.Node {
	m.refresh()
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	nodes := make([]health.Node, 0, len(m.checks)+hubNodes)
	for _, c := range m.checks {
		if !c.told.gone {
			nodes = append(nodes, m.node(c, now))
		}
	}
	return nodes
}

// node gives a check as it was told last. The caller holds the lock.
func (m *Monitor) node(c *check, now time.Time) health.Node {
	n := health.Node{
		Kind: health.KindCheck, Name: c.Name, State: c.told.state, Since: wall(c.since), Flags: c.flags, Text: m.describe(c),
		Runs: c.runs, Took: c.took.Seconds(), Values: c.result.Values,
	}
	if c.told.state != health.Pass {
		n.Action = c.result.Action
	}
	if !c.seen.IsZero() {
		n.ObservedAt = wall(c.seen)
	}
	switch {
	case !c.expires.IsZero():
		n.ValidUntil = wall(c.expires)
	case c.Look != nil && !c.seen.IsZero() && c.Class != setting.ClassStarted && !c.unsupported:
		n.ValidUntil = wall(now.Add(staleAfter(c) - now.Sub(c.seen)))
	}
	return n
}

// wall is a time for others: without our monotonic clock.
func wall(t time.Time) time.Time { return t.Round(0).UTC() }

// describe gives a check's text. The caller holds the lock.
func (m *Monitor) describe(c *check) string {
	text := c.result.Text
	switch {
	case c.Look == nil && c.told.stale && c.overdue != "":
		return c.overdue
	case c.Look == nil && !c.reported:
		return "no report yet; one is due every " + setting.Words(c.TTL)
	case c.Look == nil && c.told.stale:
		return "no report in time; the last one said: " + text
	case c.Look != nil && m.started.IsZero():
		if m.waiting != "" {
			return "the service has not started: " + m.waiting
		}
		return "not looked at yet"
	case c.unsupported:
		return "cannot be checked here: " + text
	case c.result.Blind:
		text = "cannot be looked at: " + text
	case c.Look != nil && c.runs == 0:
		return "not looked at yet"
	}
	if p := c.pending(); p != "" && c.Look != nil {
		return text + " (" + p + ")"
	}
	if c.flapping {
		return fmt.Sprintf("%s (flapping: %d changes in the last %d)", text, c.window.changes(), c.window.count)
	}
	return text
}
