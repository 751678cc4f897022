// SPDX-License-Identifier: AGPL-3.0-or-later

package initctl

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// MaxRequestBytes bounds a request line, its newline included. A pipe takes up
// to PIPE_BUF (4096) bytes in one piece, so lines of several hubs never mix.
const MaxRequestBytes = 512

// MaxHold bounds how long one hold may keep an exited service's container alive.
// A longer one is renewed in time by its holder, who then is known to be alive.
const MaxHold = 10 * time.Minute

// maxIDBytes bounds a request's name, which hubinit keeps and writes back.
const maxIDBytes = 64

// Verb is what a request asks for.
type Verb string

// The requests hubinit knows.
const (
	Hold    Verb = "hold"    // keep the container alive should the service exit
	Release Verb = "release" // end the hold
	Restart Verb = "restart" // stop the service and start it anew, in place
	Signal  Verb = "signal"  // send a signal to the service
)

// Request is one line on HUB_CTL_FD.
type Request struct {
	ID     string         // chosen by the asker, [A-Za-z0-9._-], ≤ 64 bytes
	Verb   Verb           //
	Hold   time.Duration  // Verb Hold: how long, 1ms … MaxHold
	Signal syscall.Signal // Verb Signal
}

// String is the line without its newline.
func (r Request) String() string {
	switch r.Verb {
	case Hold:
		return r.ID + " hold " + r.Hold.String()
	case Signal:
		return r.ID + " signal " + SignalName(r.Signal)
	}
	return r.ID + " " + string(r.Verb)
}

// ParseRequest reads a line, with or without its newline. When the error is not
// nil the Request still carries the ID if that much could be read, so that the
// refusal can be addressed.
func ParseRequest(line string) (Request, error) {
	if len(line) > MaxRequestBytes {
		return Request{}, fmt.Errorf("request of %d bytes: at most %d", len(line), MaxRequestBytes)
	}
	fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
	if err := checkID(fields[0]); err != nil {
		return Request{}, err
	}
	r := Request{ID: fields[0]}
	if len(fields) < 2 {
		return r, errors.New("request without a verb: want hold, release, restart or signal")
	}
	want := 2
	r.Verb = Verb(fields[1])
	switch r.Verb {
	case Hold, Signal:
		want = 3
	case Release, Restart:
	default:
		return Request{ID: r.ID}, fmt.Errorf("unknown request %q: want hold, release, restart or signal", fields[1])
	}
	if len(fields) != want {
		return r, fmt.Errorf("%s takes %d argument(s), got %d", r.Verb, want-2, len(fields)-2)
	}
	return r, r.argument(fields[want-1])
}

// argument reads the one argument that hold and signal have.
func (r *Request) argument(s string) (err error) {
	switch r.Verb {
	case Hold:
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("hold %q: want a duration as in 30s", s)
		}
		if d < time.Millisecond || d > MaxHold {
			return fmt.Errorf("hold %s: must be between 1ms and %s", d, MaxHold)
		}
		r.Hold = d
	case Signal:
		r.Signal, err = ParseSignal(s)
	}
	return err
}

func checkID(id string) error {
	if id == "" || len(id) > maxIDBytes {
		return fmt.Errorf("request id of %d bytes: want 1 to %d", len(id), maxIDBytes)
	}
	for _, c := range []byte(id) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '.' && c != '_' && c != '-' {
			return fmt.Errorf("request id %q: only letters, digits, dot, underscore and hyphen", id)
		}
	}
	return nil
}
