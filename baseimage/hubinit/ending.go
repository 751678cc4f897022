// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"syscall"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// Times of the container's end, from the service's exit on.
const (
	endTime       = 2 * time.Second        // then what remains is killed
	endTimeEarly  = 800 * time.Millisecond // the same when the service never ran
	leftoverTime  = 1200 * time.Millisecond
	hubShare      = 5                      // healthhub and confighub have endTime/5 each, loghub the rest
	unkillable    = 300 * time.Millisecond // what KILL does not end by then is not waited for
	flushTime     = 500 * time.Millisecond // for what is on its way to the container's stdout, and stderr
	lookLeftovers = 25 * time.Millisecond
)

const alarmLeftovers = "leftovers"

// ending is the container's end: why, what it takes and how long.
type ending struct {
	asked     string    // "signal TERM"; "": nobody asked
	askedAt   time.Time // zero: nobody asked while the service ran
	forwarded bool      // the stop signal went to the service
	code      int
	why       string
	began     time.Time     // about the service's exit
	limit     time.Duration // from began
	told      map[string]bool
	termed    map[int]bool  // leftovers that got TERM
	leftFor   time.Duration // how long leftovers were there
	leftGone  bool
	killed    []string
	done      bool
}

// end begins the container's end. What comes first decides the exit code.
func (s *supervisor) end(code int, why string) {
	if s.phase == phaseEnding {
		return
	}
	early := s.phase < phaseService
	s.phase = phaseEnding
	e := &s.ending
	e.code, e.why, e.began, e.limit = s.succeeds(code), why, time.Now(), endTime
	e.told, e.termed = map[string]bool{}, map[int]bool{}
	if early {
		e.limit = endTimeEarly
	}
	clear(s.alarms)
	s.cancelRestart()
	s.cancelHooks(syscall.SIGTERM)
	if s.state.Stopping == "" {
		s.state.Stopping = why
	}
	s.state.Service.State, s.state.Service.PID, s.state.Service.Ready = initctl.ServiceExited, 0, false
	ends := e.code
	s.state.Service.Waiting, s.state.Hold, s.state.ExitCode = "", nil, &ends
	s.writeState() // healthhub reports how a job ended, and is told to stop next
	s.alarms.set("end", e.limit, s.endNow)
	s.advanceEnd()
}

// advanceEnd takes the next step that can be taken: leftovers, healthhub and
// confighub go at the same time, loghub when they are gone, so that it reads the
// last word of each.
func (s *supervisor) advanceEnd() {
	e := &s.ending
	s.clearLeftovers()
	for _, name := range stopOrder() {
		h := s.hubs[name]
		if !h.running() {
			continue
		}
		if name == initctl.Loghub && !e.leftGone {
			return
		}
		s.stopHub(h)
		return
	}
	e.done = e.leftGone
}

// stopHub tells the hub once and kills it when its share of the time is over.
func (s *supervisor) stopHub(h *hub) {
	if s.ending.told[h.name] {
		return
	}
	s.ending.told[h.name] = true
	syscall.Kill(h.state.PID, syscall.SIGTERM)
	if h.name != initctl.Loghub {
		s.alarms.set("kill "+h.name, s.ending.limit/hubShare, func() { s.killHub(h) })
	}
}

func (s *supervisor) killHub(h *hub) {
	if h.running() {
		s.ending.killed = append(s.ending.killed, h.name)
		syscall.Kill(-h.state.PID, syscall.SIGKILL) // its session's group: a hub leads both
	}
}

// clearLeftovers tells what the service left behind, daemons included, to end,
// and kills what has not when its time is over.
func (s *supervisor) clearLeftovers() {
	e := &s.ending
	if e.leftGone {
		return
	}
	rest := s.leftovers()
	if len(rest) == 0 {
		e.leftGone, e.leftFor = true, time.Since(e.began)
		s.alarms.clear(alarmLeftovers)
		return
	}
	over := time.Since(e.began) >= min(leftoverTime, e.limit/2+e.limit/10)
	for _, pid := range rest {
		switch {
		case over:
			if e.termed[pid] {
				e.killed = append(e.killed, commandOf(pid))
			}
			delete(e.termed, pid)
			syscall.Kill(pid, syscall.SIGKILL)
		case !e.termed[pid]:
			e.termed[pid] = true
			syscall.Kill(pid, syscall.SIGTERM)
		}
	}
	s.alarms.set(alarmLeftovers, lookLeftovers, s.advanceEnd)
}

// endNow is the time limit: whatever remains is killed and hardly waited for.
func (s *supervisor) endNow() {
	for _, name := range stopOrder() {
		if h := s.hubs[name]; h != nil {
			s.killHub(h)
		}
	}
	for _, pid := range s.leftovers() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	s.alarms.set("end", unkillable, func() { s.ending.done = true })
}

// finish drains what is left, says why the container ends and returns its code.
func (s *supervisor) finish() int {
	e := &s.ending
	hubsFor := time.Since(e.began)
	if s.pipes != nil {
		s.pipes.drainRest(flushTime)
	}
	s.countPipes()
	s.writeState()
	close(s.quit)
	for _, h := range s.hubs {
		if h.ctl.r != nil {
			h.ctl.r.Close()
		}
	}
	s.awaitTasks()
	s.report(hubsFor)
	return e.code
}

// awaitTasks waits for the readers of the hubs' pipes, which all have ended with
// them, unless a hub is unkillable.
func (s *supervisor) awaitTasks() {
	all := make(chan struct{})
	go func() {
		s.tasks.Wait()
		close(all)
	}()
	select {
	case <-all:
	case <-time.After(unkillable):
	}
}

// report is the last message: one event that says everything about the end.
func (s *supervisor) report(hubsFor time.Duration) {
	e := &s.ending
	facts := []any{"code", e.code, "reason", e.why, "asked_by", e.asked, "uptime_ms", ms(time.Since(s.state.StartedAt))}
	if x := s.service.exit; x != nil {
		facts = append(facts, "service_code", x.Code, "signal", x.Signal, "oom", x.OOM)
	}
	if !e.askedAt.IsZero() {
		facts = append(facts, "service_ms", ms(e.began.Sub(e.askedAt)))
	}
	facts = append(facts, "leftovers_ms", ms(e.leftFor), "hubs_ms", ms(hubsFor))
	if len(e.killed) > 0 {
		facts = append(facts, "killed", e.killed)
	}
	var drained, lost int64
	for _, p := range s.state.Pipes {
		drained, lost = drained+p.Drained, lost+p.Lost
	}
	if drained+lost > 0 {
		facts = append(facts, "drained_bytes", drained, "lost_bytes", lost)
	}
	if e.code == 0 || e.asked != "" {
		s.log.info("container ends", facts...)
	} else {
		s.log.error("container ends", facts...)
	}
}

func ms(d time.Duration) int64 { return d.Milliseconds() }
