// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// sayEvery is how often a waiting start says what it waits for.
const sayEvery = 5 * time.Second

const (
	alarmSay      = "say"
	alarmDeadline = "start deadline"
)

// begin starts the hubs and waits at the gate, if there is one.
func (s *supervisor) begin() {
	s.writeState() // a hub may look for it at once
	s.startHubs()
	if s.set.startDeadline > 0 {
		s.alarms.set(alarmDeadline, s.set.startDeadline, s.deadlinePassed)
	}
	gatekeeper := s.hubs[initctl.Confighub]
	switch {
	case gatekeeper == nil:
		s.openGate("no confighub")
	case gatekeeper.state.State == initctl.HubOff:
		s.judgeGate(gatekeeper, false)
	default:
		s.state.Service.Waiting = "confighub: identity and first configuration"
		s.alarms.set(alarmSay, sayEvery, s.sayWaiting)
	}
	s.writeState()
}

// openGate lets the start go on. Later calls do nothing.
func (s *supervisor) openGate(why string) {
	if s.phase != phaseGate {
		return
	}
	s.alarms.clear(alarmSay)
	s.state.Service.Waiting = ""
	s.state.Service.State = initctl.ServiceStarting
	s.changed()
	s.phase = phaseHooks
	s.log.info("starting the service", "because", why)
	s.runHooks("init.d", s.startService, func(code int, what string) { s.end(code, what) })
}

// judgeGate is asked when confighub has ended. At a closed gate: done without a
// word counts as ready, wrong settings end the container, a crash is retried.
func (s *supervisor) judgeGate(h *hub, wasReady bool) {
	if s.phase != phaseGate {
		return
	}
	switch {
	case wasReady || h.state.State == initctl.HubDone:
		s.openGate("confighub is done")
	case h.state.State == initctl.HubOff:
		s.log.error("the service cannot be started without its configuration: confighub is off, see its message above")
		s.end(exitSettings, "confighub is off before the first configuration")
	}
}

// sayWaiting tells people what the start waits for, in confighub's own words if
// it has written any.
func (s *supervisor) sayWaiting() {
	text := ""
	if f, err := health.ReadFile(s.run.path, health.ConfigFile); err == nil {
		text = f.Health.Text
	}
	s.log.warn("waiting with the start of the service", "for", s.state.Service.Waiting,
		"since", time.Since(s.state.StartedAt).Round(time.Second), "confighub_says", text)
	s.alarms.set(alarmSay, sayEvery, s.sayWaiting)
}

// deadlinePassed ends a container whose service does not run in time.
func (s *supervisor) deadlinePassed() {
	if s.phase > phaseHooks {
		return
	}
	s.log.error("the start took longer than "+initctl.EnvStartDeadline, "deadline", s.set.startDeadline, "waiting_for", s.state.Service.Waiting)
	s.end(exitSettings, "start deadline passed")
}
