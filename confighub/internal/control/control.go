// SPDX-License-Identifier: AGPL-3.0-or-later

// Package control is how people steer the confighub of a container: `confighub hold`, resume, rollback and accept
// ask `confighub run` over a socket in the run directory. It carries the questions; what is done is the hub's.
//
//	POST /v1/{hold,resume,rollback,accept}   Request → 200 Answer; else Problem, of 400 not understood, 403 somebody
//	                                         else's process, 409 cannot be done, 503 confighub is ending
//
// <run>/config.sock is open for root and the uid of the hubs alone, by its mode (0600) and by the uid that the kernel
// says of the other side (unix(7), SO_PEERCRED). The answer comes when the thing is done, which for a rollback
// includes the settling of the service.
package control

import (
	"fmt"
	"time"
)

// Socket is the name of the socket in the run directory.
const Socket = "config.sock"

// Verb is what is asked for.
type Verb string

// The verbs.
const (
	Hold     Verb = "hold"     // take no new version; For, Reason
	Resume   Verb = "resume"   // take new versions again, and one that waits at once
	Rollback Verb = "rollback" // go back to the last good version before the one in place; Reason
	Accept   Verb = "accept"   // take the version with Serial although it is older than what was in place, or bad
)

// Limits of a request.
const (
	MaxReason = 1000 // bytes
	MaxHold   = 365 * 24 * time.Hour
)

// Request is one question.
type Request struct {
	Verb Verb `json:"-"`
	// By is the user who asks, by name where the container knows it; the server fills it in.
	By string `json:"-"`
	// For is how long a hold lasts; 0: until resume. Nanoseconds.
	For    time.Duration `json:"for,omitempty"`
	Reason string        `json:"reason,omitempty"`
	Serial uint64        `json:"serial,omitempty"`
}

// Check says what is wrong with a request in itself.
func (r Request) Check() error {
	switch {
	case len(r.Reason) > MaxReason:
		return fmt.Errorf("reason: has %d bytes, at most %d are kept", len(r.Reason), MaxReason)
	case r.For < 0, r.For > 0 && r.For < time.Second, r.For > MaxHold:
		return fmt.Errorf("for: must be between 1s and %s, got %s", MaxHold, r.For)
	case r.Verb == Accept && r.Serial == 0:
		return fmt.Errorf("serial: which version is to be taken?")
	}
	return nil
}

// Answer is what was done.
type Answer struct {
	Text string `json:"text"`
}

// Problem is why something was not done.
type Problem struct {
	Error string `json:"error"`
}
