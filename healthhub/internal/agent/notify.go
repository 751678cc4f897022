// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/internal/initctl"
)

// Limits of what is taken on the notify socket: systemd's own size, and a rate that no service with sense reaches.
const (
	maxNotifyBytes = 4096
	maxNotifyRate  = 100 // messages a second; the rest are read and dropped
	maxAncestors   = 64
)

// notifySocket is <run>/notify.sock, on which a service that was made for systemd says how it is (sd_notify(3)): READY, STOPPING,
// STATUS, WATCHDOG. What its words mean is the monitor's.
//
// It is there only where HUB_NOTIFY is 1, and so is the service's NOTIFY_SOCKET. That is no default: a datagram socket whose
// reader hangs fills up after a few messages (net.unix.max_dgram_qlen, often 10), and from then on the service hangs in its next
// one. So one goroutine reads, and does nothing that waits: what the monitor does not take in time is dropped. A healthhub that
// ended is no trouble, since writing fails then. What remains is a healthhub that somebody stops with a signal or a debugger: a
// service that notifies waits for it, one that does not never notices.
//
// Only the service may speak: the kernel says who sent a message (SO_PASSCRED, unix(7)), and that must be the
// service's process, one that it started, or one such that its parent left to hubinit. Descriptors that come along are
// closed, which is also what BARRIER=1 waits for.
type notifySocket struct {
	conn   *net.UnixConn
	runDir string
	proc   string // /proc
	take   func(message string) error
	log    zerolog.Logger

	second  time.Time // of the rate, and how many came in it
	counted int

	mu   sync.Mutex
	said map[string]bool // complaints, each told once
}

// openNotify opens the socket, for every user of the container.
func openNotify(runDir string, take func(message string) error, log zerolog.Logger) (*notifySocket, error) {
	path := filepath.Join(runDir, initctl.NotifySocket)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	err = os.Chmod(path, 0o666)
	if err == nil {
		err = passCredentials(conn)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return &notifySocket{conn: conn, runDir: runDir, proc: "/proc", take: take, log: log, said: map[string]bool{}}, nil
}

func passCredentials(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1) })
	return errors.Join(err, set)
}

// run reads until ctx is done, or nothing can be read any more. In either case writing fails from then on: a socket that is open and
// not read is what a service hangs in.
func (s *notifySocket) run(ctx context.Context) {
	defer s.conn.Close()
	defer context.AfterFunc(ctx, func() { s.conn.Close() })()
	messages := make(chan string, maxNotifyRate)
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		for m := range messages {
			if err := s.take(m); err != nil {
				s.complain("a message of the service on NOTIFY_SOCKET is not as sd_notify(3) has it", err)
			}
		}
	}()
	defer func() {
		close(messages)
		<-taken
	}()
	buf, control := make([]byte, maxNotifyBytes), make([]byte, 2048) // credentials, and as many descriptors as a message can carry
	for {
		n, controls, flags, _, err := s.conn.ReadMsgUnix(buf, control)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Error().Err(err).Msg("NOTIFY_SOCKET is not read any more")
			}
			return
		}
		pid := closeAll(control[:controls])
		if !s.within(time.Now()) || flags&syscall.MSG_TRUNC != 0 {
			s.complain("too many or too long messages of the service on NOTIFY_SOCKET: some are dropped", nil)
			continue
		}
		if why := s.stranger(pid); why != "" {
			s.complain("a message on NOTIFY_SOCKET is not the service's, and not taken", errors.New(why))
			continue
		}
		select {
		case messages <- string(buf[:n]):
		default: // the monitor is busy; the next WATCHDOG=1 comes
		}
	}
}

// closeAll closes the descriptors of a message and gives its sender's pid; 0: not of this PID namespace, or not known.
func closeAll(control []byte) (pid int) {
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for i := range messages {
		if cred, err := syscall.ParseUnixCredentials(&messages[i]); err == nil {
			pid = int(cred.Pid)
		}
		if fds, err := syscall.ParseUnixRights(&messages[i]); err == nil {
			for _, fd := range fds {
				syscall.Close(fd)
			}
		}
	}
	return pid
}

// within counts a message and reports whether it is within the rate.
func (s *notifySocket) within(now time.Time) bool {
	if now.Sub(s.second) >= time.Second {
		s.second, s.counted = now, 0
	}
	s.counted++
	return s.counted <= maxNotifyRate
}

// stranger says why a process is not the service; "": it is.
func (s *notifySocket) stranger(pid int) string {
	state, err := initctl.ReadState(s.runDir)
	if err != nil {
		return err.Error()
	}
	hubs := map[int]string{}
	for name, h := range state.Hubs {
		if h.PID != 0 {
			hubs[h.PID] = name
		}
	}
	at := pid
	for range maxAncestors {
		switch {
		case at == state.Service.PID && at != 0, at == state.PID && at != pid:
			return ""
		case hubs[at] != "":
			return fmt.Sprintf("process %d is one of %s", pid, hubs[at])
		case at <= 1:
			return fmt.Sprintf("process %d was started from outside of the container", pid)
		}
		if at, err = parent(s.proc, at); err != nil {
			return fmt.Sprintf("process %d has ended, or cannot be seen", pid)
		}
	}
	return fmt.Sprintf("process %d has too many ancestors", pid)
}

// parent reads a process's parent: "12 (name, which may hold anything) S 1 …" (proc_pid_stat(5)).
func parent(proc string, pid int) (int, error) {
	data, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 2 {
		return 0, errors.New("cannot be parsed")
	}
	return strconv.Atoi(fields[1])
}

// complain logs a kind of trouble the first time.
func (s *notifySocket) complain(message string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.said[message] {
		s.said[message] = true
		s.log.Warn().Err(err).Msg(message)
	}
}

// watchdog is how often the container's environment says that the service says that it lives (sd_watchdog_enabled(3)); 0: it
// does not.
func watchdog() time.Duration {
	n, err := strconv.ParseUint(os.Getenv("WATCHDOG_USEC"), 10, 40)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}
