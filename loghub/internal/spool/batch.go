// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"encoding/binary"

	"cloud4.internal/hub/internal/otlp"
)

// State is how far a source has been read.
type State struct {
	// Aux is what else the source wants to find again: an epoch, a file's path.
	Aux string
	// Pos is the offset in the stream of the first byte that was not framed.
	Pos uint64
	// Seq is the number of the last record.
	Seq uint64
	// Carry holds the beginning of a line whose end is still to come; Pos stands
	// behind it.
	Carry []byte
	// Proof shows later that Pos still is a place of the same stream. It stands
	// in the frame of a place at or before Pos; nil: there is none.
	Proof []byte
}

// Source is a source known to the spool; see Register.
type Source struct {
	key   string
	id    uint64
	state State // as committed; guarded by Spool.mu
}

// Batch collects the frames of one source until Commit writes them in one
// piece. It is used by one goroutine and reused after Commit.
type Batch struct {
	src     *Source
	buf     []byte
	records int
	pos     uint64
	seq     uint64
	carry   []byte
	proof   []byte
	cleared bool // a record or mark came, so the carry before it is gone
	moved   bool
}

// NewBatch returns an empty batch of src.
func NewBatch(src *Source) *Batch { return &Batch{src: src} }

// Len is the number of bytes collected, Records that of records.
func (b *Batch) Len() int     { return len(b.buf) }
func (b *Batch) Records() int { return b.records }

// Record adds a record. pos is the place behind its last byte in the source.
func (b *Batch) Record(pos, seq uint64, r *otlp.Record) {
	var at int
	b.buf, at = beginFrame(b.buf, kindRecord, r.Severity)
	b.place(pos, seq)
	b.buf = otlp.AppendRecord(b.buf, r)
	endFrame(b.buf, at)
	b.records++
	b.clear(pos, seq)
}

// Mark says that the source was read up to pos without a record.
func (b *Batch) Mark(pos, seq uint64) {
	var at int
	b.buf, at = beginFrame(b.buf, kindMark, 0)
	b.place(pos, seq)
	endFrame(b.buf, at)
	b.clear(pos, seq)
}

// Prove is a Mark that holds the proof of its place.
func (b *Batch) Prove(pos, seq uint64, proof []byte) {
	var at int
	b.buf, at = beginFrame(b.buf, kindMark, 0)
	b.place(pos, seq)
	b.buf = append(b.buf, proof...)
	endFrame(b.buf, at)
	b.proof = append(b.proof[:0], proof...)
	b.clear(pos, seq)
}

// Carry adds raw bytes of a line without an end, up to pos.
func (b *Batch) Carry(pos uint64, data []byte) {
	var at int
	b.buf, at = beginFrame(b.buf, kindCarry, 0)
	b.buf = binary.AppendUvarint(b.buf, b.src.id)
	b.buf = binary.AppendUvarint(b.buf, pos)
	b.buf = append(b.buf, data...)
	endFrame(b.buf, at)
	b.carry = append(b.carry, data...)
	b.pos, b.moved = pos, true
	if !b.cleared && b.records == 0 {
		b.seq = b.src.state.Seq
	}
}

func (b *Batch) place(pos, seq uint64) {
	b.buf = binary.AppendUvarint(b.buf, b.src.id)
	b.buf = binary.AppendUvarint(b.buf, pos)
	b.buf = binary.AppendUvarint(b.buf, seq)
}

func (b *Batch) clear(pos, seq uint64) {
	b.pos, b.seq, b.moved, b.cleared = pos, seq, true, true
	b.carry = b.carry[:0]
}

// Reset empties the batch without writing it.
func (b *Batch) Reset() {
	b.buf, b.carry, b.proof = b.buf[:0], b.carry[:0], b.proof[:0]
	b.records, b.cleared, b.moved = 0, false, false
	if cap(b.buf) > segmentBytes { // one giant line must not be paid for ever
		b.buf = nil
	}
	if cap(b.carry) > readAhead {
		b.carry = nil
	}
}

// apply moves the source's state to where the batch leads.
func (b *Batch) apply() {
	if !b.moved {
		return
	}
	st := &b.src.state
	st.Pos, st.Seq = b.pos, b.seq
	if b.cleared {
		st.Carry = st.Carry[:0]
	}
	st.Carry = append(st.Carry, b.carry...)
	if len(st.Carry) == 0 {
		st.Carry = nil
	}
	if len(b.proof) > 0 {
		st.Proof = append([]byte(nil), b.proof...)
	}
}
