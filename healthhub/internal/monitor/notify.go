// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// The checks that a service makes which speaks the protocol of sd_notify(3). Settings that declare a push check of the same name
// say what it counts for.
//
// ready, of class started and degrading, is there once the service has said READY=1: from then on it is known to say so.
// After each restart of its process in the container it is starting until it does, and fails when the time to start is over.
//
// watchdog, of class live and critical, is there once the service has said WATCHDOG=1: it has promised to say so again, and one
// that is silent for longer than it said hangs, whatever its ports accept. systemd would kill it.
const (
	readyCheck    = "ready"
	watchdogCheck = "watchdog"
)

const (
	// defaultWatchdog is for a service that says WATCHDOG=1 and not how often it will.
	defaultWatchdog = time.Minute
	// maxExtend bounds how far a service can put off the end of its time to start with one message.
	maxExtend = time.Hour
)

// notified is what the service has said of itself.
type notified struct {
	process  time.Time     // when the process started that said so, by hubinit's date; zero: without hubinit
	ready    bool          //
	stopping bool          //
	status   string        // in its own words
	watched  bool          // it has said that it lives
	watchdog time.Duration // how often it said it would say that it lives; 0: it has not
	extended time.Time     // until when it asked to be left to start; zero: it has not
}

// Notify takes a message of the service as sd_notify(3) sends it: lines KEY=VALUE. It understands READY, STOPPING, RELOADING, STATUS,
// WATCHDOG, WATCHDOG_USEC and EXTEND_TIMEOUT_USEC, and passes over all others. Who may send one is for the caller to decide.
// An error is about one line; the others are taken.
func (m *Monitor) Notify(message string) error {
	var bad []error
	process := m.process()
	m.mu.Lock()
	now := time.Now()
	m.restarted(process, now)
	for line := range strings.Lines(message) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if err := m.notice(key, value, now); err != nil {
			bad = append(bad, err)
		}
	}
	m.mu.Unlock()
	m.refresh()
	return errors.Join(bad...)
}

// Stopping reports whether the service has said that it is on its way down, and its last word on how it is.
func (m *Monitor) Stopping() (stopping bool, status string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.notified.stopping, m.notified.status
}

// notice takes one line. The caller holds the lock.
func (m *Monitor) notice(key, value string, now time.Time) error {
	n := &m.notified
	switch key {
	case "READY":
		if value == "1" {
			n.ready, n.stopping = true, false
			m.sayReady(now)
		}
	case "STOPPING":
		if value == "1" {
			n.stopping = true
			m.disarm(now, "the service is stopping")
		}
	case "STATUS":
		n.status = health.CleanText(value)
		if n.ready {
			m.sayReady(now)
		}
	case "WATCHDOG":
		switch value {
		case "1":
			m.alive(now)
		case "trigger":
			m.say(watchdogCheck, now, health.Fail, "the service says that it is stuck (WATCHDOG=trigger)", 0, "")
		}
	case "WATCHDOG_USEC":
		d, err := microseconds(key, value)
		if err != nil {
			return err
		}
		n.watchdog = min(d, maxTTL)
		if d == 0 {
			m.disarm(now, "the service has switched its watchdog off")
			n.watched = false
		}
	case "EXTEND_TIMEOUT_USEC":
		d, err := microseconds(key, value)
		if err != nil {
			return err
		}
		n.extended = now.Add(min(d, maxExtend))
	}
	return nil
}

func microseconds(key, value string) (time.Duration, error) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s=%.40q: must be a number of microseconds", key, value)
	}
	return time.Duration(min(n, uint64(maxTTL/time.Microsecond))) * time.Microsecond, nil
}

func (m *Monitor) sayReady(now time.Time) {
	text := "the service has said that it is ready"
	if m.notified.status != "" {
		text += ": " + m.notified.status
	}
	m.say(readyCheck, now, health.Pass, text, 0, "")
	m.wakeUnstarted()
}

// wakeUnstarted looks at once at what has not passed yet.
func (m *Monitor) wakeUnstarted() {
	for _, c := range m.checks {
		if c.Look != nil && !c.succeeded && !m.started.IsZero() && c.runs > 0 {
			wake(c.kick)
		}
	}
}

// alive takes a sign of life.
func (m *Monitor) alive(now time.Time) {
	d := m.notified.watchdog
	if d == 0 {
		d = max(m.Watchdog, 0)
	}
	if d == 0 {
		d = defaultWatchdog
	}
	m.notified.watched = true
	d = max(d, tick) // ages are not looked at more often
	m.say(watchdogCheck, now, health.Pass, "the service says that it lives, at least every "+setting.Words(d), d,
		"the service has not said for "+setting.Words(d)+" that it lives (WATCHDOG=1), as it had promised: it hangs")
}

// disarm ends a watch until the next sign of life.
func (m *Monitor) disarm(now time.Time, why string) {
	if m.notified.watched {
		m.say(watchdogCheck, now, health.Pass, why+"; it is watched again from its next sign of life on", 0, "")
	}
}

// say is a report of the service on one of its checks. It holds for d, 0: until the next one, and then overdue is told. A
// check of that name that is looked at stays what it is. The caller holds the lock.
func (m *Monitor) say(name string, now time.Time, s health.State, text string, d time.Duration, overdue string) {
	c, err := m.pushed(name, now)
	if err != nil || c.Look != nil {
		return
	}
	if c.undeclared { // by its first word; what the settings declare is as they say
		c.undeclared = false
		c.StartDeadline = setting.DefaultCheck(setting.KindPush).StartDeadline
		if name == readyCheck {
			c.Class = setting.ClassStarted
		} else {
			c.Class, c.Criticality = setting.ClassLive, setting.Critical
		}
		c.flags = c.told.flags(c)
	}
	m.report(c, now, s, text, d)
	c.overdue = overdue
}

// process reads when the service's process started; zero where hubinit does not say.
func (m *Monitor) process() time.Time {
	state, err := initctl.ReadState(m.RunDir)
	if err != nil {
		return time.Time{}
	}
	return state.Service.StartedAt
}

// restarted notes that the service may be another process by now: it has not said anything yet. The caller holds the lock.
func (m *Monitor) restarted(process, now time.Time) {
	n := &m.notified
	if process.Equal(n.process) || process.IsZero() {
		return
	}
	before := *n
	*n = notified{process: process}
	m.news = true
	if before.process.IsZero() {
		return
	}
	if i, ok := m.index(readyCheck); ok && before.ready && m.checks[i].Look == nil {
		deadline := m.checks[i].StartDeadline
		m.say(readyCheck, now, health.Starting, "the service was restarted and has not said yet that it is ready", max(deadline, tick),
			"the service was restarted and has not said within "+setting.Words(deadline)+" that it is ready (READY=1), as it did before")
	}
	if i, ok := m.index(watchdogCheck); ok && before.watched && m.checks[i].Look == nil {
		deadline := max(m.checks[i].StartDeadline, tick)
		m.say(watchdogCheck, now, health.Pass, "the service was restarted, and is watched from its first sign of life on", deadline,
			"the service was restarted and has not said within "+setting.Words(deadline)+" that it lives (WATCHDOG=1), as it did before")
	}
}

// watchService looks whether the service was restarted, where it has ever said anything.
func (m *Monitor) watchService() {
	m.mu.Lock()
	speaks := !m.notified.process.IsZero()
	m.mu.Unlock()
	if !speaks {
		return
	}
	process := m.process()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restarted(process, time.Now())
}
