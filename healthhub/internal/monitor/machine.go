// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"fmt"
	"slices"

	"cloud4.internal/hub/internal/health"
)

// machine makes a stable state out of looks. It knows no time.
//
// The state worsens to s after fall looks in a row that were s or worse, and gets better to s after rise looks in
// a row that were s or better. Its first success, pass or warn, acts at once, so that a container is healthy as
// soon as it is. Until then it is starting, or, when the time to start is over, what was seen last.
type machine struct {
	fall, rise int

	state     health.State   // what is told
	succeeded bool           // had its first success
	late      bool           // the time to start is over
	recent    []health.State // what the last looks saw, newest last; at most max(fall, rise)
}

func newMachine(fall, rise int) machine {
	return machine{fall: fall, rise: rise, state: health.Starting}
}

// see takes what a look saw: pass, warn, unknown or fail.
func (m *machine) see(raw health.State) {
	if keep := max(m.fall, m.rise); len(m.recent) >= keep {
		m.recent = slices.Delete(m.recent, 0, len(m.recent)-keep+1)
	}
	m.recent = append(m.recent, raw)
	switch {
	case !m.succeeded && raw <= health.Warn:
		m.succeeded, m.state = true, raw
	case !m.succeeded && m.late:
		m.state = raw
	case m.succeeded:
		if best, ok := m.last(m.fall, slices.Min[[]health.State]); ok && best > m.state {
			m.state = best
		}
		if worst, ok := m.last(m.rise, slices.Max[[]health.State]); ok && worst < m.state {
			m.state = worst
		}
	}
}

// last sums up the last n looks; ok is false while there were not as many.
func (m *machine) last(n int, sum func([]health.State) health.State) (s health.State, ok bool) {
	if len(m.recent) < n {
		return 0, false
	}
	return sum(m.recent[len(m.recent)-n:]), true
}

// giveUp ends the time to start: without a success the state is what was seen last, unknown if nothing was.
func (m *machine) giveUp() {
	if m.late {
		return
	}
	m.late = true
	if m.succeeded {
		return
	}
	m.state = health.Unknown
	if n := len(m.recent); n > 0 {
		m.state = m.recent[n-1]
	}
}

// pending tells of looks that differ from the state but are too few to change it: "fail 2/3".
func (m *machine) pending() string {
	n := len(m.recent)
	if n == 0 || !m.succeeded || m.recent[n-1] == m.state {
		return ""
	}
	raw, need := m.recent[n-1], m.rise
	worse := raw > m.state
	if worse {
		need = m.fall
	}
	count := 0
	for i := n - 1; i >= 0 && m.recent[i] != m.state && m.recent[i] > m.state == worse; i-- {
		count++
	}
	return fmt.Sprintf("%v %d/%d", raw, min(count, need), need)
}
