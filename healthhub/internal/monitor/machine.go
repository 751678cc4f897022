// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"fmt"

	"cloud4.internal/hub/internal/health"
)

// machine makes a stable state out of looks. It knows no time.
//
// A state is reached from below after fall looks in a row that were this bad or worse, and left for a better one after rise
// looks in a row that were better: for each state, "at least this bad" is a question of its own, with a counter for yes and
// one for no, and every answer resets the other's counter. Other checkers know success and failure only. The first success, pass or warn, acts at once,
// so that a container is healthy as soon as it is. Until then it is starting; failures count for nothing. When the time to
// start is over it fails if anything was seen; if not, failures are counted from then on like all others.
type machine struct {
	fall, rise int

	state     health.State // what the looks add up to
	succeeded bool         // had its first success
	late      bool         // the time to start is over
	window    window       // since the first success, or since it was made
	flapping  bool
}

func newMachine(fall, rise int) machine {
	return machine{fall: fall, rise: rise, state: health.Starting}
}

// see takes what a look saw: pass, warn, unknown or fail.
func (m *machine) see(raw health.State) {
	if !m.succeeded && raw <= health.Warn {
		m.succeeded, m.state, m.window = true, raw, window{} // what was before the first success is no change of mind
	}
	m.window.add(raw)
	switch {
	case !m.succeeded && !m.late:
		return
	case m.window.count >= m.fall && m.window.best(m.fall) > m.state:
		m.state = m.window.best(m.fall)
	case m.succeeded && m.window.count >= m.rise && m.window.worst(m.rise) < m.state:
		m.state = m.window.worst(m.rise)
	}
	switch {
	case m.succeeded:
		m.flap()
	case m.state > health.Starting:
		m.state = health.Fail // it did not start in time, whatever the looks said
	}
}

// giveUp ends the time to start.
func (m *machine) giveUp() {
	if m.late {
		return
	}
	m.late = true
	if !m.succeeded && m.window.count > 0 {
		m.state = health.Fail
	}
}

// told is the state that goes out: while a thing changes its mind all the time, the worst it was lately.
func (m *machine) told() health.State {
	if m.flapping {
		return m.window.worst(m.window.count)
	}
	return m.state
}

// pending tells of looks that differ from the state but are too few to change it: "fail 2/3".
func (m *machine) pending() string {
	n := m.window.count
	if n == 0 || m.flapping || !m.succeeded && !m.late {
		return ""
	}
	raw := m.window.ago(0)
	if raw == m.state || !m.succeeded && m.state == health.Fail {
		return ""
	}
	need, worse := m.rise, raw > m.state
	if worse {
		need = m.fall
	}
	count := 0
	for count < n && m.window.ago(count) != m.state && m.window.ago(count) > m.state == worse {
		count++
	}
	return fmt.Sprintf("%v %d/%d", raw, min(count, need), need)
}

// When a thing is flapping: Nagios looks at as many results; the counts of changes are ours.
const (
	windowLooks = 21 // also as many as fall and rise can ask for, which is 20
	flapStart   = 6  // changes in the window
	flapEnd     = 2
)

func (m *machine) flap() {
	switch n := m.window.changes(); {
	case n >= flapStart:
		m.flapping = true
	case n <= flapEnd:
		m.flapping = false
	}
}

// window is what the last looks saw.
type window struct {
	looks [windowLooks]health.State
	next  int // where the next look goes
	count int // how many there are
}

func (w *window) add(s health.State) {
	w.looks[w.next] = s
	w.next = (w.next + 1) % windowLooks
	w.count = min(w.count+1, windowLooks)
}

// ago gives the look i looks before the last one.
func (w *window) ago(i int) health.State {
	return w.looks[(w.next-1-i+2*windowLooks)%windowLooks]
}

// best and worst of the last n looks.
func (w *window) best(n int) health.State {
	s := health.Fail
	for i := range n {
		s = min(s, w.ago(i))
	}
	return s
}

func (w *window) worst(n int) health.State {
	s := health.Pass
	for i := range n {
		s = max(s, w.ago(i))
	}
	return s
}

// changes counts the looks that saw something else than the one before.
func (w *window) changes() int {
	n := 0
	for i := range w.count - 1 {
		if w.ago(i) != w.ago(i+1) {
			n++
		}
	}
	return n
}
