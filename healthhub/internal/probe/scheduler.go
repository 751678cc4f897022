// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

const (
	schedulerWarn, schedulerFail = "5s", "60s"
	// timerProbe is the timer whose lateness is measured.
	timerProbe = 5 * time.Millisecond
)

// scheduler proves that the looks themselves are taken: how late this one comes, an interval after the end of the one before, and
// how late a timer fires. Who was paused, or got no processor, did not look at anything meanwhile; so the worst
// is told for a while.
type scheduler struct {
	interval, window time.Duration
	levels           levels

	end     time.Time     // of the look before; zero: none
	worst   time.Duration // within the window, seen at worstAt
	worstAt time.Time
}

func schedulerLook(s setting.Check) (Func, error) {
	l, err := parseLevels(s, schedulerWarn, schedulerFail)
	if err != nil {
		return nil, err
	}
	sc := &scheduler{interval: s.Interval, window: cmp.Or(s.Window, setting.DefaultTold), levels: l}
	return sc.look, nil
}

func (s *scheduler) look(ctx context.Context) Result {
	start := time.Now()
	var late time.Duration
	if !s.end.IsZero() {
		late = max(0, start.Sub(s.end)-s.interval)
	}
	timer := time.NewTimer(timerProbe)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	s.end = time.Now()
	late = max(late, s.end.Sub(start)-timerProbe)
	if late >= s.worst || s.end.Sub(s.worstAt) >= s.window {
		s.worst, s.worstAt = late, s.end
	}
	state, text := health.Pass, fmt.Sprintf("looks are taken in time, at most %s late in the last %s", span(s.worst), span(s.window))
	switch warn, fail := s.levels.warn.Late, s.levels.fail.Late; {
	case fail > 0 && s.worst >= fail:
		state = health.Fail
	case warn > 0 && s.worst >= warn:
		state = health.Warn
	}
	r := Result{State: state, Text: text}
	if state != health.Pass {
		r = result(state, "%s ago looks came %s late: until then nothing was looked at", span(s.end.Sub(s.worstAt)), span(s.worst)).
			advise("see whether this was paused or suspended, or has too little processor time")
	}
	lateness := value("late", "s", late.Seconds())
	lateness.Warn, lateness.Fail = lateFrom(s.levels.warn), lateFrom(s.levels.fail)
	r.Values = []health.Value{lateness, value("worst", "s", s.worst.Seconds())}
	return r
}

func lateFrom(l setting.Level) *float64 {
	if l.Late == 0 {
		return nil
	}
	return some(l.Late.Seconds())
}
