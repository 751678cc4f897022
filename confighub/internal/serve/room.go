// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"sync"
	"time"
)

const (
	// atOnce is how many waiters are answered at once. More are answered one after another, perSecond of them, in no
	// more than spreadTime: they all come back for the bundle.
	atOnce     = 100
	perSecond  = 5000
	spreadTime = 2 * time.Second
	// spreadTick is the pause between two shares of those.
	spreadTick = 10 * time.Millisecond
)

// room is where requests wait until what they asked for is replaced. It knows nothing of connections.
type room struct {
	mu sync.Mutex
	// first: entry → the list of those who wait for its end.
	first map[*entry]*waiter
	count int
	// closed: nobody waits any more.
	closed bool
}

// waiter is a request that waits.
type waiter struct {
	// call answers it; it runs once, in a goroutine of its own, or never when somebody else took the waiter.
	call func()

	timer      *time.Timer
	entry      *entry // nil: it does not wait
	prev, next *waiter
}

// join lets w wait for the end of e, at most for d. It may be called before join returns.
func (r *room) join(w *waiter, e *entry, d time.Duration) {
	r.mu.Lock()
	if e.replaced.Load() || r.closed {
		r.mu.Unlock()
		go w.call()
		return
	}
	defer r.mu.Unlock()
	if r.first == nil {
		r.first = map[*entry]*waiter{}
	}
	w.entry, w.next = e, r.first[e]
	if w.next != nil {
		w.next.prev = w
	}
	r.first[e] = w
	r.count++
	w.timer = time.AfterFunc(d, func() {
		if r.take(w) {
			w.call()
		}
	})
}

// take ends the waiting. Only who is told true may answer.
func (r *room) take(w *waiter) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.entry == nil {
		return false
	}
	switch {
	case w.prev != nil:
		w.prev.next = w.next
	case w.next != nil:
		r.first[w.entry] = w.next
	default:
		delete(r.first, w.entry)
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.timer.Stop()
	w.entry, w.prev, w.next, w.timer = nil, nil, nil, nil
	r.count--
	return true
}

// waiting is how many wait.
func (r *room) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// wake calls those who wait for the end of these entries, which are marked as replaced. It does not wait for them.
func (r *room) wake(replaced []*entry) {
	r.mu.Lock()
	var list []*waiter
	for _, e := range replaced {
		for w := r.first[e]; w != nil; w = w.next {
			list = append(list, w)
		}
	}
	r.mu.Unlock()
	if len(list) <= atOnce {
		r.callAll(list)
		return
	}
	go r.spread(list)
}

func (r *room) callAll(list []*waiter) {
	for _, w := range list {
		if r.take(w) {
			go w.call()
		}
	}
}

// spread calls many, a share at each tick.
func (r *room) spread(list []*waiter) {
	tick := time.NewTicker(spreadTick)
	defer tick.Stop()
	const ticks = int(spreadTime / spreadTick)
	const least = perSecond * spreadTick / time.Second
	share := max(int(least), (len(list)+ticks-1)/ticks)
	for ; len(list) > 0; <-tick.C {
		n := min(share, len(list))
		r.callAll(list[:n])
		list = list[n:]
	}
}

// close calls everybody, and whoever joins from now on.
func (r *room) close() {
	r.mu.Lock()
	r.closed = true
	var list []*waiter
	for _, w := range r.first {
		for ; w != nil; w = w.next {
			list = append(list, w)
		}
	}
	r.mu.Unlock()
	r.callAll(list)
}
