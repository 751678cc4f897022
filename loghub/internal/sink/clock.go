// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"net/http"
	"time"
)

// clock is what an answer's Date tells of the receiver's clock (RFC 9110 §6.6.1): whole seconds, and made at some moment
// between request and answer.
type clock struct {
	ahead time.Duration
	known bool
}

// dateGrain is what a Date leaves out, half of it on average.
const dateGrain = time.Second

// compare notes how far the receiver's clock is ahead of ours, as its Date says; asked and heard are ours.
func (s *Sender) compare(date string, asked, heard time.Time) {
	at, err := http.ParseTime(date)
	if err != nil {
		return
	}
	// Within the second that the Date names and the time that the request took there is no difference to be seen.
	c := clock{known: true}
	if low := at.Sub(heard); low > 0 {
		c.ahead = low
	} else if high := at.Add(dateGrain).Sub(asked); high < 0 {
		c.ahead = high
	}
	s.mu.Lock()
	s.clock = c
	s.mu.Unlock()
}

// Clock is how far the receiver's clock is ahead of this machine's, at least, by its last answer; known: it has said so.
func (s *Sender) Clock() (ahead time.Duration, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock.ahead, s.clock.known
}
