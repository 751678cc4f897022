// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

const (
	Concurrency = 4                      // looks at one time
	maxStagger  = 250 * time.Millisecond // before the first look
	// overrun is how long after its timeout a look may take to end: what it runs is killed and waited for.
	overrun = 3 * time.Second
	// leaving is how long it may take when healthhub ends, which has two seconds for that.
	leaving = time.Second
	// unsupportedInterval is how long what cannot be looked at here is left alone.
	unsupportedInterval = 10 * time.Minute
)

// look is a check's look that is due, under way, or left behind. Its loop alone changes it; what others read, due and begun, under the
// monitor's lock.
type look struct {
	due   time.Time         // when it is to begin; zero: it has begun
	begun time.Time         // the last one
	count uint64            // looks begun
	done  chan probe.Result // of one that was left behind; nil: none
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
		m.plan(c, time.Now())
		select {
		case <-ctx.Done():
			return
		case m.slots <- struct{}{}:
		}
		m.begin(c)
		result := c.look.take(ctx, c.Look, c.Timeout)
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
		m.plan(c, time.Now().Add(pause))
		if !sleep(ctx, pause, c.kick) {
			return
		}
	}
}

// take takes a look, which ends within timeout and overrun: one that does not is left behind, and while it hangs no
// other is taken.
func (l *look) take(ctx context.Context, f probe.Func, timeout time.Duration) probe.Result {
	if l.done != nil {
		return l.hangs()
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	l.count++
	l.done = make(chan probe.Result, 1)
	go func() { l.done <- guard(within, f) }()
	patience := time.NewTimer(timeout + overrun)
	defer patience.Stop()
	leave := ctx.Done()
	for {
		select {
		case r := <-l.done:
			l.done = nil
			return r
		case <-leave:
			leave = nil
			patience.Reset(leaving)
		case <-patience.C:
			return l.hangs()
		}
	}
}

func (l *look) hangs() probe.Result {
	return probe.Result{
		State:  health.Fail,
		Text:   "the look hangs since " + l.begun.UTC().Format(time.RFC3339) + " and cannot be ended",
		Action: "see what does not answer: a file system on the network, or a disk",
	}
}

// guard takes a look that may break: one check must not take the others with it, nor what is no number (JSON has none such) every
// document that it stands in.
func guard(ctx context.Context, f probe.Func) (r probe.Result) {
	defer func() {
		if broken := recover(); broken != nil {
			r = probe.Result{State: health.Unknown, Blind: true, Text: health.CleanText(fmt.Sprintf("the look itself broke: %v", broken))}
		}
	}()
	r = f(ctx)
	r.Values = slices.DeleteFunc(r.Values, func(v health.Value) bool { return math.IsNaN(v.Value) || math.IsInf(v.Value, 0) })
	return r
}

func (m *Monitor) plan(c *check, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.look.due.IsZero() || at.Before(c.look.due) {
		c.look.due = at
	}
}

// begin notes that a look begins, and how much later than it was due.
func (m *Monitor) begin(c *check) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.wakeUp(now)
	m.lag.note(now, m.behind(c, now), c.Name)
	c.look.due = time.Time{}
	select {
	case <-c.look.done: // it hangs no more; what it says is of long ago
		c.look.done = nil
	default:
	}
	if c.look.done == nil {
		c.look.begun = now
	}
}

// behind is how long a look has been due, but not through a standstill, which is nobody's in particular.
func (m *Monitor) behind(c *check, now time.Time) time.Duration {
	due := c.look.due
	if m.resumed.After(due) {
		due = m.resumed
	}
	return now.Sub(due)
}

// record takes what a look saw, and says how long to wait for the next one, or that there is none.
func (m *Monitor) record(c *check, r probe.Result) (pause time.Duration, more bool) {
	m.mu.Lock()
	now := time.Now()
	say := r.Unsupported && !c.unsupported
	c.result, c.unsupported = r, r.Unsupported
	c.runs, c.took = c.look.count, now.Sub(c.look.begun)
	if !r.Blind && !r.Unsupported {
		if !now.Before(m.deadline(c, now)) {
			c.giveUp() // before this look, which is not one of the time to start
		}
		c.seen = now
		c.see(r.State)
		for s := range m.settles {
			s.see(c.Name, r)
		}
	}
	pause, more = c.Interval, true
	switch {
	case c.Class == setting.ClassStarted && c.succeeded:
		more = false
	case c.unsupported:
		pause = max(pause, unsupportedInterval)
	case len(m.settles) > 0 && c.Criticality == setting.Critical:
		pause = min(pause, settleInterval)
	case !c.succeeded:
		pause = min(pause, c.StartInterval)
	}
	m.mu.Unlock()
	if say {
		m.Log.Info().Str("check", c.Name).Str("reason", r.Text).Msg("this cannot be checked here: the check counts for nothing")
	}
	m.refresh()
	return pause, more
}

// Lag is how late looks begin: since the machine is overloaded, the program stood still, or too many looks take long.
type Lag struct {
	Late  time.Duration // the most of the last minute, and of what waits now
	Check string        // whose look; empty: the program's, which stood still

	at time.Time
}

// LagLimit is from where on a lag is worth telling: what is told may be older than it says.
const LagLimit = 5 * time.Second

// lagKept is how long a lag is told after it was.
const lagKept = time.Minute

func (l *Lag) note(now time.Time, late time.Duration, check string) {
	if late >= l.Late || now.Sub(l.at) > lagKept {
		*l = Lag{Late: max(0, late), Check: check, at: now}
	}
}

// Lag tells how late looks begin.
func (m *Monitor) Lag() Lag {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.wakeUp(now)
	m.lag.note(now, 0, "")
	worst := m.lag
	for _, c := range m.checks {
		if late := m.behind(c, now); !c.look.due.IsZero() && late > worst.Late {
			worst = Lag{Late: late, Check: c.Name}
		}
	}
	worst.at = time.Time{}
	return worst
}
