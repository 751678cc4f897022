// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// Limits of push checks that the settings do not declare.
const (
	maxUndeclared = 100
	maxTTL        = 30 * 24 * time.Hour
)

// ErrPolled says that a report was for a check that healthhub looks at itself.
var ErrPolled = errors.New("is looked at by healthhub itself: a report cannot set it")

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
	c := m.find(p.Name)
	if c == nil {
		if err := m.makeRoom(now); err != nil {
			return err
		}
		s := setting.DefaultCheck(setting.KindPush)
		s.TTL = setting.DefaultTTL
		c = newCheck(Check{Name: p.Name, Check: s}, now)
		c.undeclared = true
		at, _ := slices.BinarySearchFunc(m.checks, c, byName)
		m.checks = slices.Insert(m.checks, at, c)
	}
	if c.Look != nil {
		return fmt.Errorf("%s (kind %s) %w", c.Name, c.Kind, ErrPolled)
	}
	ttl := c.TTL
	if p.TTL > 0 && (c.undeclared || p.TTL < ttl) {
		ttl = p.TTL
	}
	c.state, c.succeeded = p.State, true
	c.text, c.seen, c.expires = health.CleanText(p.Text), now, now.Add(ttl)
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
