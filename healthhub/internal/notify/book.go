// SPDX-License-Identifier: AGPL-3.0-or-later

package notify

import (
	"maps"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/internal/health"
)

// book is what one receiver was told, and what there is to tell.
type book struct {
	receiver Receiver
	entries  map[string]*entry // by key
	missed   int               // causes of now for which there is no room
}

// entry is one cause. It is there from when it is first seen until it is resolved, and relapse longer.
type entry struct {
	now     cause     // as it was seen last
	present bool      // in the last look
	seen    time.Time // since when it is to be seen, of what is not told yet
	began   time.Time // when it became wrong, as far as that is known
	fine    time.Time // since when it is well; zero: it is not, or nobody can say
	end     fate      // and why that is: well, lesser or gone

	told   *told // nil: nothing, or that it was resolved
	times  int   // how often it came back within relapse of its end
	closed time.Time
}

// told is what the receiver was told last of something that is not resolved.
type told struct {
	at     time.Time
	bad    bool
	forced bool
	muted  bool // since then
}

// news is one thing to be told.
type news struct {
	cause
	status string        // webhook.StatusProblem and its like
	lasted time.Duration // how long it has been, or was
	note   string        // what is particular about it
}

func newBook(r Receiver) book { return book{receiver: r, entries: map[string]*entry{}} }

// counts reports whether this receiver wants to know of a cause. That it cannot be reached itself is nothing to tell it.
func (b *book) counts(c *cause) bool {
	return (c.bad() || b.receiver.Min <= health.Warn) && c.key != CheckPrefix+b.receiver.Name
}

// look takes in what is wrong now.
func (b *book) look(now time.Time, root *health.Node, seen []cause) {
	for _, e := range b.entries {
		e.present = false
	}
	b.missed = 0
	less := map[string]bool{} // wrong, but not enough to tell
	for _, c := range seen {
		if !b.counts(&c) {
			less[c.key] = true
			continue
		}
		e := b.entries[c.key]
		if e == nil && len(b.entries) >= maxCauses {
			b.missed++
			continue
		}
		if e == nil {
			e = &entry{}
			b.entries[c.key] = e
		}
		e.see(now, c)
	}
	for key, e := range b.entries {
		if e.present {
			continue
		}
		if e.told == nil {
			e.seen, e.began = time.Time{}, time.Time{}
			if e.times == 0 || now.Sub(e.closed) > relapse {
				delete(b.entries, key)
			}
			continue
		}
		f := lesser
		if !less[key] {
			f = fateOf(root, key)
		}
		e.miss(now, f)
	}
}

// see takes in that it is wrong now.
func (e *entry) see(now time.Time, c cause) {
	e.now, e.present, e.fine = c, true, time.Time{}
	if e.seen.IsZero() {
		e.seen = now
		if e.told == nil && now.Sub(e.closed) > relapse {
			e.times = 0
		}
	}
	if e.began.IsZero() {
		e.began = now
		if !c.since.IsZero() && c.since.Before(now) {
			e.began = c.since
		}
	}
}

// miss takes in that what was told is not to be seen any more.
func (e *entry) miss(now time.Time, f fate) {
	switch f {
	case muted:
		e.told.muted = true
		e.fine = time.Time{}
	case hidden:
		e.fine = time.Time{}
	default:
		if e.fine.IsZero() || e.end != f {
			e.fine, e.end = now, f
		}
	}
}

// due is what is to be told now: what has begun first, then reminders, then recoveries; each worst first.
func (b *book) due(now time.Time) []news {
	var out []news
	for _, e := range b.entries {
		if n, ok := e.due(now, b.receiver.Remind); ok {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, compareNews)
	return out
}

func (e *entry) due(now time.Time, remind time.Duration) (news, bool) {
	n := news{cause: e.now, lasted: max(0, now.Sub(e.began))}
	switch {
	case e.told == nil && e.present:
		wait := hold
		if e.now.state == health.Unknown {
			wait = holdSilence
		}
		n.status = problem
		return n, now.Sub(e.seen) >= wait
	case e.told == nil:
		return n, false
	case e.present && e.told.forced && !e.now.forced:
		n.status, n.note = problem, "and that is no test any more"
		return n, true
	case e.present && e.now.bad() && !e.told.bad:
		n.status, n.note = problem, "a warning before"
		return n, true
	case e.present && (e.told.muted || remind > 0 && now.Sub(e.told.at) >= remind):
		n.status = still
		return n, true
	case !e.fine.IsZero():
		n.status, n.lasted = resolved, max(0, e.fine.Sub(e.began))
		switch e.end {
		case gone:
			n.note = "it is not there any more"
		case lesser:
			n.note = "it is but a warning now"
		}
		return n, now.Sub(e.fine) >= e.patience()
	}
	return n, false
}

// patience is how long a recovery must hold before it is told.
func (e *entry) patience() time.Duration {
	wait := hold
	if e.end == gone {
		wait = holdSilence // after a restart of the server not everybody is there at once
	}
	return min(wait<<min(e.times, 10), maxHold)
}

// enter notes that news have arrived.
func (b *book) enter(now time.Time, arrived []news) {
	for _, n := range arrived {
		e := b.entries[n.key]
		if e == nil {
			continue
		}
		if n.status != resolved {
			e.told = &told{at: now, bad: n.bad() || e.told != nil && e.told.bad, forced: n.forced}
			continue
		}
		e.told, e.times, e.closed = nil, e.times+1, now
		e.seen, e.began, e.fine = time.Time{}, time.Time{}, time.Time{}
		if e.present { // it came back while that was on its way
			e.see(now, e.now)
		}
	}
}

// open is how many causes the receiver knows of, or is about to, that are not over.
func (b *book) open() int {
	count := b.missed
	for _, e := range b.entries {
		if e.present || e.told != nil && e.fine.IsZero() {
			count++
		}
	}
	return count
}

// compareNews puts problems first, recoveries last; of each the worst first, then by path.
func compareNews(a, b news) int {
	rank := func(n news) int { return slices.Index([]string{problem, still, resolved}, n.status) }
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	if d := int(b.counts) - int(a.counts); d != 0 {
		return d
	}
	return strings.Compare(a.key, b.key)
}

// stored is the book as it is kept.
func (b *book) stored() storedBook {
	var out storedBook
	for _, key := range slices.Sorted(maps.Keys(b.entries)) {
		e := b.entries[key]
		if e.told == nil && e.times == 0 {
			continue
		}
		s := storedEntry{Key: key, Began: stamp(e.began), Times: e.times, Closed: stamp(e.closed)}
		if e.told != nil {
			s.State, s.Counts, s.Text = e.now.state, e.now.counts, e.now.text
			s.Told = &storedTold{At: stamp(e.told.at), Bad: e.told.bad, Forced: e.told.forced, Muted: e.told.muted}
		}
		out.Causes = append(out.Causes, s)
	}
	return out
}

// restore takes in a book that was kept.
func (b *book) restore(from storedBook) {
	for _, s := range from.Causes[:min(len(from.Causes), maxCauses)] {
		e := &entry{began: s.Began, times: max(0, s.Times), closed: s.Closed}
		e.now = cause{key: s.Key, state: s.State, counts: s.Counts, text: health.CleanText(s.Text)}
		if t := s.Told; t != nil {
			e.told = &told{at: t.At, bad: t.Bad, forced: t.Forced, muted: t.Muted}
			e.now.forced = t.Forced
		}
		b.entries[s.Key] = e
	}
}

// stamp is a time without the clock of this process.
func stamp(t time.Time) time.Time { return t.Round(0).UTC() }
