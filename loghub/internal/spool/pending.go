// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"encoding/binary"
	"slices"
	"time"
)

// Bounds of what waits outside the log.
const (
	pendingBytes   = 3 << 19         // of it; more waits in the files it is read from
	pendingShare   = 8               // of a quota is no more
	pendingAge     = 2 * time.Second // after which it goes to the log
	pendingBacklog = 4096            // records in the log, behind which it need not wait: it would go there anyway
	spareBuffers   = 12
)

// chunk is a batch of a source that can be read again (see Batch.Again). It waits in the memory of this process alone to be
// sent; its place does not count before it was acknowledged, or is in the log.
type chunk struct {
	src     *Source
	buf     []byte // of the batch
	frames  []byte // of buf that are not acknowledged, not sealed
	proved  []byte // the last frame in front of them that has a proof, if there is one
	records int    // in there
	pos     uint64 // place of its end
	seq     uint64
	proof   []byte
	since   time.Time
	lent    bool   // a Delivery has some of it
	logged  cursor // where the frames are in the log; zero: nowhere yet
}

// span is a stretch of the log.
type span struct{ from, to cursor }

// loan is how many records of a chunk a Delivery has.
type loan struct {
	c *chunk
	n int
}

// queue are the chunks that are not in the log, oldest first.
type queue struct {
	chunks  []*chunk
	bytes   int
	records int
	spares  [][]byte
	room    chan struct{} // holds a token after something left
	wanted  bool          // somebody waits for room
	shut    bool          // the receiver does not keep up, or does not take anything: what comes goes to the log
	owed    bool          // a Delivery was not acknowledged yet
	passed  []span        // of the log that are acknowledged, with records before them that are not
}

// takes says whether a batch may wait outside the log. mu is held.
func (s *Spool) takes(b *Batch) bool {
	return b.Again && b.records > 0 && len(b.carry) == 0 && !s.queue.shut && s.backlog <= pendingBacklog
}

// hold takes the frames of a batch. mu is held.
func (s *Spool) hold(b *Batch) {
	q := &s.queue
	c := &chunk{
		src: b.src, buf: b.buf, frames: b.buf, records: b.records, pos: b.pos, seq: b.seq, proof: slices.Clone(b.proof),
		since: s.o.now(),
	}
	q.chunks = append(q.chunks, c)
	q.bytes += len(c.frames)
	q.records += c.records
	if n := len(q.spares); n > 0 {
		b.buf, q.spares = q.spares[n-1], q.spares[:n-1]
	} else {
		b.buf = make([]byte, 0, len(c.buf)+len(c.buf)/spareBuffers) // the next is about as large
	}
}

// offer commits a batch that may wait outside the log. It waits for room there as long as the receiver keeps up. Not done is a
// batch that has to go to the log; then nothing of its source waits outside any more.
func (s *Spool) offer(b *Batch) (done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.queue
	for s.takes(b) {
		if s.crowded(b) {
			return false, ErrFull
		}
		if q.bytes == 0 || int64(q.bytes+len(b.buf)) <= s.o.pending {
			s.hold(b)
			signal(s.more)
			b.Reset()
			return true, nil
		}
		q.shut = !s.waitForRoom()
	}
	if slices.ContainsFunc(q.chunks, func(c *chunk) bool { return c.src == b.src }) {
		return false, s.logPending()
	}
	return false, nil
}

// waitForRoom waits until something left the queue, but not for ever. mu is held, and let go of meanwhile.
func (s *Spool) waitForRoom() (left bool) {
	s.queue.wanted = true
	s.mu.Unlock()
	signal(s.more)
	timer := time.NewTimer(s.o.patience)
	select {
	case <-s.queue.room:
		left = true
	case <-timer.C:
	}
	timer.Stop()
	s.mu.Lock()
	s.queue.wanted = false
	return left
}

// Due says whether it is worth sending what waits: records, or as many as may wait outside the log.
func (s *Spool) Due(records int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.wanted || s.backlog+int64(s.queue.records) >= int64(records)
}

// logPending brings all to the log. mu is held.
func (s *Spool) logPending() error {
	q := &s.queue
	for len(q.chunks) > 0 {
		c := q.chunks[0]
		frames := c.frames
		if len(c.proved) > 0 { // what it proves is part of the places of the records behind it
			frames = slices.Concat(c.proved, c.frames)
		}
		seal(frames)
		if err := s.write(frames); err != nil {
			return err
		}
		c.logged = cursor{s.active.number, s.active.size - int64(len(c.frames))}
		if s.backlog == 0 {
			s.ack = c.logged
		}
		s.came(c.records)
		c.apply()
		q.leave(c)
	}
	return nil
}

// logOld brings what waits outside the log there when it waits for long.
func (s *Spool) logOld() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.queue
	if len(q.chunks) == 0 {
		q.spares = nil
		return nil
	}
	if s.o.now().Sub(q.chunks[0].since) < pendingAge {
		return nil
	}
	q.shut = true
	return s.logPending()
}

// leave takes the first chunk out.
func (q *queue) leave(c *chunk) {
	q.chunks = slices.Delete(q.chunks, 0, 1)
	q.bytes -= len(c.frames)
	q.records -= c.records
	signal(q.room)
	if c.lent && c.logged != (cursor{}) { // its frames tell where in the log each record is
		return
	}
	if len(q.spares) < spareBuffers && cap(c.buf) <= segmentBytes {
		q.spares = append(q.spares, c.buf[:0])
	}
	c.buf, c.frames, c.proved = nil, nil, nil
}

// apply moves the source's state to the end of the chunk.
func (c *chunk) apply() {
	c.src.state.settle(c.pos, c.seq)
	if len(c.proof) > 0 {
		c.src.state.Proof = c.proof
	}
}

// lend adds what waits outside the log to a delivery that has all of the log. Not done says that the log has more by now, which
// comes first.
func (s *Spool) lend(d *Delivery, maxRecords, maxBytes int) (done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := (cursor{s.rd.at.segment, s.rd.done}); at.before(cursor{s.active.number, s.active.size}) {
		return false
	}
	for _, c := range s.queue.chunks {
		n, full := 0, false
		for rest := c.frames; len(rest) > 0 && !full; {
			f, size := looseFrame(rest)
			rest = rest[size:]
			var p place
			record, ok := uvarints(f.payload, &p.source, &p.pos, &p.seq)
			if f.kind != kindRecord || !ok {
				continue
			}
			if full = len(d.Ends) >= maxRecords || len(d.Ends) > 0 && len(d.Records)+len(record) > maxBytes; !full {
				d.add(record)
				n++
			}
		}
		if n > 0 {
			d.lent = append(d.lent, loan{c, n})
			c.lent = true
		}
		if full {
			break
		}
	}
	return true
}

// returned acknowledges the records from to to of what was lent. mu is held.
func (s *Spool) returned(d *Delivery, from, to int) (err error) {
	at := 0
	for _, l := range d.lent {
		if n := min(to, at+l.n) - max(from, at); n > 0 {
			if l.c.logged != (cursor{}) {
				s.ackLogged(l.c, n)
			} else if e := s.ackPending(l.c, n); e != nil {
				err = e
			}
		}
		at += l.n
	}
	return err
}

// ackLogged acknowledges the first n records of a chunk that went to the log while they were under way. mu is held.
func (s *Spool) ackLogged(c *chunk, n int) {
	s.backlog = max(0, s.backlog-int64(n))
	from := c.logged
	c.logged.offset += int64(c.drop(n))
	passed := s.queue.passed
	switch last := len(passed) - 1; {
	case s.ack == from:
		s.ack = c.logged
	case last >= 0 && passed[last].to == from:
		passed[last].to = c.logged
	default:
		s.queue.passed = append(passed, span{from, c.logged})
	}
}

// ackPending acknowledges n records of the first chunk. Once all of it is, its place goes to the log. mu is held.
func (s *Spool) ackPending(c *chunk, n int) error {
	q := &s.queue
	if n < c.records {
		q.bytes -= c.drop(n)
		q.records -= n
		return nil
	}
	q.leave(c)
	c.apply()
	mark, at := beginFrame(nil, kindMark, 0)
	for _, v := range []uint64{c.src.id, c.pos, c.seq} {
		mark = binary.AppendUvarint(mark, v)
	}
	mark = append(mark, c.proof...)
	endFrame(mark, at)
	return s.write(mark)
}

// drop takes n records off the front, or all that is left with the last of them, and returns how many bytes that is.
func (c *chunk) drop(n int) (bytes int) {
	c.records -= n
	for n > 0 || c.records == 0 && len(c.frames) > 0 {
		f, size := looseFrame(c.frames)
		var p place
		if proof, ok := uvarints(f.payload, &p.source, &p.pos, &p.seq); f.kind == kindMark && ok && len(proof) > 0 {
			c.proved = c.frames[:size]
		}
		c.frames = c.frames[size:]
		bytes += size
		if f.kind == kindRecord {
			n--
		}
	}
	return bytes
}

// pass moves the reader over what is acknowledged.
func (s *Spool) pass(r *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < len(s.queue.passed); i++ {
		if p := s.queue.passed[i]; p.from == r.at {
			r.at, r.aimed, r.done = p.to, false, 0
			i = -1
		}
	}
}

// looseFrame reads the frame at the beginning of a batch, which is not sealed yet.
func looseFrame(data []byte) (f frame, n int) {
	n = frameBytes + int(binary.LittleEndian.Uint32(data[4:]))
	return frame{kind: kind(data[2]), severity: data[3], payload: data[frameBytes:n]}, n
}
