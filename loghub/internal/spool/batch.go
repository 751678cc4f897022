// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"encoding/binary"

	"cloud4.internal/hub/internal/otlp"
)

// urgentSeverity is that of the records which are forced to the disk at once: error.
const urgentSeverity = 17

// State is how far a source has been read.
type State struct {
	// Aux is what else the source wants to find again: an epoch, a file's path.
	Aux string
	// Pos is the offset in the stream of the first byte that was not framed.
	Pos uint64
	// Seq is the number of the last record.
	Seq uint64
	// Carry holds the bytes before Pos that were read, but made no record yet.
	Carry []byte
	// Proof shows later that Pos still is a place of the same stream. It stands
	// in the frame of a place at or before Pos; nil: there is none.
	Proof []byte
}

// settle moves the state to a place. What of the carry lies behind the place stays.
func (st *State) settle(pos, seq uint64) {
	st.Seq = seq
	if left := st.Pos - pos; pos < st.Pos && left <= uint64(len(st.Carry)) {
		st.Carry = st.Carry[uint64(len(st.Carry))-left:]
		return
	}
	st.Pos, st.Carry = pos, nil
}

// carry adds bytes up to pos. If they do not go on where the carry ends, what it held was lost.
func (st *State) carry(pos uint64, data []byte) {
	if st.Pos+uint64(len(data)) != pos {
		st.Carry = nil
	}
	st.Pos, st.Carry = pos, append(st.Carry, data...)
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
	// Again says that the source can be read again from its place, as a file can. Then what is committed waits in memory for its
	// first chance to be sent, and is in the log after pendingAge at the latest.
	Again bool

	src     *Source
	buf     []byte
	records int
	pos     uint64 // of the last record or mark
	seq     uint64
	settled bool // there is one
	end     uint64
	carry   []byte // up to end
	proof   []byte
	urgent  bool // an error is among the records
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
	closeFrame(b.buf, at)
	b.records++
	b.urgent = b.urgent || r.Severity >= urgentSeverity
	b.settle(pos, seq)
}

// Mark says that the source was read up to pos without a record.
func (b *Batch) Mark(pos, seq uint64) {
	var at int
	b.buf, at = beginFrame(b.buf, kindMark, 0)
	b.place(pos, seq)
	closeFrame(b.buf, at)
	b.settle(pos, seq)
}

// Prove is a Mark that holds the proof of its place.
func (b *Batch) Prove(pos, seq uint64, proof []byte) {
	var at int
	b.buf, at = beginFrame(b.buf, kindMark, 0)
	b.place(pos, seq)
	b.buf = append(b.buf, proof...)
	closeFrame(b.buf, at)
	b.proof = append(b.proof[:0], proof...)
	b.settle(pos, seq)
}

// Carry adds raw bytes that made no record yet, up to pos. It is the last thing in a batch.
func (b *Batch) Carry(pos uint64, data []byte) {
	var at int
	b.buf, at = beginFrame(b.buf, kindCarry, 0)
	b.buf = binary.AppendUvarint(b.buf, b.src.id)
	b.buf = binary.AppendUvarint(b.buf, pos)
	b.buf = append(b.buf, data...)
	closeFrame(b.buf, at)
	b.carry = append(b.carry, data...)
	b.end = pos
}

func (b *Batch) place(pos, seq uint64) {
	b.buf = binary.AppendUvarint(b.buf, b.src.id)
	b.buf = binary.AppendUvarint(b.buf, pos)
	b.buf = binary.AppendUvarint(b.buf, seq)
}

func (b *Batch) settle(pos, seq uint64) { b.pos, b.seq, b.settled = pos, seq, true }

// Reset empties the batch without writing it.
func (b *Batch) Reset() {
	b.buf, b.carry, b.proof = b.buf[:0], b.carry[:0], b.proof[:0]
	b.records, b.settled, b.urgent = 0, false, false
	if cap(b.buf) > segmentBytes { // one giant line must not be paid for ever
		b.buf = nil
	}
	if cap(b.carry) > readAhead {
		b.carry = nil
	}
}

// apply moves the source's state to where the batch leads.
func (b *Batch) apply() {
	st := &b.src.state
	if b.settled {
		st.settle(b.pos, b.seq)
	}
	if len(b.carry) > 0 {
		st.carry(b.end, b.carry)
	}
	if len(b.proof) > 0 {
		st.Proof = append([]byte(nil), b.proof...)
	}
}
