// SPDX-License-Identifier: AGPL-3.0-or-later

// Package record is the flight recorder: what changed in a tree of health, when, from what to what, and what was seen.
//
// In: [Recorder.Note] with the tree before and after, from whoever sums it up (agent, collect). A transition is a
// state that became another one, a flag that came or went ([telling]), a node that came or went. While a node is
// flapping its states are no transitions: the beginning and the end are. Out: the transitions themselves from Note, for
// whoever tells of them at once, [Recorder.Since] for who missed some, [Recorder.Query] for people.
//
// The last ones are kept in memory, each as the line of JSON that also goes to the disk. [Recorder.Run] writes them to
// history.jsonl, only after a transition and a moment in which more may come, and makes the disk keep them (fsync) at
// most every ten seconds: five hundred transitions in a second are one fsync, and a quiet year none. The file is appended
// to; when it has grown to about twice of what is kept it is replaced whole. What stands in it is there again after a
// restart, followed by a mark. A line cut short by a crash is dropped; a disk that is full or broken costs the file alone,
// and is said once.
//
// seq counts up by one and runs on over restarts, as far as the file reached. Times are of the wall clock, as people ask
// for them; after the clock was set they may go back, and seq tells what came first.
//
// Left out: judging (rollup), sending (notifications, page), locking against a second writer of the same directory.
package record

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"cloud4.internal/hub/internal/health"
)

// Size is how many transitions are kept where nobody says.
const Size = 1000

// KindMark is the kind of an event that is no transition of a node: Path is empty, Text says what happened.
const KindMark = "mark"

// What an event keeps of a node's texts, in bytes: it must be told apart from others, not be told whole.
const (
	maxText   = 400
	maxAction = 200
)

// Event is one transition, or a mark.
type Event struct {
	Seq    uint64        `json:"seq"`              // counts up by one, from 1
	At     time.Time     `json:"at"`               // to the millisecond, UTC
	Path   string        `json:"path"`             // names from below the root, joined by "/"; empty: the root itself
	Kind   string        `json:"kind"`             // of the node; KindMark
	From   *health.State `json:"from,omitempty"`   // nil: it was not there
	To     *health.State `json:"to,omitempty"`     // nil: it is not there any more. Equal to From: its flags changed
	Text   string        `json:"text,omitempty"`   // the node's, cut
	Flags  []string      `json:"flags,omitempty"`  // the node's, afterwards
	Action string        `json:"action,omitempty"` // the node's, cut
}

// below reports whether the event is of the node at path, or of one below it.
func (e *Event) below(path string) bool {
	return path == "" || e.Path == path || strings.HasPrefix(e.Path, path) && e.Path[len(path)] == '/'
}

// Recorder keeps the last transitions. Its methods may be called from several goroutines.
type Recorder struct {
	dir  string // of the file; empty: none
	wake chan struct{}

	mu    sync.Mutex // guards what follows
	lines [][]byte   // the event of seq stands at seq % len, as JSON with a line feed
	next  uint64     // seq of the next event
	first uint64     // seq of the oldest that is kept; next: none
	file  file       // changed by one at a time: New, then Run
}

// New makes a recorder that keeps the last size transitions, and takes up what <dir>/history.jsonl holds of them. What
// cannot be read of it is left out. An empty dir keeps them in memory alone.
func New(dir string, size int) *Recorder {
	r := &Recorder{dir: dir, wake: make(chan struct{}, 1), lines: make([][]byte, size), next: 1, first: 1}
	if dir == "" {
		return r
	}
	events := r.file.read(dir)
	for _, e := range events[max(0, len(events)-size):] {
		r.keep(e)
	}
	r.file.upTo = r.next - 1
	if len(events) > 0 {
		r.Mark("restarted", time.Now())
	}
	return r
}

// Mark adds an event that is no transition.
func (r *Recorder) Mark(text string, at time.Time) {
	r.mu.Lock()
	r.add(&Event{At: at, Kind: KindMark, Text: text})
	r.mu.Unlock()
	r.poke()
}

// Note adds the transitions between two trees of one root, and returns them. before is nil where there is none yet: then
// only the root's state is noted. Children that are the same slice in both are taken to be unchanged.
//
// Of more transitions than a quarter of what is kept the lower levels are left out, and a mark says how many.
func (r *Recorder) Note(before, after *health.Node, at time.Time) []Event {
	var d differ
	d.compare(before, after)
	if len(d.events) == 0 {
		return nil
	}
	out, dropped := d.upper(max(len(r.lines)/4, 1))
	if dropped > 0 {
		out = append(out, Event{Kind: KindMark, Text: countText(dropped)})
	}
	r.mu.Lock()
	for i := range out {
		out[i].At = at
		r.add(&out[i])
	}
	r.mu.Unlock()
	r.poke()
	return out
}

// add gives an event its number and keeps it. The caller holds the lock.
func (r *Recorder) add(e *Event) {
	e.Seq, e.At = r.next, e.At.UTC().Truncate(time.Millisecond)
	r.keep(*e)
}

// keep takes in an event whose number is above all others.
func (r *Recorder) keep(e Event) {
	size := uint64(len(r.lines))
	if r.next == r.first || e.Seq-r.next >= size {
		r.first, r.next = e.Seq, e.Seq
	}
	for ; r.next < e.Seq; r.next++ { // numbers that the file did not have
		r.lines[r.next%size] = nil
	}
	r.lines[e.Seq%size] = line(&e)
	r.next = e.Seq + 1
	r.first = max(r.first, r.next-min(size, r.next))
}

func (r *Recorder) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Last is the number of the newest event; 0: none.
func (r *Recorder) Last() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next - 1
}

// Since gives the events after the one numbered seq, newest last. complete is false where some of them are not kept any more, or
// where no event of that number was ever given out: who asked has to begin anew.
func (r *Recorder) Since(seq uint64) (events []Event, complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seq >= r.next {
		return []Event{}, false
	}
	return decode(r.copy(max(seq+1, r.first)), nil), seq+1 >= r.first
}

// Query gives the newest limit events (0: all that are kept) of the node at path and those below it, none of them from before
// since, newest last. An empty path is the root's: all events, marks among them.
func (r *Recorder) Query(path string, since time.Time, limit int) []Event {
	r.mu.Lock()
	lines := r.copy(r.first)
	r.mu.Unlock()
	if path != "" { // names need no escaping: most lines are passed over without decoding them
		start := []byte(`"path":"` + path)
		lines = slices.DeleteFunc(lines, func(l []byte) bool { return !bytes.Contains(l, start) })
	}
	events := decode(lines, func(e *Event) bool { return e.below(path) && !e.At.Before(since) })
	if limit > 0 && len(events) > limit {
		events = events[len(events)-limit:]
	}
	return events
}

// copy gives the lines from one number on. The caller holds the lock; the lines never change.
func (r *Recorder) copy(from uint64) [][]byte {
	var out [][]byte
	for seq := from; seq < r.next; seq++ {
		out = append(out, r.lines[seq%uint64(len(r.lines))])
	}
	return out
}

// line encodes an event. Text may grow by half when it is quoted, but not sixfold: it is no HTML.
func line(e *Event) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		panic(err) // an Event of our making can be encoded
	}
	return bytes.Clone(b.Bytes())
}

func decode(lines [][]byte, want func(*Event) bool) []Event {
	events := []Event{}
	for _, l := range lines {
		var e Event
		if json.Unmarshal(l, &e) == nil && (want == nil || want(&e)) {
			events = append(events, e)
		}
	}
	return events
}

// cut shortens a text to so many bytes.
func cut(s string, limit int) string {
	const ellipsis = "…"
	if len(s) <= limit {
		return s
	}
	end := limit - len(ellipsis)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}
