// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/limit"
)

// limit says what becomes of the record of a message; nil: it is suppressed. It has its number all the same.
func (s *Syslog) limit(m message, rec *otlp.Record) *otlp.Record {
	keep, over := s.limits.take(&join.Group{Bytes: len(m.text)}, rec, s.seq+1)
	if !over.None() {
		s.tellLimited(over)
		rec = s.build(m)
	}
	if keep {
		return rec
	}
	s.seq++
	var c Severities
	c.add(rec.Severity)
	s.sh.Counts.add(c)
	return nil
}

// markUntold writes down what was suppressed before the next record.
func (s *Syslog) markUntold() {
	if s.limits.behind {
		s.batch.Prove(0, s.seq, s.limits.appendUntold(nil, s.seq, limit.Tally{}))
	}
}

// tellLimited makes the record of what was suppressed.
func (s *Syslog) tellLimited(over limit.Tally) {
	if s.batch != nil {
		s.batch.Prove(0, s.seq, s.limits.appendUntold(nil, s.seq, over))
		s.limited.Add(over)
	}
	s.seq++
	s.n.records.Add(1)
	rec := s.builder.Limited(over, s.limits.rate, s.o.Path, s.seq)
	if s.sh.Emit != nil {
		s.sh.Emit(syslogKey, rec)
	}
	if s.batch != nil {
		s.batch.Record(0, s.seq, rec)
	}
}

// tellDue tells what was suppressed in windows that are over; all: in all of them.
func (s *Syslog) tellDue(all bool) {
	if !s.limits.on() || s.fill >= shedAll {
		return
	}
	now := time.Now()
	over, ok := s.limits.l.Due(now, all)
	for ; ok; over, ok = s.limits.l.Due(now, all) {
		s.tellLimited(over)
	}
	s.commit()
}
