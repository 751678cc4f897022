// SPDX-License-Identifier: AGPL-3.0-or-later

// Package control is the socket by which a command talks to the loghub run of its container, <run>/log.sock: one
// conversation at a time, of JSON values one a line (ours). What they mean is the two programs' affair.
//
// It is open for root and the uid of the hubs alone, by its mode (0600) and by the uid that the kernel says of the other side.
// Who comes while another one is there, or may not come, gets one line {"error": "…"} and is let go.
//
// A conversation ends with the connection of either side, and after Longest. A side that does not read is waited for
// for SendLimit.
package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/internal/backoff"
	"cloud4.internal/hub/internal/daemon"
)

// Socket is the name of the socket in the run directory.
const Socket = "log.sock"

// Bounds of a conversation.
const (
	Longest   = 6 * time.Minute
	SendLimit = 5 * time.Second
	maxLine   = 4 << 20         // bytes
	turnWait  = 2 * time.Second // for one's turn
	dialLimit = 5 * time.Second
	helloWait = 10 * time.Second // for the first value
)

// ErrAnother says that another loghub answers on the socket.
var ErrAnother = errors.New("another loghub answers there")

// Conn is one side of a conversation. Send and Receive may be called side by side.
type Conn struct {
	net.Conn
	lines *bufio.Scanner
}

func newConn(c net.Conn) *Conn {
	conn := &Conn{Conn: c, lines: bufio.NewScanner(c)}
	conn.lines.Buffer(nil, maxLine)
	return conn
}

// problem is a line that ends a conversation before it has begun.
type problem struct {
	Error string `json:"error"`
}

// Send writes a value.
func (c *Conn) Send(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := c.SetWriteDeadline(time.Now().Add(SendLimit)); err != nil {
		return err
	}
	_, err = c.Write(append(data, '\n'))
	return err
}

// Receive reads a value; io.EOF: the other side has gone.
func (c *Conn) Receive(into any) error {
	if !c.lines.Scan() {
		if err := c.lines.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	return json.Unmarshal(c.lines.Bytes(), into)
}

// Server answers on the socket of a run directory.
type Server struct {
	RunDir string
	// Talk holds a conversation; ctx ends with the server.
	Talk func(ctx context.Context, c *Conn)
	Log  zerolog.Logger

	talking sync.Mutex
}

// Run serves until ctx is done. A socket that cannot be opened, as in a full run directory, is said and tried again: loghub
// works without. Where another loghub answers it is left alone.
func (s *Server) Run(ctx context.Context) {
	pause := backoff.Backoff{Min: time.Second}
	said := false
	listener, err := s.listen()
	for ; err != nil; listener, err = s.listen() {
		if !said {
			s.Log.Warn().Err(err).Msg("loghub doctor does not work in this container now")
		}
		said = true
		if errors.Is(err, ErrAnother) || pause.Wait(ctx) != nil {
			return
		}
	}
	var talks sync.WaitGroup
	defer talks.Wait()
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	for {
		c, err := listener.Accept()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil: // want of descriptors, as a rule
			if pause.Wait(ctx) != nil {
				return
			}
			continue
		}
		pause.Reset()
		conn := newConn(c)
		if err := s.admit(ctx, c); err != nil {
			_ = errors.Join(conn.Send(problem{err.Error()}), c.Close()) // who has gone does not want it
			continue
		}
		talks.Go(func() { s.talk(ctx, conn) })
	}
}

// admit says why somebody may not talk to us, or takes the turn for him, for which he waits a moment: one who has just gone is
// cleaned up after.
func (s *Server) admit(ctx context.Context, c net.Conn) error {
	if err := allowed(c); err != nil {
		return err
	}
	for end := time.Now().Add(turnWait); !s.talking.TryLock(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) || ctx.Err() != nil {
			return errors.New("another loghub doctor is at work here: try again when it is done")
		}
	}
	return nil
}

// talk holds a conversation, and gives the turn back.
func (s *Server) talk(ctx context.Context, c *Conn) {
	defer s.talking.Unlock()
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if c.SetReadDeadline(time.Now().Add(Longest)) == nil {
		s.Talk(ctx, c)
	}
}

func (s *Server) listen() (net.Listener, error) {
	path := filepath.Join(s.RunDir, Socket)
	if c, err := net.DialTimeout("unix", path, dialLimit); err == nil {
		c.Close()
		return nil, fmt.Errorf("opening %s: %w", path, ErrAnother)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // one that a killed predecessor left
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), l.Close())
	}
	return l, nil
}

// allowed says whether who asks is root or we.
func allowed(c net.Conn) error {
	uid, err := daemon.PeerUID(c)
	if err != nil {
		return fmt.Errorf("it cannot be told who asks: %w", err)
	}
	if own := os.Geteuid(); uid != 0 && uid != uint32(own) {
		return fmt.Errorf("uid %d may not ask this container's loghub: root and uid %d may", uid, own)
	}
	return nil
}

// Dial begins a conversation with the loghub of a run directory, whose first value goes to hello. Errors say why there is
// none, and match ErrAbsent where no loghub runs.
func Dial(runDir string, hello any) (*Conn, error) {
	path := filepath.Join(runDir, Socket)
	c, err := net.DialTimeout("unix", path, dialLimit)
	if err != nil {
		return nil, explain(path, err)
	}
	conn := newConn(c)
	var first json.RawMessage
	var no problem
	err = errors.Join(c.SetReadDeadline(time.Now().Add(helloWait)), conn.Receive(&first), c.SetReadDeadline(time.Now().Add(Longest)))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("loghub run does not answer on %s: it is stopped, or the machine overloaded", path)
	} else if err == nil && json.Unmarshal(first, &no) == nil && no.Error != "" {
		err = errors.New(no.Error)
	} else if err == nil {
		err = json.Unmarshal(first, hello)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// ErrAbsent says that no loghub runs.
var ErrAbsent = errors.New("loghub does not run here")

// explain says why nobody answers.
func explain(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: there is no %s", ErrAbsent, path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nobody answers on %s", ErrAbsent, path)
	case errors.Is(err, fs.ErrPermission):
		who := "the uid of the hubs"
		if info, statErr := os.Stat(path); statErr == nil {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				who = fmt.Sprintf("uid %d", stat.Uid)
			}
		}
		return fmt.Errorf("%s is for root and %s: run this as one of them (docker exec --user)", path, who)
	}
	return fmt.Errorf("asking loghub: %w", err)
}
