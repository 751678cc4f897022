// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"errors"
	"os"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// requestPause bounds what a hub that has gone mad can make hubinit do: a
// thousand requests a second.
const requestPause = time.Millisecond

const alarmHold = "hold"

// ctlPipe carries one hub's requests. It outlives the hub's processes, so a
// request written just before a crash still counts.
type ctlPipe struct {
	r *os.File
	w int
}

// openCtl makes the hub's request pipe and its reader.
func (s *supervisor) openCtl(h *hub) error {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return err
	}
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		return err
	}
	h.ctl = ctlPipe{r: os.NewFile(uintptr(fds[0]), "ctl"), w: fds[1]}
	s.spawn(func() {
		readRequests(h.ctl.r, func(line string) bool {
			return s.post(func() { s.request(h, line) })
		})
	})
	return nil
}

// readRequests hands over one line after another until take refuses or the pipe
// is closed. A line that is too long is handed over cut, so that it is refused.
func readRequests(r *os.File, take func(line string) bool) {
	lines := bufio.NewReaderSize(r, 2*initctl.MaxRequestBytes)
	for {
		line, err := lines.ReadSlice('\n')
		text := string(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = lines.ReadSlice('\n')
		}
		if err != nil || !take(text) {
			return
		}
		time.Sleep(requestPause)
	}
}

// request deals with one line of a hub.
func (s *supervisor) request(h *hub, line string) {
	r, err := initctl.ParseRequest(line)
	if err == nil {
		err = s.serve(h, r)
	}
	if errors.Is(err, errPending) {
		return // answered by the restart
	}
	if err != nil {
		s.log.warn("request of a hub refused", "hub", h.name, "request", r.String(), "error", err)
		s.answer(h.name, r, initctl.AnswerRefused, err.Error())
		return
	}
	s.answer(h.name, r, initctl.AnswerOK, "")
}

func (s *supervisor) answer(from string, r initctl.Request, state, text string) {
	if r.ID == "" {
		return // a line that names nobody cannot be answered
	}
	s.state.AddAnswer(initctl.Answer{ID: r.ID, From: from, Verb: r.Verb, State: state, Error: text, At: time.Now().UTC()})
	s.changed()
}

// errPending: the answer comes later.
var errPending = errors.New("pending")

var (
	errStopping   = errors.New("the container is stopping")
	errNotRunning = errors.New("the service is not running")
)

// serve does what is asked.
func (s *supervisor) serve(h *hub, r initctl.Request) error {
	switch r.Verb {
	case initctl.Hold:
		return s.hold(h, r.Hold)
	case initctl.Release:
		s.release("the hold was released after the service had ended")
		return nil
	case initctl.Restart:
		return s.requestRestart(h, r)
	case initctl.Signal:
		if s.phase >= phaseStopping {
			return errStopping
		}
		if s.service.pid == 0 || s.service.restart.underway() {
			return errNotRunning
		}
		s.log.info("signal for the service", "hub", h.name, "signal", initctl.SignalName(r.Signal))
		return s.service.send(r.Signal)
	case initctl.Wait:
		return s.wait(h, r)
	}
	return errors.New("unknown request")
}

// hold keeps the container alive should the service exit.
func (s *supervisor) hold(h *hub, d time.Duration) error {
	if s.phase >= phaseStopping {
		return errStopping
	}
	s.state.Hold = &initctl.HoldState{By: h.name, Until: time.Now().Add(d).UTC()}
	s.changed()
	s.alarms.set(alarmHold, d, func() { s.release("the hold ran out after the service had ended") })
	return nil
}

// release ends the hold; a service that ended meanwhile now ends the container.
func (s *supervisor) release(why string) {
	s.alarms.clear(alarmHold)
	if s.state.Hold == nil {
		return
	}
	s.state.Hold = nil
	s.changed()
	v := &s.service
	if s.phase == phaseService && v.pid == 0 && v.exit != nil && !v.restart.underway() {
		s.end(v.exit.Code, why)
	}
}
