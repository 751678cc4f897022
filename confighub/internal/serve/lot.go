// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// restTime is how long a connection may rest between two requests; that of package mtls' servers.
	restTime = 2 * time.Minute
	// manySpare is how many may that carried a report. More may as long as a container needs that goes on with the same
	// connection: after a change of everything each has one besides that on which it waits.
	manySpare     = 1000
	shortRestTime = 5 * time.Second
)

// lot holds connections that nobody reads: those of waiting requests, and those that rest between an answer and the next
// request. Each is the connection and a few words; no goroutine, no buffers of net/http. One goroutine learns from an
// epoll(7) of the lot's own which of them can be read. It is the listener by which resting connections come back to
// an http.Server.
type lot struct {
	address net.Addr
	epoll   *os.File
	// back are connections on which a request has come.
	back chan net.Conn
	// shut is closed when none go back any more.
	shut     chan struct{}
	shutOnce sync.Once
	running  sync.WaitGroup

	mu sync.Mutex
	// slots: ticket → connection. The kernel holds tickets rather than descriptors, as those are used again.
	slots map[uint64]*slot
	last  uint64
	// gone is told of each that leaves.
	gone *sync.Cond
	// spares is how many rest that carried a report.
	spares int
}

// slot is one connection in the lot.
type slot struct {
	conn   *tls.Conn
	ticket uint64
	// roused is called once, and must not block, when there is something to read before the connection rests; gone says
	// that the other side has hung up.
	roused func(gone bool)
	// spare: it carried a report.
	spare bool
	// watched: the kernel knows the ticket. ready: it has told us. resting: nobody but the lot uses the connection.
	watched, ready, resting bool
	timer                   *time.Timer // while it rests
}

// newLot opens a lot; close it.
func newLot(address net.Addr) (*lot, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an epoll: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that the runtime watches it, and no thread waits
		unix.Close(fd)
		return nil, fmt.Errorf("making an epoll: %w", err)
	}
	l := &lot{
		address: address, epoll: os.NewFile(uintptr(fd), "epoll"), back: make(chan net.Conn), shut: make(chan struct{}), slots: map[uint64]*slot{},
	}
	l.gone = sync.NewCond(&l.mu)
	raw, err := l.epoll.SyscallConn()
	if err != nil {
		l.epoll.Close()
		return nil, fmt.Errorf("making an epoll: %w", err)
	}
	l.running.Go(func() { l.watch(raw) })
	return l, nil
}

// enter takes a connection in. It is not watched until arm.
func (l *lot) enter(conn *tls.Conn, roused func(gone bool)) *slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	s := &slot{conn: conn, ticket: l.last, roused: roused}
	l.slots[s.ticket] = s
	return s
}

// arm lets the kernel tell once when the connection can be read. One that it cannot watch is as good while a request waits,
// but does not rest.
func (l *lot) arm(s *slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchLocked(s)
}

func (l *lot) watchLocked(s *slot) {
	if s.watched || l.slots[s.ticket] == nil {
		return
	}
	event := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: int32(uint32(s.ticket)), Pad: int32(uint32(s.ticket >> 32)),
	}
	s.watched = l.control(s.conn, unix.EPOLL_CTL_ADD, &event) == nil
}

func (l *lot) control(conn *tls.Conn, operation int, event *unix.EpollEvent) error {
	socket, ok := conn.NetConn().(syscall.Conn)
	if !ok {
		return fmt.Errorf("a %T has no descriptor", conn.NetConn())
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	epoll, err := l.epoll.SyscallConn()
	if err != nil {
		return err
	}
	var done error
	err = raw.Control(func(fd uintptr) {
		if err := epoll.Control(func(epfd uintptr) { done = unix.EpollCtl(int(epfd), operation, int(fd), event) }); err != nil {
			done = err
		}
	})
	if err != nil {
		return err
	}
	return done
}

// watch learns which connections can be read, until the lot is closed.
func (l *lot) watch(epoll syscall.RawConn) {
	events := make([]unix.EpollEvent, 256)
	for {
		n := 0
		err := epoll.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events, 0)
			return n > 0
		})
		if err != nil {
			return
		}
		for _, event := range events[:n] {
			ticket := uint64(uint32(event.Fd)) | uint64(uint32(event.Pad))<<32
			l.readable(ticket, event.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0)
		}
	}
}

func (l *lot) readable(ticket uint64, gone bool) {
	l.mu.Lock()
	s := l.slots[ticket]
	if s == nil {
		l.mu.Unlock()
		return
	}
	s.ready = true
	if s.resting {
		l.returnLocked(s)
		return
	}
	roused := s.roused
	l.mu.Unlock()
	roused(gone)
}

// rest keeps the connection of an answered request until the next one comes.
func (l *lot) rest(s *slot) {
	_ = s.conn.SetWriteDeadline(time.Time{}) // only a closed one has none
	l.mu.Lock()
	l.watchLocked(s)
	if s.ready {
		l.returnLocked(s)
		return
	}
	if !s.watched || l.isShut() {
		l.mu.Unlock()
		l.end(s)
		return
	}
	s.resting, s.roused = true, nil
	d := restTime
	if s.spare {
		if l.spares++; l.spares > manySpare {
			d = shortRestTime
		}
	}
	s.timer = time.AfterFunc(d, func() { l.end(s) })
	l.mu.Unlock()
}

// returnLocked gives a resting connection back to the server, which reads the request, or that there is none. It unlocks.
func (l *lot) returnLocked(s *slot) {
	l.removeLocked(s)
	l.mu.Unlock()
	_ = l.control(s.conn, unix.EPOLL_CTL_DEL, nil) // else it is closed
	select {
	case l.back <- s.conn:
	case <-l.shut:
		s.conn.Close()
	}
}

// end closes a connection as TLS wants it, hangUp without a word, which could take time; unless it has left the lot.
func (l *lot) end(s *slot) {
	if l.remove(s) {
		s.conn.Close()
	}
}

func (l *lot) hangUp(s *slot) {
	if l.remove(s) {
		s.conn.NetConn().Close()
	}
}

func (l *lot) remove(s *slot) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.removeLocked(s)
}

func (l *lot) removeLocked(s *slot) bool {
	if l.slots[s.ticket] != s {
		return false
	}
	delete(l.slots, s.ticket)
	if s.resting {
		s.timer.Stop()
	}
	if s.resting && s.spare {
		l.spares--
	}
	l.gone.Broadcast()
	return true
}

func (l *lot) isShut() bool {
	select {
	case <-l.shut:
		return true
	default:
		return false
	}
}

// Accept returns the next connection that comes back.
func (l *lot) Accept() (net.Conn, error) {
	select {
	case conn := <-l.back:
		return conn, nil
	case <-l.shut:
		return nil, net.ErrClosed
	}
}

// Addr is the server's address.
func (l *lot) Addr() net.Addr { return l.address }

// Close ends Accept; an http.Server calls it. Connections that rest are closed; those of waiting requests are theirs who
// answer.
func (l *lot) Close() error {
	l.shutOnce.Do(func() { close(l.shut) })
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.slots {
		if s.resting && l.removeLocked(s) {
			s.conn.NetConn().Close()
		}
	}
	return nil
}

// abandon closes the lot when the last connection has left it, at the latest after d. All requests are called before.
func (l *lot) abandon(d time.Duration) {
	_ = l.Close() // it has no error
	late := time.AfterFunc(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, s := range l.slots {
			l.removeLocked(s)
			s.conn.NetConn().Close()
		}
	})
	defer late.Stop()
	l.mu.Lock()
	for len(l.slots) > 0 {
		l.gone.Wait()
	}
	l.mu.Unlock()
	l.epoll.Close()
	l.running.Wait()
}
