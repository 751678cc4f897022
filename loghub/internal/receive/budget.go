// SPDX-License-Identifier: AGPL-3.0-or-later

package receive

import (
	"io"
	"sync"
)

const (
	budgetBodies = 4  // bodies of the largest size that have room at the same time
	budgetShares = 64 // parts of the whole, of which a peer may have one as long as there is any
)

// budget bounds the bytes of bodies that arrive: in all, and of one peer, so that nobody keeps the others out by
// sending slowly. Bytes are taken as they come, not as they are announced.
//
// Beyond a small share a peer may have half of what is still free (Choudhury and Hahne, "Dynamic Queue Length Thresholds for
// Shared-Memory Packet Switches"): one alone, and two at a time, have room for the largest body, and several that take all
// they get and keep it leave something to the next: four, where bodies have 16 MiB at most, 4 MiB.
type budget struct {
	total, each, share int64

	mu   sync.Mutex
	used int64
	by   map[string]int64
}

func newBudget(body int64) *budget {
	total := budgetBodies * (body + 1)
	return &budget{total: total, each: body + 1, share: total / budgetShares, by: make(map[string]int64)}
}

// take asks for n bytes more.
func (b *budget) take(peer string, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	free, has := b.total-b.used-n, b.by[peer]+n
	if free < 0 || has > b.each || has > b.share && has > free/2 {
		return false
	}
	b.used += n
	b.by[peer] += n
	return true
}

func (b *budget) give(peer string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	if b.by[peer] -= n; b.by[peer] <= 0 {
		delete(b.by, peer)
	}
}

// reader reads a body against the budget; done gives back what it took.
type reader struct {
	io.Reader
	budget *budget
	peer   string
	taken  int64
	over   bool // the budget gave no more
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		if !r.budget.take(r.peer, int64(n)) {
			r.over = true
			return 0, io.ErrShortBuffer
		}
		r.taken += int64(n)
	}
	return n, err
}

func (r *reader) done() { r.budget.give(r.peer, r.taken) }
