// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"slices"
	"time"
)

// longRound is after how long a round has the files looked at again, before the others have their turn: a receiver that is slow
// and takes some keeps who reads waiting, and a rotation must be seen meanwhile.
const longRound = pollEvery

// turns gives each file that something is expected of its turn to be read. full: there is no room for what is read. more says
// that some file has more, or had no turn.
func (f *Files) turns(ctx context.Context, now time.Time, full, last bool) (more bool) {
	hot := slices.Clone(f.hot)
	first := f.turned
	f.turned = 0
	for i := range hot {
		t := hot[(first+i)%len(hot)]
		if !full {
			again, err := t.read(now, last)
			f.trouble(t, err)
			more = more || again
			f.trouble(t, t.tellDue(now, last && !again))
			if len(f.tails) > fewCold && t.settled() {
				t.rest()
			}
		}
		if t.over(now, len(t.names) > 0) {
			f.forgetTail(t)
		}
		if ctx.Err() != nil && (!last || time.Now().After(f.stop)) {
			break
		}
		if !last && i+1 < len(hot) && time.Since(now) >= longRound {
			f.turned = (first + i + 1) % len(hot)
			return true
		}
	}
	return more
}
