// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// settled runs a settle of 10 s while something happens, and says what came out after how long.
func settled(t *testing.T, m *Monitor, meanwhile func()) (Verdict, time.Duration) {
	t.Helper()
	start := time.Now()
	if meanwhile != nil {
		go meanwhile()
	}
	v, err := m.Settle(t.Context(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return v, time.Since(start)
}

func expectVerdict(t *testing.T, v Verdict, took time.Duration, verdict, reason string, least, most time.Duration) {
	t.Helper()
	if v.Verdict != verdict || !strings.Contains(strings.Join(v.Reasons, "\n"), reason) {
		t.Errorf("verdict %+v, want %s with %q", v, verdict, reason)
	}
	if took < least || took > most {
		t.Errorf("took %s, want between %s and %s", took, least, most)
	}
}

func TestSettleOfChecks(t *testing.T) {
	for name, test := range map[string]struct {
		before, then  health.State
		degrading     bool
		takes         time.Duration
		verdict       string
		least, longer time.Duration
	}{
		"stays well":        {health.Pass, health.Pass, false, 0, VerdictOK, 10 * time.Second, 11 * time.Second},
		"gets worse":        {health.Pass, health.Fail, false, 0, VerdictWorse, time.Second, 4 * time.Second},
		"was bad before":    {health.Fail, health.Fail, false, 0, VerdictOK, 10 * time.Second, 11 * time.Second},
		"not critical":      {health.Pass, health.Fail, true, 0, VerdictOK, 10 * time.Second, 11 * time.Second},
		"only warns":        {health.Pass, health.Warn, false, 0, VerdictOK, 10 * time.Second, 11 * time.Second},
		"hangs":             {health.Pass, health.Pass, false, time.Minute, VerdictWorse, 15 * time.Second, 18 * time.Second},
		"slow, but answers": {health.Pass, health.Pass, false, 4 * time.Second, VerdictOK, 10 * time.Second, 11 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				th := &thing{}
				th.set(test.before)
				c := polled("page", th, critical)
				if test.degrading {
					c.Criticality = "degrading"
				}
				m, _ := run(t, "/nowhere", c)
				after(time.Minute)
				th.set(test.then)
				th.mu.Lock()
				th.takes = test.takes
				th.mu.Unlock()
				v, took := settled(t, m, nil)
				expectVerdict(t, v, took, test.verdict, "", test.least, test.longer)
			})
		})
	}
}

// One failure between passes is none.
func TestSettleForgivesABlip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := &thing{}
		th.set(health.Pass)
		m, _ := run(t, "/nowhere", polled("page", th, critical))
		after(time.Minute)
		v, took := settled(t, m, func() {
			th.set(health.Fail)
			time.Sleep(1500 * time.Millisecond)
			th.set(health.Pass)
		})
		expectVerdict(t, v, took, VerdictOK, "", 10*time.Second, 11*time.Second)
		before := th.count()
		after(30 * time.Second)
		if n := th.count() - before; n > 4 {
			t.Errorf("%d looks in the 30 s after the settle: it did not end", n)
		}
	})
}

func TestSettleOfTheService(t *testing.T) {
	for name, test := range map[string]struct {
		started       time.Duration // before the settle
		then          func(s *initctl.ServiceState)
		page          health.State // from the beginning of the settle on
		verdict       string
		reason        string
		least, longer time.Duration
	}{
		"exit": {time.Hour, func(s *initctl.ServiceState) {
			s.State, s.LastExit = initctl.ServiceExited, &initctl.Exit{Code: 1, At: time.Now()}
		}, health.Pass, VerdictWorse, "exited with code 1", 2 * time.Second, 3 * time.Second},
		"restart": {time.Hour, func(s *initctl.ServiceState) {
			s.Restarts++
			s.StartedAt = time.Now()
		}, health.Pass, VerdictWorse, "restarted", 2 * time.Second, 3 * time.Second},
		"nothing": {time.Hour, nil, health.Pass, VerdictOK, "", 10 * time.Second, 11 * time.Second},
		// It was restarted on purpose just before: it has the whole time to come up.
		"slow start":   {time.Second, nil, health.Fail, VerdictOK, "", 10 * time.Second, 11 * time.Second},
		"never passes": {time.Second, nil, health.Unknown, VerdictWorse, "failed", 10 * time.Second, 14 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				service := initctl.ServiceState{State: initctl.ServiceRunning, PID: 1, StartedAt: time.Now().Add(-time.Hour)}
				write := func() {
					if err := (&initctl.State{Service: service}).Write(dir); err != nil {
						t.Error(err)
					}
				}
				write()
				th := &thing{}
				th.set(health.Pass)
				m, _ := run(t, dir, polled("page", th, critical))
				after(time.Minute)
				service.StartedAt = time.Now().Add(-test.started)
				write()
				th.set(test.page)
				v, took := settled(t, m, func() {
					time.Sleep(2 * time.Second)
					if test.then != nil {
						test.then(&service)
						write()
					}
					time.Sleep(4 * time.Second)
					if name == "slow start" {
						th.set(health.Pass)
					}
				})
				expectVerdict(t, v, took, test.verdict, test.reason, test.least, test.longer)
				after(10 * time.Second)
			})
		})
	}
}
