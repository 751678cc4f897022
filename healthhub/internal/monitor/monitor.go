// SPDX-License-Identifier: AGPL-3.0-or-later

// Package monitor runs the checks of a container and keeps what they say.
//
// In: looks (package probe), reports of programs ([Monitor.Push]), what the service says of itself on NOTIFY_SOCKET
// ([Monitor.Notify]), how a job ended ([Monitor.Exited]). Out: a node for each check ([Monitor.Nodes]), whoever
// asks; a call of changed whenever one of them tells something else than before.
//
// When: looks begin when the service has started (init.json; without hubinit at once), within a quarter of a second
// so that they do not all come at one moment. Until its first success a check is looked at every start_interval, then
// an interval after the end of the last look: looks of one check never overlap, and at most four are taken at
// one time. A look that does not end with its context, such as one at a file on a server that is gone, is left behind
// after a moment (look.go): it takes no place from the others, counts as a failure while it hangs, and there is never a
// second one of the same check.
//
// What several looks mean: see machine. A look that could not be taken says nothing and counts nowhere; a check nobody
// could look at for max(3 × interval, interval + timeout + 5 s) is unknown and stale. A check of what cannot be read here
// at all is unknown and unsupported, which counts nowhere; it is tried again every ten minutes. A push check is what
// was reported last, at once; when no report comes within its ttl, on_expire says what becomes of it. Looks that keep
// changing are flapping, and so are reports that come as often as looks would. docs/states.md says all this to users.
//
// All ages are of the monotonic clock: setting the date changes nothing. When the whole program stood still, as in a
// container that was paused, nothing grows old for a moment, until looks were taken again.
//
// A check of class started is not looked at again after its first success. depends_on changes no state: while what
// a check depends on fails or is unknown, what is not well has a flag that names whom to look at first.
//
// What looks saw is not remembered over a restart of healthhub, since it can be seen again at once; what was
// reported is (remember.go), and how a job ended (job.go).
//
// Left out: how to look (probe) and what the container makes of it (rollup).
package monitor

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

const (
	gateInterval = 200 * time.Millisecond // between looks at init.json while the service has not started
	// restartGrace is the least time to start that a check has, measured from healthhub's own start: when
	// healthhub is restarted, the service's start may be days ago.
	restartGrace = 10 * time.Second
	// tick is how often ages are looked at.
	tick = time.Second
	// standstill is how late a tick must be for the program to have stood still, and how long nothing grows old then.
	standstill = 5 * time.Second
)

// Check is one check and how it is looked at.
type Check struct {
	Name string
	setting.Check
	Look probe.Func // nil for kind push
}

// Config says what a monitor watches.
type Config struct {
	RunDir string  // of init.json and reports.json
	Checks []Check // their names differ
	// Changed is called, without locks and from several goroutines, whenever a state or a flag is another one than before.
	Changed  func()
	Log      zerolog.Logger
	Watchdog time.Duration // WATCHDOG_USEC of the service's environment; 0: none
	Job      setting.Job
	StateDir string // of job.json; empty: how the job ended is not remembered
}

// Monitor is the checks of a container. Its methods may be called from several goroutines.
type Monitor struct {
	Config
	slots chan struct{} // as many as looks may be under way

	mu        sync.Mutex // guards what follows and the state of all checks
	born      time.Time
	started   time.Time // of the service; zero: not yet
	waiting   string    // what the service waits for
	refreshed time.Time // when ages were looked at; zero: not running
	resumed   time.Time // when the program last went on after a standstill; zero: never
	checks    []*check  // sorted by name
	is        []told    // of checks, while they are judged
	settles   map[*settle]struct{}
	lag       Lag
	notified  notified
	dirty     bool // something was reported that is not remembered yet
	news      bool // and it is another state than before
	job       jobFile

	// Run's alone:
	remembered time.Time // when reports were written last
	forgetful  bool      // that failed
}

// check is the state of a check.
type check struct {
	Check
	machine
	kick chan struct{} // ends the pause before the next look; holds one
	look look

	result      probe.Result // of the last look, or the last report
	took        time.Duration
	runs        uint64
	seen        time.Time // end of the last look that could be taken, or the last report; zero: none
	unsupported bool

	// Of kind push:
	reported   bool
	awaited    time.Time // until when there may be no report at all
	expires    time.Time // end of the last report's time to live; zero: it has none
	overdue    string    // what is told from then on; empty: that there was no report
	undeclared bool      // not in the settings

	told  told // what went out last
	since time.Time
	flags []string // of told
}

// New makes a monitor.
func New(c Config) *Monitor {
	now := time.Now()
	m := &Monitor{
		Config: c, slots: make(chan struct{}, Concurrency), born: now, settles: map[*settle]struct{}{},
	}
	for _, c := range c.Checks {
		m.checks = append(m.checks, newCheck(c, m.born))
	}
	slices.SortFunc(m.checks, byName)
	m.addJob()
	m.recall()
	return m
}

func newCheck(c Check, now time.Time) *check {
	n := &check{
		Check: c, machine: newMachine(c.Fall, c.Rise), kick: make(chan struct{}, 1),
		told: told{state: health.Starting}, since: now, awaited: now.Add(c.TTL),
	}
	n.flags = n.told.flags(n)
	return n
}

func byName(a, b *check) int { return strings.Compare(a.Name, b.Name) }

// Run looks until ctx is done, and waits for what is under way, but not for what hangs.
func (m *Monitor) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	defer m.remember(true)
	defer loops.Wait()
	m.mu.Lock()
	m.refreshed = time.Now()
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
			m.watchService()
			m.refresh()
			m.remember(false)
		}
	}
}

// gate waits for the start of the service.
func (m *Monitor) gate(ctx context.Context) {
	for first := true; ; first = false {
		state, err := initctl.ReadState(m.RunDir)
		m.mu.Lock()
		switch now := time.Now(); {
		case errors.Is(err, fs.ErrNotExist): // no hubinit
			m.started = now
		case err != nil:
			m.waiting = err.Error()
		case state.Service.StartedAt.IsZero():
			m.waiting = state.Service.Waiting
		case !first:
			m.started = now // it started before our eyes: no need of the date, which may be set in between
		default:
			// Taken over to the monotonic clock once; a start in the future is a clock that was set meanwhile.
			m.started = now.Add(-max(0, now.Sub(state.Service.StartedAt)))
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

// refresh looks at every check's age and tells of changes.
func (m *Monitor) refresh() {
	m.mu.Lock()
	now := time.Now()
	m.wakeUp(now)
	changed := m.judge(now)
	m.mu.Unlock()
	if changed {
		m.Changed()
	}
}

// wakeUp finds out whether the program stood still until now. Whoever comes first after that is to ask, before it calls
// anything late.
func (m *Monitor) wakeUp(now time.Time) {
	if m.refreshed.IsZero() {
		return
	}
	if late := now.Sub(m.refreshed) - tick; late > standstill {
		m.resumed = now
		m.lag.note(now, late, "")
	}
	m.refreshed = now
}

// excused reports whether nothing grows old now, since nobody could look or report.
func (m *Monitor) excused(now time.Time) bool {
	return !m.resumed.IsZero() && now.Sub(m.resumed) < standstill
}

// deadline is when a check's time to start is over; far away while the service has not started.
func (m *Monitor) deadline(c *check, now time.Time) time.Time {
	if m.started.IsZero() || c.Look == nil {
		return now.Add(time.Hour)
	}
	end := m.started.Add(c.StartDeadline)
	for _, least := range []time.Time{m.born.Add(min(restartGrace, c.StartDeadline)), m.notified.extended} {
		if end.Before(least) {
			end = least
		}
	}
	return end
}

// index finds the check of that name. The caller holds the lock.
func (m *Monitor) index(name string) (i int, ok bool) {
	return slices.BinarySearchFunc(m.checks, name, func(c *check, name string) int { return strings.Compare(c.Name, name) })
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
