// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"syscall"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// stopHooksTime is what all of stop.d have together, so that a hook that hangs
// cannot eat the ten seconds Docker gives.
const stopHooksTime = 3 * time.Second

const (
	alarmGrace     = "stop grace"
	alarmStopHooks = "stop hooks"
)

// stopSignal is a TERM, INT, QUIT or RTMIN+3 for the container.
func (s *supervisor) stopSignal(sig syscall.Signal) {
	name := initctl.SignalName(sig)
	switch {
	case s.phase < phaseService:
		s.cancelHooks(syscall.SIGTERM)
		s.ending.asked = initctl.StoppedBy + name
		s.end(exitSignal+int(sig), "told to stop before the service ran")
	case s.phase == phaseService:
		s.log.info("told to stop", "signal", name)
		s.ending.asked, s.ending.askedAt = initctl.StoppedBy+name, time.Now()
		s.beginStop(sig)
	case s.phase == phaseStopping && !s.ending.forwarded:
		s.cancelHooks(syscall.SIGKILL)
		s.forwardStop(sig)
	case s.phase == phaseStopping:
		s.service.send(sig)
	}
}

// beginStop runs stop.d and then passes the signal on.
func (s *supervisor) beginStop(sig syscall.Signal) {
	s.phase = phaseStopping
	s.state.Stopping = s.ending.asked
	s.cancelRestart()
	s.state.Hold = nil
	s.alarms.clear(alarmHold)
	s.changed()
	if s.service.pid == 0 { // ended while held or between two lives
		s.end(s.service.exit.Code, "told to stop after the service had ended")
		return
	}
	s.state.Service.State, s.state.Service.Ready = initctl.ServiceStopping, false
	if s.set.stopGrace > 0 {
		s.alarms.set(alarmGrace, s.set.stopGrace, func() {
			s.log.warn("the service did not stop within "+initctl.EnvStopGrace+": killing it", "grace", s.set.stopGrace)
			s.ending.killed = append(s.ending.killed, "service")
			s.service.send(syscall.SIGKILL)
		})
	}
	s.alarms.set(alarmStopHooks, stopHooksTime, func() {
		s.log.warn("stop.d took too long: going on without it", "limit", stopHooksTime)
		s.cancelHooks(syscall.SIGKILL)
		s.forwardStop(sig)
	})
	s.runHooks("stop.d", func() { s.forwardStop(sig) }, func(int, string) { s.nextHook() })
}

// forwardStop passes the stop signal on as it came.
func (s *supervisor) forwardStop(sig syscall.Signal) {
	s.alarms.clear(alarmStopHooks)
	s.ending.forwarded = true
	s.service.send(sig)
}
