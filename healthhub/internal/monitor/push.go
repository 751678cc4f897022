// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// Limits of push checks that the settings do not declare.
const (
	maxUndeclared = 100
	maxTTL        = 30 * 24 * time.Hour
)

// samples is how close together reports must come to be flapping: further apart they are statements, and what was
// wrong three nights ago does not make last night's backup a bad one.
const samples = 5 * time.Minute

// ErrPolled says that a report was for a check that healthhub looks at itself.
var ErrPolled = errors.New("is looked at by healthhub itself: a report cannot set it")

// Errors of Withdraw besides ErrPolled.
var (
	ErrUnknown  = errors.New("nobody has reported on it")
	ErrDeclared = errors.New("is declared in the settings, or the service speaks of it itself: it stays")
)

// Push is a report on a push check.
type Push struct {
	Name  string        // made as a degrading check if the settings do not declare it
	State health.State  // pass, warn or fail
	Text  string        //
	TTL   time.Duration // how long it counts; 0: the check's own, or setting.DefaultTTL
}

// Push takes a report. The check is what it says at once, until its time to live is over.
func (m *Monitor) Push(p Push) error {
	if err := health.CheckName(health.KindCheck, p.Name); err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(p.Name, rollup.HubPrefix):
		return fmt.Errorf("%s: names under hub/ belong to the hubs", p.Name)
	case strings.HasPrefix(p.Name, rollup.RuntimePrefix):
		return fmt.Errorf("%s: names under runtime/ belong to what the runtime knows", p.Name)
	case p.State != health.Pass && p.State != health.Warn && p.State != health.Fail:
		return fmt.Errorf("%s: state must be pass, warn or fail, got %v", p.Name, p.State)
	case p.TTL < 0 || p.TTL > maxTTL:
		return fmt.Errorf("%s: ttl must be between 1s and %s, got %s", p.Name, maxTTL, p.TTL)
	}
	if err := m.push(p); err != nil {
		return err
	}
	m.refresh()
	return nil
}

func (m *Monitor) push(p Push) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	c, err := m.pushed(p.Name, now)
	if err != nil {
		return err
	}
	if c.Look != nil {
		return fmt.Errorf("%s (kind %s) %w", c.Name, c.Kind, ErrPolled)
	}
	ttl := c.TTL
	if p.TTL > 0 && (c.undeclared || p.TTL < ttl) {
		ttl = p.TTL
	}
	if now.Sub(c.seen) > samples {
		c.window, c.flapping = window{}, false
	}
	c.window.add(p.State)
	c.flap()
	m.report(c, now, p.State, health.CleanText(p.Text), ttl)
	return nil
}

// report makes a push check what somebody says it is, for the time ttl; 0: until they say something else.
func (m *Monitor) report(c *check, now time.Time, s health.State, text string, ttl time.Duration) {
	m.dirty = true
	m.news = m.news || !c.reported || c.state != s || c.expires.IsZero() != (ttl == 0)
	c.state, c.succeeded, c.reported = s, true, true
	c.result = probe.Result{State: s, Text: text}
	c.runs++
	c.seen, c.expires, c.overdue = now, time.Time{}, ""
	if ttl > 0 {
		c.expires = now.Add(ttl)
	}
}

// pushed finds the check of that name, or makes a push check.
func (m *Monitor) pushed(name string, now time.Time) (*check, error) {
	i, ok := m.index(name)
	if ok {
		return m.checks[i], nil
	}
	if err := m.makeRoom(now); err != nil {
		return nil, err
	}
	s := setting.DefaultCheck(setting.KindPush)
	s.TTL = setting.DefaultTTL
	c := newCheck(Check{Name: name, Check: s}, now)
	c.undeclared = true
	i, _ = m.index(name) // making room may have moved it
	m.checks = slices.Insert(m.checks, i, c)
	return c, nil
}

// Withdraw takes away a check that is there since somebody reported on it and that nobody will report on any more.
func (m *Monitor) Withdraw(name string) error {
	if err := m.withdraw(name); err != nil {
		return fmt.Errorf("%.64q: %w", name, err)
	}
	m.Changed()
	return nil
}

func (m *Monitor) withdraw(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch i, ok := m.index(name); {
	case !ok:
		return ErrUnknown
	case m.checks[i].Look != nil:
		return ErrPolled
	case !m.checks[i].undeclared:
		return ErrDeclared
	default:
		m.checks = slices.Delete(m.checks, i, i+1)
	}
	m.dirty, m.news = true, true
	return nil
}

// makeRoom lets the undeclared check that expired longest ago go if there are too many; if none has, there is no room.
func (m *Monitor) makeRoom(now time.Time) error {
	count, oldest := 0, -1
	for i, c := range m.checks {
		if !c.undeclared {
			continue
		}
		count++
		if c.expires.Before(now) && (oldest < 0 || c.expires.Before(m.checks[oldest].expires)) {
			oldest = i
		}
	}
	switch {
	case count < maxUndeclared:
		return nil
	case oldest < 0:
		return fmt.Errorf("there are %d push checks that the settings do not declare already", maxUndeclared)
	}
	m.checks = slices.Delete(m.checks, oldest, oldest+1)
	return nil
}
