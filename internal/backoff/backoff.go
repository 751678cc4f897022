// SPDX-License-Identifier: AGPL-3.0-or-later

// Package backoff says how long to wait before the next attempt: exponential with full jitter.
//
// The n-th pause is drawn evenly from nothing to min(Max, Min·2ⁿ). Drawing from the whole range instead
// of adding a little noise is what keeps a fleet that lost one server at one moment from coming back at
// one moment ("full jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
//
// Left out: counting attempts and giving up. Whoever retries knows when that is.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Defaults for the zero Backoff: half a second is below what a person notices, half a minute is as long
// as a repaired server should wait for its clients.
const (
	DefaultMin = 500 * time.Millisecond
	DefaultMax = 30 * time.Second
)

// Backoff is the pause between attempts. The zero value is ready; it is not for several goroutines at once.
type Backoff struct {
	Min time.Duration // upper limit of the first pause; 0: DefaultMin
	Max time.Duration // upper limit of every pause; 0: DefaultMax; below Min: Min

	limit time.Duration // upper limit of the next pause; 0: Min
}

// Next draws the pause before the next attempt, in [0, limit], and doubles the limit.
func (b *Backoff) Next() time.Duration {
	low, high := b.Min, b.Max
	if low <= 0 {
		low = DefaultMin
	}
	if high <= 0 {
		high = DefaultMax
	}
	high = max(low, high)
	limit := min(max(b.limit, low), high)
	b.limit = high
	if limit <= high/2 { // the comparison that cannot overflow
		b.limit = 2 * limit
	}
	// Unsigned, since limit + 1 overflows a duration when Max is the largest one there is.
	return time.Duration(rand.Uint64N(uint64(limit) + 1))
}

// Reset makes the next pause a first one. Call it after a success.
func (b *Backoff) Reset() { b.limit = 0 }

// Wait waits for the next pause. It returns the context's error as soon as that is done, else nil.
func (b *Backoff) Wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	timer := time.NewTimer(b.Next())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
