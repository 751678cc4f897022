// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

const (
	alarmWatch  = "watch pipes"
	alarmCounts = "pipe counts"
)

// watchEvery is how often the pipes are looked at while loghub has them, and
// stalledLooks how many looks in a row a full pipe must not have moved for loghub
// to count as stalled: 0.75 to 1 s.
const (
	watchEvery   = 250 * time.Millisecond
	stalledLooks = 3
)

// logPipe is one pipe whose both ends hubinit holds, so that the death of its
// reader neither kills (SIGPIPE) nor at 64 KiB stops its writer. The read end is
// non-blocking, the write end blocking: a service must not see EAGAIN.
type logPipe struct {
	name  string
	r, w  int
	to    *sink // where it is drained to
	count counts
	level int // bytes at the last look
	still int // looks since it last moved
}

// logPipes are the pipes that loghub reads, and that hubinit drains when loghub
// does not. There is one reader at a time: loghub's process, or the drainers.
type logPipes struct {
	all    []*logPipe
	byName map[string]*logPipe
	spool  int // memory file for loghub; -1: none
	secret handover
	epoll  int // sees writes to the pipes, edge-triggered; -1: none
	drain  *draining
}

// openPipes makes the pipes. With a terminal the service keeps it and only the
// hubs' own messages are captured.
func (s *supervisor) openPipes() {
	names := []string{initctl.PipeStdout, initctl.PipeStderr, initctl.PipeHubs}
	if isTerminal(0) {
		names = []string{initctl.PipeHubs}
	}
	ps := &logPipes{byName: map[string]*logPipe{}, spool: -1, secret: noHandover, epoll: -1}
	for _, name := range names {
		p, err := s.openPipe(name)
		if err != nil {
			s.log.error("no log pipe: output goes to the container's stdout and stderr unread", "pipe", name, "error", err)
			return
		}
		ps.all = append(ps.all, p)
		ps.byName[name] = p
		s.state.Pipes[name] = initctl.Pipe{}
	}
	if fd, err := memfd("hub-spool"); err == nil {
		ps.spool = fd
	} else {
		s.log.warn("no memory file for loghub's spool", "error", err)
	}
	if secret, err := newHandover(); err == nil {
		ps.secret = secret
	} else {
		s.log.warn("no memory file for secrets: loghub does not hide what confighub opens", "error", err)
	}
	ps.watchWrites()
	s.pipes = ps
}

func (s *supervisor) openPipe(name string) (*logPipe, error) {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return nil, err
	}
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		return nil, err
	}
	if a := s.service.account; a != nil && name != initctl.PipeHubs {
		// Programs that open /dev/stdout anew need to own what is behind it.
		syscall.Fchown(fds[1], int(a.uid), int(a.gid))
	}
	to := s.err
	if name == initctl.PipeStdout {
		to = s.out
	}
	return &logPipe{name: name, r: fds[0], w: fds[1], to: to}, nil
}

// writeEnd is the descriptor for a child's output: the pipe's, else fallback.
func (ps *logPipes) writeEnd(name string, fallback uintptr) uintptr {
	if p := ps.byName[name]; p != nil {
		return uintptr(p.w)
	}
	return fallback
}

// watchWrites sets up the edge-triggered watch. A write to a pipe that was full
// proves that its reader reads; the fill level alone proves nothing, since a fast
// writer fills what a slow reader took at once.
func (ps *logPipes) watchWrites() {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return
	}
	for i, p := range ps.all {
		edge := uint32(1) << 31 // EPOLLET; negative in package syscall on some platforms
		event := syscall.EpollEvent{Events: syscall.EPOLLIN | edge, Fd: int32(i)}
		if err := syscall.EpollCtl(fd, syscall.EPOLL_CTL_ADD, p.r, &event); err != nil {
			syscall.Close(fd)
			return
		}
	}
	ps.epoll = fd
}

// written tells, by index, which pipes were written to since the last call.
func (ps *logPipes) written() map[int]bool {
	var events [8]syscall.EpollEvent
	n, _ := syscall.EpollWait(ps.epoll, events[:], 0)
	seen := map[int]bool{}
	for i := range max(n, 0) {
		seen[int(events[i].Fd)] = true
	}
	return seen
}

// full says whether a writer is about to be blocked. The byte count is not
// enough: lines of more than half a page take a page each.
func (p *logPipe) full(level int) bool {
	return level > pipeSize(p.r)*3/4 || !pollFD(p.w, pollOut, 0)
}

// watchPipes begins to look after the pipes that a new loghub has taken over.
func (s *supervisor) watchPipes() {
	if s.pipes == nil || s.pipes.epoll < 0 {
		return
	}
	for _, p := range s.pipes.all {
		p.level, p.still = -1, 0
	}
	s.alarms.set(alarmWatch, watchEvery, s.lookAtPipes)
}

// lookAtPipes kills a loghub that leaves a full pipe unread. Its end, once
// reaped, starts the drainers and later a new loghub.
func (s *supervisor) lookAtPipes() {
	h := s.hubs[initctl.Loghub]
	if !h.running() {
		return
	}
	written := s.pipes.written()
	for i, p := range s.pipes.all {
		level := unread(p.r)
		if level != p.level || written[i] || !p.full(level) {
			p.level, p.still = level, 0
			continue
		}
		p.still++
		if p.still >= stalledLooks {
			s.log.warn("loghub does not read: it is killed and its pipes are drained", "pipe", p.name, "bytes_waiting", level)
			syscall.Kill(h.state.PID, syscall.SIGKILL)
			return
		}
	}
	s.alarms.set(alarmWatch, watchEvery, s.lookAtPipes)
}

// countPipes copies the drainers' figures into the state.
func (s *supervisor) countPipes() {
	if s.pipes == nil {
		return
	}
	for _, p := range s.pipes.all {
		now := initctl.Pipe{Drained: p.count.drained.Load(), Lost: p.count.lost.Load(), Open: p.count.open.Load()}
		if s.state.Pipes[p.name] != now {
			s.state.Pipes[p.name] = now
			s.changed()
		}
	}
}

// drainPipes makes hubinit the reader of the pipes after loghub's process is gone.
func (s *supervisor) drainPipes() {
	if s.pipes == nil {
		return
	}
	s.pipes.stopDraining()
	s.pipes.drain = &draining{stop: make(chan struct{})}
	// A loghub that is back within a second finds in the pipes what fits there and
	// loses nothing; only what would block a writer is drained meanwhile.
	h := s.hubs[initctl.Loghub]
	gentle := s.phase < phaseEnding && h.state.State == initctl.HubBackoff && time.Until(h.state.NextStart) <= time.Second
	for _, p := range s.pipes.all {
		s.pipes.drain.start(p, gentle, s.caughtFault)
	}
	s.alarms.set(alarmCounts, watchEvery, s.countDraining)
}

func (s *supervisor) countDraining() {
	s.countPipes()
	s.alarms.set(alarmCounts, 2*watchEvery, s.countDraining)
}

// stopDraining ends the drainers; when it returns nobody reads the pipes.
func (ps *logPipes) stopDraining() {
	if ps.drain != nil {
		ps.drain.end()
		ps.drain = nil
	}
}

// drainRest takes what is left in the pipes when nobody reads them any more, in
// the time given: the container ends.
func (ps *logPipes) drainRest(within time.Duration) {
	ps.stopDraining()
	deadline := time.Now().Add(within)
	buf := make([]byte, drainBytes)
	for _, p := range ps.all {
		for time.Now().Before(deadline) && p.drainOnce(buf, nil) {
		}
		p.count.lost.Add(int64(unread(p.r)))
	}
}

// openRead gives a second descriptor of the read end that the runtime polls while
// it is open. The first one is never polled: every write of the service would
// wake hubinit.
func (p *logPipe) openRead() (*os.File, error) {
	fd, err := dupCloexec(p.r)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), p.name), nil
}
