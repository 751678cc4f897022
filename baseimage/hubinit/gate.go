// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// sayEvery is how often a waiting start says what it waits for.
const sayEvery = 5 * time.Second

// Healthhub's part of the gate. hubinit knows no settings, so whether there is something to wait for it learns
// from healthhub alone, and a broken healthhub must not keep the service from starting.
const (
	// firstWord is how long healthhub has from its start to say "ready" or "wait". It takes some 15 ms, and seconds on a small
	// machine that starts thirty containers at once, which is when there is most to wait for.
	firstWord = 15 * time.Second
	// maxFalls is how often it may end at the closed gate before it is not waited for any more.
	maxFalls = 3
)

const (
	alarmSay      = "say"
	alarmDeadline = "start deadline"
	alarmLease    = "healthhub's part of the gate"
)

// gate is what the start of the service waits for: confighub, until the first configuration is in place, and healthhub,
// until what the service depends on is there.
type gate struct {
	holders map[string]string // hub → what it waits for; the gate is open when nobody is left
	falls   int               // how often healthhub ended before it was ready
}

// begin starts the hubs and waits at the gate, if there is one.
func (s *supervisor) begin() {
	s.writeState() // a hub may look for it at once
	s.startHubs()
	if s.set.startDeadline > 0 {
		s.alarms.set(alarmDeadline, s.set.startDeadline, s.deadlinePassed)
	}
	s.closeGate()
	for _, name := range []string{initctl.Confighub, initctl.Healthhub} {
		if h := s.hubs[name]; h != nil && h.state.State == initctl.HubOff {
			s.judgeGate(h, false)
		}
	}
	s.letGo("", "no hub to wait for")
	s.writeState()
}

// closeGate notes who is waited for.
func (s *supervisor) closeGate() {
	s.gate.holders = map[string]string{}
	if s.hubs[initctl.Confighub] != nil {
		s.gate.holders[initctl.Confighub] = "identity and first configuration"
	}
	if s.hubs[initctl.Healthhub] != nil {
		s.gate.holders[initctl.Healthhub] = "its settings, which say what else the start waits for"
		s.alarms.set(alarmLease, firstWord, s.leaseOver)
	}
	s.alarms.set(alarmSay, sayEvery, s.sayWaiting)
	s.describeGate()
}

// describeGate puts into words, for init.json, what the start waits for.
func (s *supervisor) describeGate() {
	text := ""
	for _, name := range []string{initctl.Confighub, initctl.Healthhub} {
		what, holds := s.gate.holders[name]
		switch {
		case holds && text != "":
			text += "; " + name + ": " + what
		case holds:
			text = name + ": " + what
		}
	}
	if text != s.state.Service.Waiting {
		s.state.Service.Waiting = text
		s.changed()
	}
}

// letGo takes a hub's part of the gate away; the last one opens it.
func (s *supervisor) letGo(name, why string) {
	if s.phase != phaseGate {
		return
	}
	delete(s.gate.holders, name)
	if name == initctl.Healthhub {
		s.alarms.clear(alarmLease)
	}
	s.describeGate()
	if len(s.gate.holders) == 0 {
		s.openGate(why)
	}
}

// openGate lets the start go on.
func (s *supervisor) openGate(why string) {
	s.alarms.clear(alarmSay)
	s.state.Service.State = initctl.ServiceStarting
	s.changed()
	s.phase = phaseHooks
	s.log.info("starting the service", "because", why)
	s.runHooks("init.d", s.startService, func(code int, what string) { s.end(code, what) })
}

// judgeGate is asked when a hub that is waited for has ended. At a closed gate: done without a word counts as ready. Wrong
// settings of confighub end the container, and a crash is retried; healthhub's settings are no reason not to start.
func (s *supervisor) judgeGate(h *hub, wasReady bool) {
	if _, holds := s.gate.holders[h.name]; s.phase != phaseGate || !holds {
		return
	}
	switch off := h.state.State == initctl.HubOff; {
	case wasReady: // its end was heard of before its word
		s.letGo(h.name, h.name+" is ready")
	case h.state.State == initctl.HubDone:
		s.letGo(h.name, h.name+" is done")
	case off && h.name == initctl.Confighub:
		s.log.error("the service cannot be started without its configuration: confighub is off, see its message above")
		s.end(exitSettings, "confighub is off before the first configuration")
	case off:
		s.log.warn("healthhub is off: what health.wait_for names, if it does, is not waited for")
		s.letGo(h.name, "healthhub is off")
	case h.name == initctl.Healthhub:
		if s.gate.falls++; s.gate.falls >= maxFalls {
			s.log.warn("healthhub ends again and again: what health.wait_for names, if it does, is not waited for", "times", s.gate.falls)
			s.letGo(h.name, "healthhub does not stay up")
		}
	}
}

var (
	errGateOpen  = errors.New("the start of the service has gone on already")
	errNoWaiting = errors.New("only healthhub may keep the start waiting, until it is ready and while it stays up")
)

// wait renews healthhub's part of the gate. One that was silent for a while may take it again.
func (s *supervisor) wait(h *hub, r initctl.Request) error {
	switch {
	case s.phase != phaseGate:
		return errGateOpen
	case h.name != initctl.Healthhub || h.state.Ready || s.gate.falls >= maxFalls:
		return errNoWaiting
	}
	s.gate.holders[h.name] = r.What
	s.describeGate()
	s.alarms.set(alarmLease, r.Wait, s.leaseOver)
	return nil
}

// leaseOver ends the part of a healthhub that hangs.
func (s *supervisor) leaseOver() {
	s.log.warn("healthhub says nothing any more: what it waited for is not waited for", "it_was", s.gate.holders[initctl.Healthhub])
	s.letGo(initctl.Healthhub, "healthhub is silent")
}

// sayWaiting tells people what the start waits for, in confighub's own words if
// it has written any.
func (s *supervisor) sayWaiting() {
	facts := []any{"for", s.state.Service.Waiting, "since", time.Since(s.state.StartedAt).Round(time.Second)}
	if _, holds := s.gate.holders[initctl.Confighub]; holds {
		text := ""
		if f, err := health.ReadFile(s.run.path, health.ConfigFile); err == nil {
			text = f.Health.Text
		}
		facts = append(facts, "confighub_says", text)
	}
	s.log.warn("waiting with the start of the service", facts...)
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
