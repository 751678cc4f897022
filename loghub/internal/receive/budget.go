// SPDX-License-Identifier: AGPL-3.0-or-later

package receive

import (
	"io"
	"sync"
)

// budgetPeers is how many peers may have a body of the largest size under way at the same time.
const budgetPeers = 4

// budget bounds the bytes of bodies that arrive: in all, and of one peer, so that nobody keeps the others out by
// sending slowly. Bytes are taken as they come, not as they are announced.
type budget struct {
	total, each int64

	mu   sync.Mutex
	used int64
	by   map[string]int64
}

func newBudget(body int64) *budget {
	return &budget{total: budgetPeers * (body + 1), each: body + 1, by: make(map[string]int64)}
}

// take asks for n bytes more.
func (b *budget) take(peer string, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+n > b.total || b.by[peer]+n > b.each {
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
