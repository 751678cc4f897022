// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// sinkBytes bounds what waits for the container's stdout or stderr: about a
// second of a service that prints 256 kB/s, and cheap in a small container.
const sinkBytes = 256 << 10

// sinkPatience is how long a drainer holds back for a sink that is slow but
// moves. Beyond it the container's stdout counts as stuck, and what comes is
// lost and counted until it moves again. Well below the second that a service
// may ever be blocked.
const sinkPatience = 300 * time.Millisecond

// sink writes to one of the container's own descriptors from a goroutine of its
// own, because such a write may block for ever (a stuck log driver, a stopped
// terminal).
type sink struct {
	fd    int
	wake  chan struct{} // something was queued, or the sink is closed
	space chan struct{} // something was written
	done  chan struct{} // the writer has ended

	mu     sync.Mutex
	queue  []chunk
	size   int // bytes in queue, the chunk being written included
	stuck  bool
	closed bool
}

// chunk is bytes on their way, and the pipe they came from; nil for own messages.
type chunk struct {
	data []byte
	from *counts
}

// counts are one pipe's figures; see initctl.Pipe.
type counts struct {
	drained, lost atomic.Int64
	open          atomic.Bool // the last byte ended no line
}

// newSink starts the writer; spawn runs it so that a panic is reported.
func newSink(fd int, spawn func(func())) *sink {
	s := &sink{fd: fd, wake: make(chan struct{}, 1), space: make(chan struct{}, 1), done: make(chan struct{})}
	spawn(s.write)
	return s
}

// put queues one of hubinit's own messages or drops it; it never waits.
func (s *sink) put(data []byte) { s.queueChunk(chunk{data: data}) }

// offer queues what was drained from a pipe. While the descriptor is slow it
// waits for space, up to sinkPatience or until stop is closed; then the bytes
// are lost and counted.
func (s *sink) offer(c chunk, stop <-chan struct{}) {
	c.from.open.Store(c.data[len(c.data)-1] != '\n')
	deadline := time.Now().Add(sinkPatience)
	for !s.queueChunk(c) {
		s.mu.Lock()
		stuck := s.stuck
		s.mu.Unlock()
		wait := time.Until(deadline)
		if stuck || wait <= 0 {
			s.mu.Lock()
			s.stuck = true
			s.mu.Unlock()
			c.from.lost.Add(int64(len(c.data)))
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-s.space:
		case <-timer.C:
		case <-stop:
			deadline = time.Time{}
		}
		timer.Stop()
	}
}

func (s *sink) queueChunk(c chunk) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.size+len(c.data) > sinkBytes {
		return false
	}
	s.queue = append(s.queue, c)
	s.size += len(c.data)
	nudge(s.wake)
	return true
}

// write is the writer's goroutine. It ends when the sink is closed and empty.
func (s *sink) write() {
	defer close(s.done)
	for {
		s.mu.Lock()
		if len(s.queue) == 0 {
			closed := s.closed
			s.queue = nil
			s.mu.Unlock()
			if closed {
				return
			}
			<-s.wake
			continue
		}
		c := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		n := writeAll(s.fd, c.data)
		if c.from != nil {
			c.from.drained.Add(int64(n))
			c.from.lost.Add(int64(len(c.data) - n))
		}
		s.mu.Lock()
		s.size -= len(c.data)
		s.stuck = false
		s.mu.Unlock()
		nudge(s.space)
	}
}

// close lets the writer finish within the time given; what is still queued then
// is lost and counted, and the writer, which sits in a write, is left behind.
func (s *sink) close(within time.Duration) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	nudge(s.wake)
	select {
	case <-s.done:
	case <-time.After(within):
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range s.queue {
			if c.from != nil {
				c.from.lost.Add(int64(len(c.data)))
			}
		}
	}
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// writeAll writes with the system call itself: package os ends the program when
// a write to descriptor 1 or 2 finds its pipe broken.
func writeAll(fd int, data []byte) (written int) {
	for written < len(data) {
		n, err := syscall.Write(fd, data[written:])
		switch err {
		case nil:
			written += n
		case syscall.EINTR:
		case syscall.EAGAIN: // somebody made the shared description non-blocking
			pollFD(fd, pollOut, time.Second)
		default:
			return written
		}
	}
	return written
}
