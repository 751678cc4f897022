// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// judge gives a check's state and flags at a time. The caller holds the lock.
func (m *Monitor) judge(c *check, now time.Time) (health.State, []string) {
	n := health.Node{}
	n.SetFlag(health.FlagCritical, c.Criticality == setting.Critical)
	n.SetFlag(health.FlagInfo, c.Criticality == setting.Info)
	n.SetFlag(health.FlagLive, c.Class == setting.ClassLive)
	n.SetFlag(health.FlagStarted, c.Class == setting.ClassStarted)
	n.State = c.state
	switch {
	case c.Look == nil && c.expires.IsZero():
		// Nobody reported yet. That is no failure before the ttl is over: a nightly backup reports at night.
		n.State = health.Pass
		n.SetFlag(health.FlagUnchecked, true)
		if now.Sub(m.born) > c.TTL {
			n.State = health.Fail
			n.SetFlag(health.FlagStale, true)
		}
	case c.Look == nil && !now.Before(c.expires):
		n.State = health.Fail
		n.SetFlag(health.FlagStale, true)
	case c.Look != nil && m.stale(c, now):
		n.State = health.Unknown
		n.SetFlag(health.FlagStale, true)
	}
	if n.State != health.Pass {
		if parent := m.blame(c); parent != "" {
			n.SetFlag(health.FlagSuppressedBy+parent, true)
		}
	}
	return n.State, n.Flags
}

// stale reports whether nobody could look at a check for too long. One that only starts is judged by its deadline.
func (m *Monitor) stale(c *check, now time.Time) bool {
	if c.state == health.Starting || c.Class == setting.ClassStarted && c.succeeded {
		return false
	}
	from := c.seen
	if from.IsZero() {
		from = m.born
	}
	return now.Sub(from) > staleAfter(c)
}

func staleAfter(c *check) time.Duration {
	return max(3*c.Interval, c.Interval+c.Timeout+5*time.Second)
}

// blame finds a check that c depends on and that fails or is unknown itself.
func (m *Monitor) blame(c *check) string {
	for _, name := range c.DependsOn {
		if parent := m.find(name); parent != nil && parent.told >= health.Unknown {
			return name
		}
	}
	return ""
}

// Nodes gives the checks as they are now, sorted by name.
func (m *Monitor) Nodes() []health.Node {
	m.refresh()
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	nodes := make([]health.Node, len(m.checks))
	for i, c := range m.checks {
		nodes[i] = health.Node{
			Kind: health.KindCheck, Name: c.Name, State: c.told, Since: c.since.Round(0).UTC(),
			Flags: slices.Clone(c.flags), Text: m.describe(c),
		}
		if !c.seen.IsZero() {
			nodes[i].ObservedAt = c.seen.Round(0).UTC()
		}
		switch {
		case c.Look == nil && !c.expires.IsZero():
			nodes[i].ValidUntil = c.expires.Round(0).UTC()
		case c.Look != nil && !c.seen.IsZero() && c.Class != setting.ClassStarted:
			nodes[i].ValidUntil = now.Add(staleAfter(c) - now.Sub(c.seen)).Round(0).UTC()
		}
	}
	return nodes
}

// describe gives a check's text. The caller holds the lock.
func (m *Monitor) describe(c *check) string {
	switch {
	case c.Look == nil && c.expires.IsZero():
		return "no report yet; one is due every " + words(c.TTL)
	case c.Look == nil && c.told == health.Fail && slices.Contains(c.flags, health.FlagStale):
		return fmt.Sprintf("no report in time; the last one said: %s", c.text)
	case c.Look == nil:
		return c.text
	case m.started.IsZero():
		if m.waiting != "" {
			return "the service has not started: " + m.waiting
		}
		return "not looked at yet"
	case c.blind:
		return "cannot be looked at: " + c.text
	}
	if p := c.pending(); p != "" {
		return c.text + " (" + p + ")"
	}
	return c.text
}

// words is a duration without the zeros that Go gives it: 26h, 5m, 1m30s.
func words(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
