// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"sync"
	"time"
)

// steady makes a Func of a look that asks the kernel about a file system. The kernel may never answer: a call at a
// dead network storage cannot be interrupted. Then the look fails in time, and the next ones wait for the
// same answer, so that one check keeps at most one thread.
func steady(what string, look func() Result) Func {
	var mu sync.Mutex
	var answer chan Result // of the call under way; nil: none
	var since time.Time
	return func(ctx context.Context) Result {
		mu.Lock()
		select {
		case <-answer: // came after its look had ended: too old to be told
			answer = nil
		default:
		}
		if answer == nil {
			c := make(chan Result, 1)
			go func() {
				defer func() { // in a goroutine of its own, where nobody else could catch it
					if broken := recover(); broken != nil {
						c <- blind("the look itself broke: %v", broken)
					}
				}()
				c <- look()
			}()
			answer, since = c, time.Now()
		}
		mine, began := answer, since
		mu.Unlock()
		select {
		case r := <-mine:
			mu.Lock()
			if answer == mine {
				answer = nil
			}
			mu.Unlock()
			return r
		case <-ctx.Done():
			return fail("%s gives no answer for %s: its storage hangs", what, span(time.Since(began)))
		}
	}
}
