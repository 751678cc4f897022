// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// phase is how far the container has come; it only ever goes forward.
type phase int

const (
	phaseGate     phase = iota // waiting for confighub and healthhub
	phaseHooks                 // init.d
	phaseService               // the service runs, or is held or between two lives
	phaseStopping              // stop.d, then the stop signal is out
	phaseEnding                // the service is over: leftovers and hubs
)

// supervisor is the loop and what it alone touches. It is the only goroutine
// that forks and that calls wait4; the others hand it work through events.
type supervisor struct {
	set    settings
	env    []string // the container's, as found
	cwd    string   // the service's; hubinit itself stands in /
	log    *journal
	out    *sink // the container's stdout
	err    *sink // the container's stderr, own messages too
	caught *signals
	run    runDir
	slot   slot
	oom    oomScore
	events chan func() // from goroutines, run on the loop
	faults chan string // a goroutine's panic
	quit   chan struct{}
	tasks  sync.WaitGroup // goroutines that end when quit is closed

	phase    phase
	gate     gate
	alarms   alarms
	children map[int]func(syscall.WaitStatus) // pid → what its end means; others are orphans
	state    initctl.State
	dirty    bool // state is to be written
	service  service
	hubs     map[string]*hub
	pipes    *logPipes // nil: nothing is captured
	hooks    hookRun
	ending   ending
}

// supervise brings the container up, runs it to its end and returns its exit code.
func supervise(argv []string, caught *signals) int {
	s := &supervisor{
		caught:   caught,
		env:      os.Environ(),
		alarms:   alarms{},
		events:   make(chan func(), 64),
		faults:   make(chan string, 1),
		quit:     make(chan struct{}),
		children: map[int]func(syscall.WaitStatus){},
		hubs:     map[string]*hub{},
	}
	s.out = newSink(1, s.spawnForever)
	s.err = newSink(2, s.spawnForever)
	s.log = &journal{out: s.err, text: isTerminal(2)}
	defer s.out.close(flushTime)
	defer s.err.close(flushTime)
	s.service.argv = argv
	return s.guarded()
}

// guarded turns a panic of the loop into a message, a TERM for the service and
// exit code 70.
func (s *supervisor) guarded() (code int) {
	defer func() {
		if fault := recover(); fault != nil {
			s.log.error("fault in hubinit: please report it", "fault", fmt.Sprint(fault), "stack", string(debug.Stack()))
			s.abandonService()
			code = exitFault
		}
	}()
	if code := s.prepare(); code != 0 {
		return code
	}
	s.begin()
	for !s.ending.done {
		s.step()
	}
	return s.finish()
}

// step waits for one event and deals with it, then writes what changed.
func (s *supervisor) step() {
	timer := time.NewTimer(s.alarms.next())
	defer timer.Stop()
	select {
	case <-s.caught.chld:
		s.reap()
	case sig := <-s.caught.stop:
		s.stopSignal(sig.(syscall.Signal))
	case sig := <-s.caught.other:
		s.service.send(sig.(syscall.Signal))
	case do := <-s.events:
		do()
	case fault := <-s.faults:
		panic(fault)
	case <-timer.C:
	}
	s.alarms.run()
	if s.dirty {
		s.writeState()
	}
}

// reap takes every dead child there is, hubs, service, hooks and orphans alike.
func (s *supervisor) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if ended, ok := s.children[pid]; ok {
			delete(s.children, pid)
			ended(status)
		}
		if s.phase == phaseEnding {
			s.advanceEnd()
		}
	}
}

// fork starts a program; ended is called on the loop when it is over.
func (s *supervisor) fork(file string, argv []string, attr *syscall.ProcAttr, ended func(syscall.WaitStatus)) (int, error) {
	pid, err := syscall.ForkExec(file, argv, attr)
	if err == nil {
		s.children[pid] = ended
	}
	return pid, err
}

// spawn runs a goroutine that ends when quit is closed and that finish waits for.
func (s *supervisor) spawn(task func()) {
	s.tasks.Add(1)
	go func() {
		defer s.tasks.Done()
		defer s.caughtFault()
		task()
	}()
}

// spawnForever runs a goroutine that may sit in a write for ever and that nobody
// can wait for without a limit: see sink.close.
func (s *supervisor) spawnForever(task func()) {
	go func() {
		defer s.caughtFault()
		task()
	}()
}

// caughtFault hands a goroutine's panic to the loop, which panics with it.
func (s *supervisor) caughtFault() {
	if fault := recover(); fault != nil {
		select {
		case s.faults <- fmt.Sprintf("%v\n%s", fault, debug.Stack()):
		default:
		}
	}
}

// post runs do on the loop; false after the end.
func (s *supervisor) post(do func()) bool {
	select {
	case s.events <- do:
		return true
	case <-s.quit:
		return false
	}
}

// changed marks the state for writing at the end of this step.
func (s *supervisor) changed() { s.dirty = true }

// writeAgain is when init.json is tried again after it could not be written.
const (
	writeAgain = time.Second
	alarmWrite = "write init.json"
)

func (s *supervisor) writeState() {
	s.dirty = false
	if !s.run.writable {
		return
	}
	err := s.state.Write(s.run.path)
	switch {
	case err != nil:
		if !s.run.failing {
			s.log.warn("cannot write init.json: probe and requests of the hubs do not work until it can", "error", err)
		}
		s.alarms.set(alarmWrite, writeAgain, s.changed) // a full disk does not stay full for ever
	case s.run.failing:
		s.log.info("init.json is written again")
	}
	s.run.failing = err != nil
}

// succeeds maps the exit codes of HUB_SUCCESS_CODES to 0.
func (s *supervisor) succeeds(code int) int {
	if slices.Contains(s.set.success, code) {
		return 0
	}
	return code
}

// exitOf describes how a child that was started at started has ended.
func exitOf(status syscall.WaitStatus, started time.Time) *initctl.Exit {
	e := &initctl.Exit{
		Code:   status.ExitStatus(),
		At:     time.Now().UTC(),
		Uptime: time.Since(started).Round(time.Millisecond).Seconds(),
	}
	if status.Signaled() {
		e.Code = exitSignal + int(status.Signal())
		e.Signal = initctl.SignalName(status.Signal())
	}
	return e
}
