// SPDX-License-Identifier: AGPL-3.0-or-later

package initctl

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// MaxRequestBytes bounds a request line, its newline included. A pipe takes up
// to PIPE_BUF (4096) bytes in one piece, so lines of several hubs never mix.
const MaxRequestBytes = 512

// MaxHold bounds how long one hold may keep an exited service's container alive.
// A longer one is renewed in time by its holder, who then is known to be alive.
const MaxHold = 10 * time.Minute

// MaxWait bounds how long one wait may keep the service from starting. Who still waits renews it, and so is known to be alive.
const MaxWait = time.Minute

// maxIDBytes bounds a request's name, which hubinit keeps and writes back, maxWhatBytes what a wait is for.
const (
	maxIDBytes   = 64
	maxWhatBytes = 300
)

// Verb is what a request asks for.
type Verb string

// The requests hubinit knows.
const (
	Hold    Verb = "hold"    // keep the container alive should the service exit
	Release Verb = "release" // end the hold
	Restart Verb = "restart" // stop the service and start it anew, in place
	Signal  Verb = "signal"  // send a signal to the service
	Wait    Verb = "wait"    // keep the start of the service until this hub is ready; healthhub's alone
)

// Request is one line on HUB_CTL_FD.
type Request struct {
	ID     string         // chosen by the asker, [A-Za-z0-9._-], ≤ 64 bytes
	Verb   Verb           //
	Hold   time.Duration  // Verb Hold: how long, 1ms … MaxHold
	Signal syscall.Signal // Verb Signal
	Wait   time.Duration  // Verb Wait: how long, 1ms … MaxWait
	What   string         // Verb Wait: what for, in words of printable characters with one space between, ≤ 300 bytes
}

// String is the line without its newline.
func (r Request) String() string {
	switch r.Verb {
	case Hold:
		return r.ID + " hold " + r.Hold.String()
	case Signal:
		return r.ID + " signal " + SignalName(r.Signal)
	case Wait:
		return r.ID + " wait " + r.Wait.String() + " " + r.What
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
		return r, errors.New("request without a verb: want hold, release, restart, signal or wait")
	}
	want := 2
	r.Verb = Verb(fields[1])
	switch r.Verb {
	case Hold, Signal:
		want = 3
	case Wait:
		want = 4
		if len(fields) > want { // what it is for has spaces
			fields = append(fields[:want-1:want-1], strings.Join(fields[want-1:], " "))
		}
	case Release, Restart:
	default:
		return Request{ID: r.ID}, fmt.Errorf("unknown request %q: want hold, release, restart, signal or wait", fields[1])
	}
	if len(fields) != want {
		return r, fmt.Errorf("%s takes %d argument(s), got %d", r.Verb, want-2, len(fields)-2)
	}
	return r, r.arguments(fields[2:])
}

// arguments reads what hold, signal and wait have.
func (r *Request) arguments(args []string) (err error) {
	switch r.Verb {
	case Hold:
		r.Hold, err = parseTime(r.Verb, args[0], MaxHold)
	case Signal:
		r.Signal, err = ParseSignal(args[0])
	case Wait:
		if r.What = args[1]; r.What != cleanWhat(r.What) || r.What == "" {
			return fmt.Errorf("wait: what for: want 1 to %d bytes of printable words", maxWhatBytes)
		}
		r.Wait, err = parseTime(r.Verb, args[0], MaxWait)
	}
	return err
}

func parseTime(verb Verb, s string, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%s %q: want a duration as in 30s", verb, s)
	}
	if d < time.Millisecond || d > most {
		return 0, fmt.Errorf("%s %s: must be between 1ms and %s", verb, d, most)
	}
	return d, nil
}

// cleanWhat makes a text fit for Request.What: it comes from errors of the network, and people read it on a terminal.
func cleanWhat(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxWhatBytes {
		s = strings.TrimRight(strings.ToValidUTF8(s[:maxWhatBytes], ""), " ")
	}
	return s
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
