// SPDX-License-Identifier: AGPL-3.0-or-later

package receive

import (
	"sync"
	"time"
)

// maxBuckets bounds the peers whose use is remembered.
const maxBuckets = 16384

// quotas is a token bucket per peer: perMinute bytes at once, and as many again
// each minute.
type quotas struct {
	perMinute int64

	mu      sync.Mutex
	buckets map[string]bucket
}

type bucket struct {
	left int64
	at   time.Time
}

func newQuotas(perMinute int64) *quotas {
	return &quotas{perMinute: perMinute, buckets: make(map[string]bucket)}
}

// take asks for n bytes. 0 grants them; else it is how long to wait. A request
// larger than the quota is granted by a full bucket, which then is in debt.
func (q *quotas) take(peer string, n int64, now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	b, ok := q.buckets[peer]
	if !ok {
		if len(q.buckets) >= maxBuckets {
			clear(q.buckets)
		}
		b = bucket{q.perMinute, now}
	}
	gained := float64(q.perMinute) * now.Sub(b.at).Minutes()
	b.left = min(b.left+int64(max(gained, 0)), q.perMinute)
	b.at = now
	defer func() { q.buckets[peer] = b }()
	if want := min(n, q.perMinute); b.left < want {
		return time.Duration(float64(want-b.left)/float64(q.perMinute)*float64(time.Minute)) + time.Second
	}
	b.left -= n
	return 0
}
