// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"sync"
	"time"

	"cloud4.internal/hub/loghub/internal/event"
)

// Room of a mailbox.
const (
	mailboxBytes    = 4 << 20
	mailboxMessages = 16 << 10
	messageCost     = 256 // bytes that a message takes besides its text, about
)

// message is one datagram.
type message struct {
	text   []byte
	cut    int // bytes that were cut off its end
	from   *program
	before *event.Loss // what was shed in front of it; nil: nothing
}

// mailbox stands between a socket, whose writers must never wait, and the spool, which may. Under pressure it sheds the
// least severe first, as a pipe does. One goroutine puts, another takes.
type mailbox struct {
	news chan struct{} // holds a token when there is something to take

	mu    sync.Mutex
	queue []message
	bytes int
	loss  event.Loss // behind the last message
}

func newMailbox() *mailbox { return &mailbox{news: make(chan struct{}, 1)} }

// put keeps a message, or counts it as lost: then it returns false. It never waits.
func (b *mailbox) put(m message, severity uint8) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.ring()
	fill := max(float64(b.bytes)/mailboxBytes, float64(len(b.queue))/mailboxMessages)
	if shed(fill, severity) {
		b.loss.Add(event.ReasonSlow, severity, len(m.text), time.Now())
		return false
	}
	if !b.loss.None() {
		before := b.loss
		m.before, b.loss = &before, event.Loss{}
	}
	b.queue = append(b.queue, m)
	b.bytes += len(m.text) + messageCost
	return true
}

func (b *mailbox) ring() {
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// take empties the mailbox. into is a slice to use again; loss is what was shed behind the last message.
func (b *mailbox) take(into []message) (all []message, loss event.Loss) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all, loss = b.queue, b.loss
	b.queue, b.bytes, b.loss = into[:0], 0, event.Loss{}
	return all, loss
}
