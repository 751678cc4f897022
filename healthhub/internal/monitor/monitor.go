// SPDX-License-Identifier: AGPL-3.0-or-later

// Package monitor runs the checks of a container and keeps what they say.
//
// When: looks begin when the service has started (init.json; without hubinit at once), within a quarter of a second
// so that they do not all come at one moment. Until its first success a check is looked at every 2 s, then
// an interval after the end of the last look: looks of one check never overlap, and at most four are taken at
// one time.
//
// What several looks mean: see machine. A look that could not be taken says nothing; a check nobody could look at for
// max(3 × interval, interval + timeout + 5 s), on the monotonic clock, is unknown and stale. A push check is
// what was reported last, at once; when no report comes within its ttl it fails.
//
// A check of class started is not looked at again after its first success. depends_on changes no state: it adds
// a flag that names whom to look at first.
//
// Left out: how to look (probe) and what the container makes of it (rollup).
package monitor

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

const (
	concurrency   = 4                      // looks at one time
	startInterval = 2 * time.Second        // between looks until the first success
	maxStagger    = 250 * time.Millisecond // before the first look
	gateInterval  = 200 * time.Millisecond // between looks at init.json while the service has not started
	// restartGrace is the least time to start that a check has, measured from healthhub's own start: when
	// healthhub is restarted, the service's start may be days ago.
	restartGrace = 10 * time.Second
	// tick is how often ages are looked at.
	tick = time.Second
)

// Check is one check and how it is looked at.
type Check struct {
	Name string
	setting.Check
	Look probe.Func // nil for kind push
}

// Monitor is the checks of a container. Its methods may be called from several goroutines.
type Monitor struct {
	runDir  string
	changed func()
	slots   chan struct{} // as many as looks may be under way

	mu      sync.Mutex // guards what follows and the state of all checks
	born    time.Time
	started time.Time // of the service; zero: not yet
	waiting string    // what the service waits for
	checks  []*check  // sorted by name
	settles map[*settle]struct{}
}

// check is the state of a check.
type check struct {
	Check
	machine
	kick chan struct{} // ends the pause before the next look; holds one

	text       string    // of the last look or report
	seen       time.Time // end of the last look that could be taken, or the last report; zero: none
	blind      bool      // the last look could not be taken
	expires    time.Time // push: end of the last report's time to live
	undeclared bool      // push: not in the settings

	told  health.State // the last state that went out, and since when
	since time.Time
	flags []string
}

// New makes a monitor for checks, whose names differ. init.json is looked for in runDir. changed is called, without
// locks and from several goroutines, whenever a state or a flag is another one than before.
func New(runDir string, checks []Check, changed func()) *Monitor {
	m := &Monitor{
		runDir: runDir, changed: changed, slots: make(chan struct{}, concurrency),
		born: time.Now(), settles: map[*settle]struct{}{},
	}
	for _, c := range checks {
		m.checks = append(m.checks, newCheck(c, m.born))
	}
	slices.SortFunc(m.checks, byName)
	return m
}

func newCheck(c Check, now time.Time) *check {
	return &check{
		Check: c, machine: newMachine(c.Fall, c.Rise), kick: make(chan struct{}, 1),
		told: health.Starting, since: now,
	}
}

func byName(a, b *check) int { return strings.Compare(a.Name, b.Name) }

// Run looks until ctx is done, and waits for what is under way.
func (m *Monitor) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	defer loops.Wait()
	m.mu.Lock()
	for _, c := range m.checks {
		if c.Look != nil {
			loops.Go(func() { m.loop(ctx, c) })
		}
	}
	m.mu.Unlock()
	loops.Go(func() { m.gate(ctx) })
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			m.refresh()
		}
	}
}

// gate waits for the start of the service.
func (m *Monitor) gate(ctx context.Context) {
	for {
		state, err := initctl.ReadState(m.runDir)
		m.mu.Lock()
		switch now := time.Now(); {
		case errors.Is(err, fs.ErrNotExist): // no hubinit
			m.started = now
		case err != nil:
			m.waiting = err.Error()
		case !state.Service.StartedAt.IsZero():
			// Taken over to the monotonic clock once; a start in the future is a clock that was set meanwhile.
			m.started = now.Add(-max(0, now.Sub(state.Service.StartedAt)))
		default:
			m.waiting = state.Service.Waiting
		}
		open := !m.started.IsZero()
		for _, c := range m.checks {
			if open && c.Look != nil {
				wake(c.kick)
			}
		}
		m.mu.Unlock()
		if open || !sleep(ctx, gateInterval, nil) {
			return
		}
	}
}

// loop takes the looks of one check.
func (m *Monitor) loop(ctx context.Context, c *check) {
	select { // the gate wakes every loop once
	case <-ctx.Done():
		return
	case <-c.kick:
	}
	if !sleep(ctx, rand.N(maxStagger), nil) {
		return
	}
	spread := true // the first full interval is shortened by chance, so that checks stay apart
	for {
		select {
		case <-ctx.Done():
			return
		case m.slots <- struct{}{}:
		}
		look, cancel := context.WithTimeout(ctx, c.Timeout)
		result := c.Look(look)
		cancel()
		<-m.slots
		if ctx.Err() != nil {
			return
		}
		pause, more := m.record(c, result)
		if !more {
			return
		}
		if spread && pause == c.Interval {
			pause, spread = pause/2+rand.N(pause/2), false
		}
		if !sleep(ctx, pause, c.kick) {
			return
		}
	}
}

// record takes what a look saw, and says how long to wait for the next one, or that there is none.
func (m *Monitor) record(c *check, r probe.Result) (pause time.Duration, more bool) {
	m.mu.Lock()
	c.text, c.blind = r.Text, r.Blind
	if !r.Blind {
		c.seen = time.Now()
		c.see(r.State)
		for s := range m.settles {
			s.see(c.Name, r)
		}
	}
	pause, more = c.Interval, true
	switch {
	case c.Class == setting.ClassStarted && c.succeeded:
		more = false
	case len(m.settles) > 0 && c.Criticality == setting.Critical:
		pause = min(pause, settleInterval)
	case !c.succeeded:
		pause = min(pause, startInterval)
	}
	m.mu.Unlock()
	m.refresh()
	return pause, more
}

// refresh looks at every check's age and tells of changes.
func (m *Monitor) refresh() {
	m.mu.Lock()
	changed := false
	now := time.Now()
	for _, c := range m.checks {
		if !now.Before(m.deadline(c)) {
			c.giveUp()
		}
	}
	for _, c := range m.checks {
		state, flags := m.judge(c, now)
		if state != c.told || !slices.Equal(flags, c.flags) {
			changed = true
			if state != c.told {
				c.told, c.since = state, now
			}
			c.flags = flags
		}
	}
	m.mu.Unlock()
	if changed {
		m.changed()
	}
}

// deadline is when a check's time to start is over; far away while the service has not started.
func (m *Monitor) deadline(c *check) time.Time {
	if m.started.IsZero() || c.Look == nil {
		return time.Now().Add(time.Hour)
	}
	end, least := m.started.Add(c.StartDeadline), m.born.Add(min(restartGrace, c.StartDeadline))
	if end.Before(least) {
		return least
	}
	return end
}

// find gives the check of that name, or nil. The caller holds the lock.
func (m *Monitor) find(name string) *check {
	i, ok := slices.BinarySearchFunc(m.checks, name, func(c *check, name string) int { return strings.Compare(c.Name, name) })
	if !ok {
		return nil
	}
	return m.checks[i]
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sleep waits for d, or less if early has something; false: ctx is done.
func sleep(ctx context.Context, d time.Duration, early <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-early:
	}
	return true
}
