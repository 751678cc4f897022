// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"encoding/binary"
	"time"

	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/limit"
	"cloud4.internal/hub/loghub/internal/spool"
)

// What a pipe sheds makes no record until it is told, and may have to wait for that for as long as the spool is full. So the
// place of a pipe never passes what was shed alone: a frame that moves it on is preceded by a proof of the place where it
// begins, which holds the loss up to there, or is the place of the record that tells it. What was shed behind the last proof
// lies between the place and what was taken from the pipe, where the next process finds it. Whatever was written, or refused,
// or cut off by a kill: what was taken is what stands in records in front of the place, the loss in its proof, the carry, and
// what lies behind.
//
// A proof is: the place | pieces taken of the line that goes on there | what limits suppressed (limited.go) | number of
// the last record | whether the next one tells the loss | the loss. Whether it was told, the number of the last record says,
// since that record may be what a kill cut off.

// lose counts a record that is shed.
func (p *Pipe) lose(reason string, severity uint8, bytes int) {
	p.n.lose(&p.loss, reason, severity, bytes)
	p.behind = true
}

// taken is how many pieces stand in front of a group that is a piece of a line.
func taken(g *join.Group) int { return max(g.Piece-1, 0) }

// markUntold marks where the group that ends at pos begins, if something before it makes no record.
func (p *Pipe) markUntold(g *join.Group, pos uint64) {
	if p.batch != nil && (p.behind || p.limits.behind) {
		p.prove(pos-uint64(g.Bytes), taken(g))
	}
}

// prove marks a place, behind which so many pieces of a line were taken.
func (p *Pipe) prove(pos uint64, pieces int) {
	p.batch.Prove(pos, p.seq, p.proofAt(pos, pieces, limit.Tally{}, false))
}

// tellLoss puts the record of the loss in its place, before the record that begins at pos.
func (p *Pipe) tellLoss(pos uint64, pieces int) {
	p.batch.Prove(pos, p.seq, p.proofAt(pos, pieces, limit.Tally{}, true))
	p.seq++
	p.batch.Record(pos, p.seq, p.builder.Loss(&p.loss, p.o.Name, p.seq))
	p.told, p.loss, p.toldAt = p.loss, event.Loss{}, time.Now()
}

// keepLoss writes down what found no room to be told, for the next process.
func (p *Pipe) keepLoss() {
	if !p.behind || p.src == nil {
		return
	}
	if err := p.save(); err != nil {
		p.sh.Log.Warn().Err(err).Str("source", p.o.Name).Msg("how much was lost at the end is not known to the next start")
	}
}

// proofAt is the proof of a place. The next record tells of over, and with tells of the loss.
func (p *Pipe) proofAt(pos uint64, pieces int, over limit.Tally, tells bool) []byte {
	p.behind = false
	if pieces == 0 && !p.limits.on() && p.loss.None() {
		return nil
	}
	proof := binary.AppendUvarint(binary.AppendUvarint(nil, pos), uint64(pieces))
	n := len(proof)
	proof = p.limits.appendUntold(proof, p.seq, over)
	if p.loss.None() {
		return proof
	}
	if len(proof) == n {
		proof = append(proof, make([]byte, tallyNumbers)...)
	}
	next := uint64(0)
	if tells {
		next = 1
	}
	proof = binary.AppendUvarint(binary.AppendUvarint(proof, p.seq), next)
	return p.loss.Append(proof)
}

// proved is what a proof holds.
type proved struct {
	mark join.Mark   // whether the carry goes on with a line whose beginning was taken
	over limit.Tally // suppressed and not told
	loss event.Loss  // not told
}

func provedOf(st spool.State) (v proved) {
	pos, n := binary.Uvarint(st.Proof)
	if n <= 0 {
		return v
	}
	rest := st.Proof[n:]
	pieces, n := binary.Uvarint(rest)
	if n <= 0 {
		return v
	}
	if rest = rest[n:]; pos == st.Pos-uint64(len(st.Carry)) && pieces <= 1<<30 {
		v.mark = join.InLine(int(pieces))
	}
	v.over = untold(rest, st.Seq)
	var seq, tells uint64
	for i := range tallyNumbers + 2 {
		x, n := binary.Uvarint(rest)
		if n <= 0 {
			return v
		}
		if rest = rest[n:]; i == tallyNumbers {
			seq = x
		} else {
			tells = x
		}
	}
	if loss, ok := event.ParseLoss(rest); ok && (tells == 0 || st.Seq <= seq) {
		v.loss = loss
	}
	return v
}
