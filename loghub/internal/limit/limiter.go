// SPDX-License-Identifier: AGPL-3.0-or-later

// Package limit keeps a source that says the same thing over and over from filling everything: of lines of one shape (see
// Shape) so many are kept in a window of time, and the others are counted, to be told in one record.
//
// A window begins with the first line of its shape and is measured by the times of the lines, so that a backlog that is
// read in a moment is no flood. When it is over, by a later line or since none came, what was suppressed is to be told.
//
// Memory is bounded: 64 shapes are known at once, four of them in a row of places that their hash decides. Another one takes
// the place of the one that was quiet for longest; what that suppressed is told then, and its count begins anew.
//
// Left out: which lines must never be suppressed, and how a Tally outlives its process; both are the source's business.
package limit

import "time"

// Room of a Limiter.
const (
	slots      = 64
	ways       = 4
	maxExample = 200 // bytes
)

// Line is what a Limiter has to know of a line.
type Line struct {
	Shape    uint64
	Severity uint8
	At       int64  // its time, in ns since 1970
	Bytes    int    // in the source
	Place    uint64 // by which it can be named
	Text     []byte // to be shown
}

// Tally is what was suppressed of a shape. Times are in ns since 1970.
type Tally struct {
	Count, Bytes int64
	First, Last  int64
	Severity     uint8  // the worst
	Place        uint64 // of the last
	Example      string // the beginning of the first; "": not known any more
}

// None says whether nothing was suppressed.
func (t Tally) None() bool { return t.Count == 0 }

// Add adds another one.
func (t *Tally) Add(o Tally) {
	switch {
	case o.None():
		return
	case t.None():
		*t = o
		return
	}
	t.Count += o.Count
	t.Bytes += o.Bytes
	t.First, t.Last = min(t.First, o.First), max(t.Last, o.Last)
	t.Severity, t.Place, t.Example = max(t.Severity, o.Severity), max(t.Place, o.Place), ""
}

// Limiter is one source's. Copies of it are independent; nil keeps all. One goroutine uses it.
type Limiter struct {
	rate    Rate
	untold  int // shapes with something to tell
	carried Tally
	table   [slots]shape
}

// shape is what is known of one.
type shape struct {
	hash  uint64
	from  int64 // when its window began
	seen  int64 // when the last line was read, by the clock; 0: there is none
	kept  int
	tally Tally
}

// New returns a Limiter; nil for the zero Rate.
func New(r Rate) *Limiter {
	if r.Lines == 0 {
		return nil
	}
	return &Limiter{rate: r}
}

// Rate is what it was made with.
func (l *Limiter) Rate() Rate { return l.rate }

// Carry takes over what nobody has told yet.
func (l *Limiter) Carry(t Tally) { l.carried.Add(t) }

// Take says whether a line is kept, or counts it. over is what has to be told before it, if anything; it is taken out.
func (l *Limiter) Take(line Line, now time.Time) (keep bool, over Tally) {
	s := l.find(line.Shape)
	window := int64(l.rate.Window)
	if s.seen == 0 || s.hash != line.Shape || line.At-s.from >= window || s.from-line.At >= window {
		over = l.end(s)
		*s = shape{hash: line.Shape, from: line.At}
	}
	s.seen = now.UnixNano()
	if s.kept < l.rate.Lines {
		s.kept++
		return true, over
	}
	t := &s.tally
	if t.None() {
		l.untold++
		*t = Tally{First: line.At, Last: line.At, Severity: line.Severity, Example: string(line.Text[:min(len(line.Text), maxExample)])}
	}
	t.Count++
	t.Bytes += int64(line.Bytes)
	t.First, t.Last, t.Place = min(t.First, line.At), max(t.Last, line.At), line.Place
	return false, over
}

// find gives the place of a shape: its own, a free one, or that of the one that was quiet for longest.
func (l *Limiter) find(hash uint64) *shape {
	row := l.table[hash>>32%(slots/ways)*ways:][:ways]
	oldest := &row[0]
	for i := range row {
		s := &row[i]
		if s.seen != 0 && s.hash == hash {
			return s
		}
		if s.seen < oldest.seen {
			oldest = s
		}
	}
	return oldest
}

// end takes out what a shape has to tell.
func (l *Limiter) end(s *shape) Tally {
	t := s.tally
	if s.tally = (Tally{}); !t.None() {
		l.untold--
	}
	return t
}

// Due takes out something that has to be told now: what was carried, and what was suppressed in windows after which nothing
// came. all: whether they are over or not.
func (l *Limiter) Due(now time.Time, all bool) (t Tally, ok bool) {
	if l == nil {
		return Tally{}, false
	}
	if !l.carried.None() {
		t, l.carried = l.carried, Tally{}
		return t, true
	}
	for i := range l.table {
		if l.untold == 0 {
			break
		}
		s := &l.table[i]
		if !s.tally.None() && (all || now.UnixNano()-s.seen >= int64(l.rate.Window)) {
			t = l.end(s)
			*s = shape{}
			return t, true
		}
	}
	return Tally{}, false
}

// Next is when something will be due; the zero time: nothing is to be told.
func (l *Limiter) Next() (at time.Time) {
	if l == nil {
		return at
	}
	if !l.carried.None() {
		return time.Unix(1, 0)
	}
	for i := range l.table {
		if l.untold == 0 {
			break
		}
		if s := &l.table[i]; !s.tally.None() {
			if due := time.Unix(0, s.seen).Add(l.rate.Window); at.IsZero() || due.Before(at) {
				at = due
			}
		}
	}
	return at
}

// Untold is all that has not been told.
func (l *Limiter) Untold() Tally {
	if l == nil {
		return Tally{}
	}
	t := l.carried
	for i := range l.table {
		if l.untold == 0 {
			break
		}
		t.Add(l.table[i].tally)
	}
	return t
}
