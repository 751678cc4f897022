// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"encoding/binary"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/limit"
)

// What a limit suppresses makes no record until it is told, and yet its place is passed. So how much was suppressed and not
// told stands in the spool with that place, behind the proof: in the same frame, so that a kill at any point leaves both or
// neither. A record that tells is preceded by a frame with the count before it and after it; which one holds, the number of
// the last record says, since the record may be what a kill cut off.

// limited is the limit of one source; the zero value has none.
type limited struct {
	rate   limit.Rate
	l      *limit.Limiter
	saved  *limit.Limiter // as it was when all of it was in the spool; of a source that reads again what it could not commit
	behind bool           // something was suppressed behind the last frame
	count  int64          // suppressed since then
}

// ready makes what limiting takes.
func (x *limited) ready() {
	if x.l == nil {
		x.l = limit.New(x.rate)
		x.save()
	}
}

// rest lets go of it where nothing is to be told.
func (x *limited) rest() {
	if x.l.Next().IsZero() {
		x.l, x.saved = nil, nil
	}
}

// on says whether anything is limited, or to be told.
func (x *limited) on() bool { return x.l != nil }

// take says whether a record is kept. over is to be told before it.
func (x *limited) take(g *join.Group, rec *otlp.Record, place uint64) (keep bool, over limit.Tally) {
	if x.l == nil || x.rate.Lines == 0 || g.Piece > 0 || g.Open || g.Part > 0 || g.Cut {
		return true, over
	}
	shape, text, ok := event.Alike(rec)
	if !ok {
		return true, over
	}
	line := limit.Line{Shape: shape, Severity: rec.Severity, At: int64(rec.Time), Bytes: g.Bytes, Place: place, Text: text}
	if keep, over = x.l.Take(line, time.Now()); !keep {
		x.behind = true
		x.count++
	}
	return keep, over
}

// carry takes over what an earlier life did not tell.
func (x *limited) carry(t limit.Tally) {
	if t.None() {
		return
	}
	x.ready()
	if x.l == nil { // the limit was taken away since
		x.l = new(limit.Limiter)
	}
	x.l.Carry(t)
	x.save()
}

// save and back keep the limit in step with what a source commits, or reads again.
func (x *limited) save() {
	if x.l == nil {
		return
	}
	if x.saved == nil {
		x.saved = new(limit.Limiter)
	}
	*x.saved = *x.l
}

// taken is how many lines were suppressed since it was asked last.
func (x *limited) taken() (n int64) {
	n, x.count = x.count, 0
	return n
}

func (x *limited) back() {
	if x.l != nil && x.saved != nil {
		*x.l = *x.saved
	}
	x.behind, x.count = false, 0
}

// appendUntold adds to a proof what is not told, for the place behind record seq. told is about to be told by the next one.
func (x *limited) appendUntold(proof []byte, seq uint64, told limit.Tally) []byte {
	if x.behind = false; x.l == nil {
		return proof
	}
	after := x.l.Untold()
	before := after
	before.Add(told)
	if before.None() {
		return proof
	}
	proof = binary.AppendUvarint(proof, seq)
	return appendTally(appendTally(proof, before), after)
}

func appendTally(dst []byte, t limit.Tally) []byte {
	for _, n := range []uint64{uint64(t.Count), uint64(t.Bytes), uint64(t.First), uint64(t.Last), uint64(t.Severity), t.Place} {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

// tallyNumbers is how many numbers appendUntold writes, if any.
const tallyNumbers = 13

// untold reads what appendUntold wrote; seq is the last record there is.
func untold(b []byte, seq uint64) (t limit.Tally) {
	var n [tallyNumbers]uint64
	for i := range n {
		v, size := binary.Uvarint(b)
		if size <= 0 {
			return limit.Tally{}
		}
		n[i], b = v, b[size:]
	}
	v := n[1:7]
	if seq > n[0] {
		v = n[7:]
	}
	if v[0] == 0 {
		return limit.Tally{}
	}
	return limit.Tally{
		Count: int64(v[0]), Bytes: int64(v[1]), First: int64(v[2]), Last: int64(v[3]), Severity: uint8(v[4]), Place: v[5],
	}
}
