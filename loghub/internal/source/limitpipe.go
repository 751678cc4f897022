// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/limit"
)

// limit says what becomes of the record of a group that ends at pos; nil: it is suppressed. It has its number all the same.
func (p *Pipe) limit(g *join.Group, rec *otlp.Record, pos uint64) *otlp.Record {
	keep, over := p.limits.take(g, rec, p.seq+1)
	if !over.None() {
		p.tellLimited(over, pos-uint64(g.Bytes), taken(g))
		rec = p.builder.Group(g, p.seq+1)
	}
	if keep {
		return rec
	}
	p.seq++
	if p.o.Name != "hubs" {
		var s Severities
		s.add(rec.Severity)
		p.sh.Counts.add(s)
	}
	return nil
}

// tellLimited puts the record of what was suppressed before the place pos, behind which so many pieces of a line were taken.
func (p *Pipe) tellLimited(over limit.Tally, pos uint64, pieces int) {
	if p.batch != nil {
		p.batch.Prove(pos, p.seq, p.proofAt(pos, pieces, over, false))
		p.limitTold.Add(over)
	}
	p.seq++
	p.n.records.Add(1)
	rec := p.builder.Limited(over, p.limits.rate, p.o.Name, p.seq)
	if p.sh.Emit != nil {
		p.sh.Emit(p.o.Name, rec)
	}
	if p.batch != nil {
		p.batch.Record(pos, p.seq, rec)
	}
}

// tellDue tells what was suppressed in windows that are over; all: in all of them.
func (p *Pipe) tellDue(all bool) {
	if p.batch != nil {
		if p.fill = p.sh.Spool.Fill(); p.fill >= shedAll {
			return
		}
	}
	now := time.Now()
	over, ok := p.limits.l.Due(now, all)
	for ; ok; over, ok = p.limits.l.Due(now, all) {
		p.tellLimited(over, p.pos-uint64(len(p.carry)), p.join.Mark().Pieces())
	}
	p.commit()
}

// limitDue is when tellDue is to be called; the zero time: it need not be.
func (p *Pipe) limitDue() time.Time {
	at := p.limits.l.Next()
	if !at.IsZero() && p.fill >= shedAll { // there is no room for it now
		return time.Now().Add(lossWait)
	}
	return at
}
