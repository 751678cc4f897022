// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"time"

	"cloud4.internal/hub/confighub/internal/apply"
)

// retryMin and retryMax bound the pause before something is tried again that the machine was in the way of, rareMin and
// rareMax the one where the service has to go through it: it was put in place and taken back.
const (
	retryMin, retryMax = 2 * time.Second, time.Minute
	rareMin, rareMax   = 10 * time.Minute, 2 * time.Hour
)

// retry is what is to be tried again, and when. The zero value is nothing.
type retry struct {
	// why it came to nothing last time; "" when there is nothing to try.
	why   string
	at    time.Time
	pause time.Duration
}

// later plans the next try and reports whether the trouble is another than before.
func (r *retry) later(err error) (news bool) {
	news = r.why != err.Error()
	r.why = err.Error()
	low, high := retryMin, retryMax
	if _, rolledBack := errors.AsType[*apply.RolledBack](err); rolledBack {
		low, high = rareMin, rareMax
	}
	r.pause = min(max(2*r.pause, low), high)
	r.at = time.Now().Add(r.pause)
	return news
}

// soon plans a try for the next tick.
func (r *retry) soon() { r.at = time.Now() }

func (r *retry) planned() bool { return !r.at.IsZero() }

// due reports whether it is time to try; only once.
func (r *retry) due() bool {
	if r.at.IsZero() || time.Now().Before(r.at) {
		return false
	}
	r.at = time.Time{}
	return true
}

// done forgets the trouble: it is over.
func (r *retry) done() { *r = retry{} }
