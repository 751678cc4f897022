// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/limit"
)

// limit says what becomes of the record of a group that ends at t.next; nil: it is suppressed.
func (t *tail) limit(g *join.Group, rec *otlp.Record) *otlp.Record {
	start := t.next - int64(g.Bytes)
	keep, over := t.limits.take(g, rec, uint64(start))
	if !over.None() {
		t.tellLimited(over, start)
		rec = t.builder.Group(g, uint64(start))
	}
	if keep {
		if t.limits.behind && t.batch != nil {
			t.proveUntold(start, limit.Tally{})
		}
		return rec
	}
	if t.next > t.history {
		t.severities.add(rec.Severity)
	}
	t.copied = max(t.copied, t.next)
	return nil
}

// tellLimited puts the record of what was suppressed before the place at. Its uid is that of the last such line.
func (t *tail) tellLimited(over limit.Tally, at int64) {
	if t.batch != nil {
		t.proveUntold(at, over)
	}
	t.seq++
	t.n.records.Add(1)
	rec := t.builder.Limited(over, t.limits.rate, t.path, over.Place)
	if t.sh.Emit != nil && at >= t.copied {
		t.sh.Emit("stdout", rec)
	}
	if t.batch != nil {
		t.batch.Record(uint64(at), t.seq, rec)
	}
}

// proveUntold marks a place of the batch with what was suppressed before it. Its proof is that of an earlier one.
func (t *tail) proveUntold(at int64, told limit.Tally) {
	t.proof = t.limits.appendUntold(t.imprint.proof().append(t.proof[:0]), t.seq, told)
	t.batch.Prove(uint64(at), t.seq, t.proof)
}

// tellDue tells what was suppressed in windows that are over; all: in all of them.
func (t *tail) tellDue(now time.Time, all bool) error {
	over, ok := t.limits.l.Due(now, all)
	if !ok {
		return nil
	}
	t.ready()
	t.next = t.offset
	for ; ok; over, ok = t.limits.l.Due(now, all) {
		t.tellLimited(over, t.offset)
	}
	t.join.Rewind(t.mark)
	return t.commitTo(t.imprint, nil)
}

// oweLimited owes what was suppressed of a file that is no more, or is another from now on.
func (t *tail) oweLimited() {
	over := t.limits.l.Untold()
	t.limits.l, t.limits.saved = nil, nil
	switch {
	case over.None():
	case t.src != nil:
		t.files.oweLimited(t.aux, t.path, over)
	case t.sh.Emit != nil:
		t.ready()
		t.sh.Emit("stdout", t.builder.Limited(over, t.limits.rate, t.path, over.Place))
	}
}

func (f *Files) oweLimited(aux fileAux, path string, over limit.Tally) {
	f.owe(aux.owed(path, over.Place, event.LossOf(over)))
}

// rate says how many lines alike a set's files may have.
func (f *Files) rate(set string) limit.Rate {
	for _, s := range f.sets {
		if s.Name == set {
			return s.Limit
		}
	}
	return limit.Rate{}
}
