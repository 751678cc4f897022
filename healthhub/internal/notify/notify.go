// SPDX-License-Identifier: AGPL-3.0-or-later

// Package notify tells people what is wrong with a host or the fleet, once, and when it is over.
//
// In: the tree of health, as it is every second ([Config.Source]). What is told of are causes: rollup.Reasons finds the leaves
// that make the root what it is and what is behind each of them, and reasons of one cause are one thing. A host that is
// silent is one cause and not thirty, an isolated observer is one, a redundancy group is one. What counts nowhere (muted,
// info, unexpected, unsupported), what is starting and what said goodbye is no cause.
//
// Out: to each receiver (webhook.Hook) messages of what changed since it was told last. Each receiver has a [book] of what it
// was told, and a message is the difference between that and the truth: it is entered when it has arrived. So there is no
// queue that could grow. While a receiver cannot be reached the difference grows, is told in one message when it can, and what
// was over by then is not told at all. For the same reason a message may arrive twice when the machine dies between its
// arrival and the entry, and is never lost.
//
// When something is told:
//
//   - A problem after [hold], so that its real cause may show first, and what comes together is told together. Silence is
//     held for [holdSilence]: mostly something was restarted. What is over within that is not told.
//   - Once, until it is resolved; then again. Getting worse (warn to unknown or fail) is told too; so is the end of a mute
//     of what was told before, and with a reminder set what goes on for longer than that.
//   - Resolved when it has been well for hold, counting neither starting nor what hides behind something else that is
//     told of: a check of a silent host, one that depends on a failing one. Each time a cause comes back within
//     [relapse] it must be well for twice as long before that is told, so that what comes and goes is told of little.
//   - At most one message in every (a setting) to a receiver.
//   - Forced states (healthhub chaos) are told like others, marked as a test: that is what they are for.
//
// The books are kept in <state>/notify.json, replaced with every message. A restart repeats nothing, and forgets no recovery.
//
// A receiver that does not take messages is said once in the log, shown as the check notify/<name>, which other receivers tell of,
// and tried again, ever more rarely. [DeadMan] tells somebody outside that all of this is alive.
//
// Left out: what a message looks like to its receiver (webhook), people's calendars, escalation and acknowledgement: what
// receivers are for.
package notify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/webhook"
	"cloud4.internal/hub/internal/health"
)

// Pauses and bounds.
const (
	tick        = time.Second
	rest        = 20               // of the time that looking for causes takes: a twentieth of a core at most
	hold        = 10 * time.Second // from the beginning of something to its message
	holdSilence = time.Minute      // the same for what is not known
	relapse     = time.Hour        // within which something comes again, rather than anew
	maxHold     = 10 * time.Minute // how long a recovery is held, however often

	stopLimit = 500 * time.Millisecond // for a message that is on its way when serve ends
	retryMin  = 10 * time.Second       // after a message that did not arrive
	retryMax  = 5 * time.Minute

	maxCauses = 10000 // that a book knows at one time, and that are looked for
)

// CheckPrefix begins the names of the checks that tell how receivers fare.
const CheckPrefix = "notify/"

// Receiver is somebody to be told.
type Receiver struct {
	Name   string
	Hook   Hook
	Min    health.State  // Warn: everything; Fail: what makes the root unknown or fail
	Every  time.Duration // between two messages at least
	Remind time.Duration // after which a problem is told again; 0: never
}

// Hook takes messages: *webhook.Hook.
type Hook interface {
	Send(ctx context.Context, m webhook.Message) (webhook.Answer, error)
	Close()
}

// Config says whom to tell of what.
type Config struct {
	Source    func() page.Snapshot // the tree as it is
	Receivers []Receiver           // names differ
	StateDir  string               // where the books are kept; "": nowhere
	Changed   func()               // called when Nodes has something else to say
	Log       zerolog.Logger
}

// Notifier tells receivers. Run is one goroutine; the other methods may be called from any.
type Notifier struct {
	Config
	receivers []*receiver
	tree      *health.Node // of the last look
	causes    []cause      // of that tree
	rested    time.Time    // not before: looking for them took so long
	looked    atomic.Int64 // when that was, Unix nanoseconds
	nodes     atomic.Pointer[[]health.Node]
	unsaved   atomic.Pointer[error] // why the books cannot be kept; nil: they can
}

// receiver is one with its book. All but outbox and outcome belongs to Run.
type receiver struct {
	Receiver
	book    book
	outbox  chan letter // has room for one
	busy    bool
	sent    time.Time // when the last message arrived
	next    time.Time // not before: after a failure
	pause   time.Duration
	trouble string // why the last message did not arrive; "": it did
	since   time.Time
}

// letter is a message with what it tells, to be entered once it has arrived.
type letter struct {
	message webhook.Message
	news    []news
}

// outcome is what became of a letter.
type outcome struct {
	to *receiver
	letter
	err error
}

// New makes a notifier with the books of before.
func New(c Config) *Notifier {
	n := &Notifier{Config: c}
	books, err := readBooks(c.StateDir)
	if err != nil {
		n.Log.Warn().Err(err).Msg("what was told before the restart is not known: what is still wrong is told again")
	}
	for _, r := range c.Receivers {
		book := newBook(r)
		book.restore(books[r.Name])
		n.receivers = append(n.receivers, &receiver{Receiver: r, book: book, outbox: make(chan letter, 1)})
	}
	n.publish()
	return n
}

// Run tells until ctx is done.
func (n *Notifier) Run(ctx context.Context) error {
	outcomes := make(chan outcome)
	var sending sync.WaitGroup
	defer sending.Wait()
	for _, r := range n.receivers {
		sending.Go(func() { r.send(ctx, outcomes) })
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	n.look()
	for {
		select {
		case <-ctx.Done():
			n.drain(outcomes)
			for _, r := range n.receivers {
				close(r.outbox)
			}
			return nil
		case o := <-outcomes:
			n.settle(o)
		case <-ticker.C:
			n.look()
		}
	}
}

// drain enters what arrived in the last moment: else it would be told again after the restart.
func (n *Notifier) drain(outcomes <-chan outcome) {
	for slices.ContainsFunc(n.receivers, func(r *receiver) bool { return r.busy }) {
		o := <-outcomes
		o.to.busy = false
		if o.err == nil {
			o.to.book.enter(time.Now(), o.news)
			n.keep()
		}
	}
}

// look compares the books with the truth, and sends what there is to tell.
func (n *Notifier) look() {
	now := time.Now()
	tree := n.Source().Node
	n.looked.Store(now.UnixNano())
	if tree == nil || len(n.receivers) == 0 {
		return
	}
	if tree != n.tree && !now.Before(n.rested) {
		n.tree, n.causes = tree, causes(tree, maxCauses)
		n.rested = now.Add(rest * time.Since(now))
	}
	for _, r := range n.receivers {
		r.book.look(now, n.tree, n.causes)
		if r.busy || now.Before(r.next) || !r.sent.IsZero() && now.Sub(r.sent) < r.Every {
			continue
		}
		if told := r.book.due(now); len(told) > 0 {
			r.busy = true
			r.outbox <- letter{compose(n.tree, now, told, r.book.open()), told}
		}
	}
}

// send sends what is put into the outbox until that is closed. It alone waits for the receiver, from the end of ctx on not for long.
func (r *receiver) send(ctx context.Context, outcomes chan<- outcome) {
	defer r.Hook.Close()
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopLimit, cancel) })()
	for l := range r.outbox {
		_, err := r.Hook.Send(sending, l.message)
		outcomes <- outcome{r, l, err}
	}
}

// settle enters what became of a message.
func (n *Notifier) settle(o outcome) {
	r, now := o.to, time.Now()
	r.busy = false
	was := r.trouble
	if o.err != nil {
		r.failed(now, o.err)
		if was == "" {
			n.Log.Warn().Str("receiver", r.Name).Str("reason", r.trouble).Msg("notifications do not arrive")
		}
	} else {
		r.sent, r.next, r.pause, r.trouble, r.since = now, time.Time{}, 0, "", time.Time{}
		r.book.enter(now, o.news)
		n.keep()
		if was != "" {
			n.Log.Info().Str("receiver", r.Name).Msg("notifications arrive again")
		}
	}
	n.publish()
	if (was == "") != (r.trouble == "") && n.Changed != nil {
		n.Changed()
	}
}

// failed says when to try again.
func (r *receiver) failed(now time.Time, err error) {
	if r.trouble == "" {
		r.since = now
	}
	r.trouble = err.Error()
	r.pause = min(max(2*r.pause, retryMin), retryMax)
	wait := r.pause/2 + rand.N(r.pause/2)
	if e, ok := err.(*webhook.Error); ok {
		if e.Wrong {
			wait = retryMax // only people can change that
		}
		wait = max(wait, e.After)
	}
	r.next = now.Add(wait)
}

// keep writes the books.
func (n *Notifier) keep() {
	books := map[string]storedBook{}
	for _, r := range n.receivers {
		books[r.Name] = r.book.stored()
	}
	err := writeBooks(n.StateDir, books)
	was := n.unsaved.Load()
	if err == nil {
		n.unsaved.Store(nil)
		return
	}
	n.unsaved.Store(&err)
	if was == nil {
		n.Log.Warn().Err(err).Msg("what was told is not remembered over a restart")
	}
}

// publish makes the checks of the receivers.
func (n *Notifier) publish() {
	nodes := make([]health.Node, len(n.receivers))
	for i, r := range n.receivers {
		node := health.Node{Kind: health.KindCheck, Name: CheckPrefix + r.Name, Since: stamp(r.since)}
		switch {
		case r.trouble != "":
			node.State = health.Warn
			node.Text = health.CleanText("notifications do not arrive: " + r.trouble)
			node.Action = fmt.Sprintf("healthhub notify --test %s says at once whether health.notify.%s is right", r.Name, r.Name)
		case r.sent.IsZero():
			node.Text = "nothing to tell since the start"
		default:
			node.Text = "last told at " + r.sent.UTC().Format("2006-01-02 15:04:05 UTC")
		}
		nodes[i] = node
	}
	n.nodes.Store(&nodes)
}

// Nodes are checks that tell how the receivers fare.
func (n *Notifier) Nodes() []health.Node {
	nodes := slices.Clone(*n.nodes.Load())
	for i := range nodes {
		nodes[i].ObservedAt = stamp(time.Now())
	}
	return nodes
}

// Alive says why what is wrong might not be told now; nil: it would be.
func (n *Notifier) Alive() error {
	if err := n.unsaved.Load(); err != nil {
		return *err
	}
	if age := time.Since(time.Unix(0, n.looked.Load())); age > lookLimit {
		return fmt.Errorf("nobody has looked for %v whether there is something to tell", age.Round(time.Second))
	}
	return nil
}

// lookLimit is how old the last look of something that lives may be.
const lookLimit = 30 * time.Second
