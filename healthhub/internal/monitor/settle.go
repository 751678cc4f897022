// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

const (
	settleInterval = time.Second            // between looks at critical checks while somebody settles
	settlePoll     = 100 * time.Millisecond // between looks at init.json
	settleFails    = 3                      // failures in a row that are a worsening
	maxSettles     = 4
)

// ErrBusy says that too many settles are under way.
var ErrBusy = errors.New("too many settles at one time")

// The verdicts of a settle.
const (
	VerdictOK    = "ok"
	VerdictWorse = "worse"
)

// Verdict is what a settle found.
type Verdict struct {
	Verdict string   `json:"verdict"`           // ok or worse
	Reasons []string `json:"reasons,omitempty"` // of worse
}

// Settle watches closely whether something got worse, after a change, for the time d. Critical checks are
// looked at once and every second; single looks count, not the state they add up to. Worse is a check that passed before
// and failed three times running, or a service that exited or was restarted; the verdict comes as soon
// as that is known, else ok at the end. What did not pass before, or only starts to, is no worsening.
//
// A service that was started within d before is given all of d to pass for the first time. Where failures are
// being counted when d is over, the verdict waits for the third or a success.
func (m *Monitor) Settle(ctx context.Context, d time.Duration) (Verdict, error) {
	s := &settle{begin: time.Now(), checks: map[string]*watched{}, seen: make(chan struct{}, 1)}
	s.before, s.beforeErr = initctl.ReadState(m.RunDir)
	s.fresh = s.beforeErr == nil && s.begin.Sub(s.before.Service.StartedAt) < d
	limit := d
	m.mu.Lock()
	if len(m.settles) >= maxSettles {
		m.mu.Unlock()
		return Verdict{}, ErrBusy
	}
	for _, c := range m.checks {
		if c.Criticality == setting.Critical && c.Look != nil && c.succeeded && c.told.state <= health.Warn {
			s.checks[c.Name] = &watched{}
			limit = max(limit, d+settleFails*(c.Timeout+settleInterval))
			wake(c.kick)
		}
	}
	m.settles[s] = struct{}{}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.settles, s)
		m.mu.Unlock()
	}()
	for {
		over := time.Since(s.begin) >= d
		reasons := append(s.exits(m.RunDir), s.failures(over)...)
		switch {
		case len(reasons) > 0:
			return Verdict{Verdict: VerdictWorse, Reasons: reasons}, nil
		case over && !s.undecided() || time.Since(s.begin) >= limit:
			return Verdict{Verdict: VerdictOK}, nil
		}
		if !sleep(ctx, settlePoll, s.seen) {
			return Verdict{}, context.Cause(ctx)
		}
	}
}

// settle is one under way.
type settle struct {
	begin     time.Time
	before    *initctl.State // init.json at the beginning
	beforeErr error
	fresh     bool // the service started only just before

	mu     sync.Mutex // guards checks
	checks map[string]*watched
	seen   chan struct{}
}

// watched is a check that passed before.
type watched struct {
	fails  int // in a row, up to now
	passed bool
	text   string
}

// see takes a look's result. The monitor's lock is held.
func (s *settle) see(name string, r probe.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.checks[name]
	if w == nil {
		return
	}
	if r.State <= health.Warn {
		w.fails, w.passed = 0, true
	} else {
		w.fails++
	}
	w.text = r.Text
	wake(s.seen)
}

// failures lists the checks that got worse. over says that the time is over.
func (s *settle) failures(over bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var reasons []string
	for name, w := range s.checks {
		if w.fails >= settleFails && (over || w.passed || !s.fresh) {
			reasons = append(reasons, fmt.Sprintf("check %s passed before and failed %d times running: %s", name, w.fails, w.text))
		}
	}
	slices.Sort(reasons)
	return reasons
}

// undecided reports whether a check has failed, or given no answer at all, but not often enough to tell.
func (s *settle) undecided() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.checks {
		if w.fails > 0 && w.fails < settleFails || w.fails == 0 && !w.passed {
			return true
		}
	}
	return false
}

// exits tells of an exit or a restart of the service since the beginning.
func (s *settle) exits(runDir string) []string {
	now, err := initctl.ReadState(runDir)
	if err != nil || s.beforeErr != nil {
		return nil // without hubinit the checks alone count
	}
	was, is := s.before.Service, now.Service
	switch {
	case is.LastExit != nil && (was.LastExit == nil || !is.LastExit.At.Equal(was.LastExit.At)):
		how := fmt.Sprintf("code %d", is.LastExit.Code)
		if is.LastExit.Signal != "" {
			how = "signal " + is.LastExit.Signal
		}
		return []string{"the service exited with " + how}
	case is.Restarts != was.Restarts, !was.StartedAt.IsZero() && !is.StartedAt.Equal(was.StartedAt):
		return []string{"the service was restarted"}
	}
	return nil
}
