// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/healthhub/internal/monitor"
	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// reportGrace is how long reports may not arrive: a host that restarts, an identity on its way.
const reportGrace = 30 * time.Second

// pauseTold is how long a standstill is told of after it ceased to be the last lag: as a rule somebody paused the container, and
// that is over.
const pauseTold = time.Minute

// self tells of healthhub itself: the check hub/health. That it stopped altogether it cannot say; that is seen by the age
// of what it wrote.
type self struct {
	declared map[string]setting.Check

	mu        sync.Mutex  // guards what follows; times are monotonic
	late      monitor.Lag // the last one worth telling
	lateAt    time.Time
	silent    time.Time // since when reports do not arrive; zero: they do
	unwritten string    // why health.json could not be written
}

// wrote is told how the last write of health.json fared.
func (s *self) wrote(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unwritten = ""
	if err != nil {
		s.unwritten = err.Error()
	}
}

// node makes hub/health. checks are all others; lag is how late they are looked at; to is how reporting fares, nil where
// nobody is reported to.
func (s *self) node(checks []health.Node, lag monitor.Lag, to *report.Status, now time.Time) health.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	var t troubles
	if s.unwritten != "" {
		t.add("see that the run directory (a tmpfs at /run/hub) can be written and has room", "hubinit's probe is not told of this container's health: %s", s.unwritten)
	}
	if lag.Late >= monitor.LagLimit {
		s.late, s.lateAt = lag, now
	}
	switch late := s.late.Late.Round(time.Second); {
	case s.lateAt.IsZero() || now.Sub(s.lateAt) >= troubleWindow:
	case s.late.Check == "" && now.Sub(s.lateAt) >= pauseTold:
	case s.late.Check == "":
		t.add("see what takes the machine's CPU or disk, if nobody paused the container",
			"healthhub stood still for %s: the container was paused, or the machine has no time for it", late)
	default:
		t.add("see what takes the machine's CPU or disk, and which checks take long: healthhub lint says what they cost",
			"the look at %s began %s late: the machine has no time for it, or too many checks take long", s.late.Check, late)
	}
	s.reports(to, now, &t)
	s.unsupported(checks, &t)
	if len(t.texts) > 0 {
		return warn("health", now, "%s", strings.Join(t.texts, "; ")).do(strings.Join(t.actions, "; "))
	}
	text := fmt.Sprintf("looks at %d checks", len(checks))
	if to != nil && !to.LastOK.IsZero() {
		text += ", and reports arrive at " + to.To
	}
	return node("health", health.Pass, now, text)
}

// reports tells of reports that do not arrive.
func (s *self) reports(to *report.Status, now time.Time, t *troubles) {
	if to == nil || to.Error == "" {
		s.silent = time.Time{}
		return
	}
	if s.silent.IsZero() {
		s.silent = now
	}
	if now.Sub(s.silent) >= reportGrace {
		t.add("see that healthhub serve runs there and is reachable from here, and what it logs of this container; the newest state is sent when it answers",
			"reports do not arrive at %s: %s", to.To, to.Error)
	}
}

// unsupported tells of checks that the settings ask for and that cannot be made here.
func (s *self) unsupported(checks []health.Node, t *troubles) {
	var names []string
	for i := range checks {
		if _, declared := s.declared[checks[i].Name]; declared && checks[i].HasFlag(health.FlagUnsupported) {
			names = append(names, checks[i].Name)
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		t.add("make it readable, as its text says, or take the check out of health.checks", "cannot be looked at here: %s", strings.Join(names, ", "))
	}
}
