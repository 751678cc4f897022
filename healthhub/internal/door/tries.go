// SPDX-License-Identifier: AGPL-3.0-or-later

package door

import (
	"net/netip"
	"sync"
	"time"
)

const (
	triesAtOnce = 5
	triesEvery  = 10 * time.Second
	maxSources  = 1024
)

// tries bounds wrong tokens by where they come from. The zero value is ready.
type tries struct {
	mu   sync.Mutex
	free map[netip.Prefix]time.Time // when all that was tried is forgotten again
}

// take counts a try, and reports whether it is looked at. It counts before anybody looks, so that many at once are as many.
func (t *tries) take(from netip.Prefix, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free == nil {
		t.free = map[netip.Prefix]time.Time{}
	}
	at := t.free[from]
	if at.Before(now) {
		at = now
	}
	if at.Sub(now) > (triesAtOnce-1)*triesEvery {
		return false
	}
	if _, known := t.free[from]; !known && len(t.free) >= maxSources {
		t.forget(now)
	}
	t.free[from] = at.Add(triesEvery)
	return true
}

// forgive takes back a try that was right.
func (t *tries) forgive(from netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at, known := t.free[from]; known {
		t.free[from] = at.Add(-triesEvery)
	}
}

// forget makes room: those who are free again go, else any one.
func (t *tries) forget(now time.Time) {
	for from, at := range t.free {
		if at.Before(now) {
			delete(t.free, from)
		}
	}
	for from := range t.free {
		if len(t.free) < maxSources {
			return
		}
		delete(t.free, from)
	}
}
