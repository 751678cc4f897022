// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// restartGrace is how long a service has to stop for an in-place restart when
// HUB_STOP_GRACE is unset: Docker's own default.
const restartGrace = 10 * time.Second

// groupGrace is how long the rest of the old service's process group has before
// the new one starts.
const groupGrace = time.Second

const (
	alarmRestartKill = "restart kill"
	alarmGroup       = "old group"
)

// restart is an in-place restart under way; those who asked wait for its answer.
type restart struct {
	asked []askedRestart
}

type askedRestart struct {
	from    string
	request initctl.Request
}

func (r *restart) underway() bool { return len(r.asked) > 0 }

// requestRestart begins a restart or joins the one under way.
func (s *supervisor) requestRestart(h *hub, r initctl.Request) error {
	v := &s.service
	switch {
	case s.phase >= phaseStopping:
		return errStopping
	case s.phase < phaseService:
		return nil // the start, which is still to come, does it
	case s.state.Hold != nil && s.state.Hold.By != h.name:
		return fmt.Errorf("%s holds the service", s.state.Hold.By)
	}
	joined := v.restart.underway()
	v.restart.asked = append(v.restart.asked, askedRestart{from: h.name, request: r})
	s.answer(h.name, r, initctl.AnswerPending, "")
	if joined {
		return errPending
	}
	s.log.info("restarting the service in place", "hub", h.name)
	if v.pid == 0 {
		s.startAgain()
		return errPending
	}
	s.state.Service.State, s.state.Service.Ready = initctl.ServiceStopping, false
	s.changed()
	v.send(s.set.stopSignal)
	grace := restartGrace
	if s.set.stopGrace > 0 {
		grace = s.set.stopGrace
	}
	s.alarms.set(alarmRestartKill, grace, func() {
		s.log.warn("the service did not stop for its restart: killing it", "after", grace)
		v.send(syscall.SIGKILL)
	})
	return errPending
}

// clearGroup waits until nothing of the old service's process group is left,
// which might hold its port or its lock, and then starts the new one.
func (s *supervisor) clearGroup(group int) {
	s.alarms.clear(alarmRestartKill)
	if syscall.Kill(-group, 0) != nil {
		s.startAgain()
		return
	}
	syscall.Kill(-group, syscall.SIGTERM)
	deadline := time.Now().Add(groupGrace)
	var look func()
	look = func() {
		if syscall.Kill(-group, 0) != nil {
			s.startAgain()
			return
		}
		if time.Now().After(deadline) {
			syscall.Kill(-group, syscall.SIGKILL)
		}
		s.alarms.set(alarmGroup, 10*time.Millisecond, look)
	}
	s.alarms.set(alarmGroup, 10*time.Millisecond, look)
}

// startAgain starts the new process and answers those who asked.
func (s *supervisor) startAgain() {
	asked := s.service.restart.asked
	s.service.restart = restart{}
	err := s.execService()
	state, text := initctl.AnswerOK, ""
	if err != nil {
		state, text = initctl.AnswerRefused, err.Error()
	} else {
		s.state.Service.Restarts++
	}
	for _, a := range asked {
		s.answer(a.from, a.request, state, text)
	}
	if err != nil {
		s.serviceNotStarted(err)
	}
}

// cancelRestart refuses what is under way: the container stops.
func (s *supervisor) cancelRestart() {
	s.alarms.clear(alarmRestartKill, alarmGroup)
	for _, a := range s.service.restart.asked {
		s.answer(a.from, a.request, initctl.AnswerRefused, errStopping.Error())
	}
	s.service.restart = restart{}
}
