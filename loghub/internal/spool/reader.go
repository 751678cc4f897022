// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
)

// Delivery is a run of records in the order of the log, ready to follow
// otlp.AppendRequest. It is valid until the next Peek.
type Delivery struct {
	Records []byte // record fields, one behind the other
	Ends    []int  // end of each in Records
	after   []cursor
	lent    []loan // the records behind those that after has
}

// Len is the number of records.
func (d *Delivery) Len() int { return len(d.Ends) }

// Record returns the i-th record field.
func (d *Delivery) Record(i int) []byte {
	if i == 0 {
		return d.Records[:d.Ends[0]]
	}
	return d.Records[d.Ends[i-1]:d.Ends[i]]
}

func (d *Delivery) add(record []byte) {
	d.Records = append(d.Records, record...)
	d.Ends = append(d.Ends, len(d.Records))
}

// Slice returns the records from i to j.
func (d *Delivery) Slice(i, j int) []byte {
	if i == j {
		return nil
	}
	from := 0
	if i > 0 {
		from = d.Ends[i-1]
	}
	return d.Records[from:d.Ends[j-1]]
}

// reader is the reading side; it belongs to who holds readMu.
type reader struct {
	at     cursor // where the next frame to look at begins
	seg    segment
	number uint64 // of seg
	sc     scanner
	aimed  bool  // sc stands at at
	done   int64 // up to there nothing was found behind at in its segment
	d      Delivery

	holes   int // counted in sc so far
	skip    int64
	damaged cursor // up to there damage was counted
}

func (r *reader) close() error {
	if r.seg == nil {
		return nil
	}
	err := r.seg.Close()
	r.seg, r.aimed = nil, false
	return err
}

// Peek collects the records that follow the last Ack, up to about maxBytes and
// maxRecords, at least one if there is one. It does not move the cursor: without
// an Ack the next Peek returns the same.
func (s *Spool) Peek(maxRecords, maxBytes int) (*Delivery, error) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	r := &s.rd
	d := &r.d
	clear(d.lent) // lets go of what they hold
	d.Records, d.Ends, d.after, d.lent = d.Records[:0], d.Ends[:0], d.after[:0], d.lent[:0]
	if cap(d.Records) > 4*maxBytes { // one giant record must not be paid for ever
		d.Records = nil
	}
	s.mu.Lock()
	total := s.total
	r.at = s.ack
	passing := len(s.queue.passed) > 0
	if s.queue.owed { // what was taken last did not arrive
		s.queue.shut = true
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.queue.owed = d.Len() > 0
		s.mu.Unlock()
	}()
	r.aimed = r.seg != nil && r.number == r.at.segment && r.sc.off == r.at.offset
	r.done = 0
	for len(d.Ends) < maxRecords {
		if passing {
			s.pass(r)
		}
		f, end, err := s.nextFrame()
		if errors.Is(err, io.EOF) {
			if len(d.Ends) == 0 {
				s.settle(total)
			}
			if !s.lend(d, maxRecords, maxBytes) {
				continue
			}
			return d, nil
		}
		if err != nil {
			return nil, err
		}
		var p place
		rest, ok := uvarints(f.payload, &p.source, &p.pos, &p.seq)
		if f.kind != kindRecord || !ok {
			continue
		}
		if len(d.Ends) > 0 && len(d.Records)+len(rest) > maxBytes {
			return d, nil
		}
		d.add(rest)
		d.after = append(d.after, end)
	}
	return d, nil
}

// settle corrects the backlog when the end of the log was reached without a
// record: what was counted and is not there was damaged.
func (s *Spool) settle(total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total == total && s.backlog != 0 {
		s.backlog = 0
		s.ack = cursor{s.active.number, s.active.size}
	}
}

// nextFrame returns the frame at r.at and the place behind it, moving over to
// the next segment where one ends.
func (s *Spool) nextFrame() (frame, cursor, error) {
	r := &s.rd
	for {
		if r.aimed {
			f, err := r.sc.next()
			s.countDamage()
			if err == nil {
				r.at.offset = r.sc.off
				return f, r.at, nil
			}
			r.aimed, r.done = false, r.sc.limit
		}
		limit, next, active := s.extent(r.at.segment)
		switch {
		case limit > r.done:
			if err := s.aim(limit); err != nil {
				return frame{}, cursor{}, err
			}
		case active || next == 0:
			return frame{}, cursor{}, io.EOF
		default:
			r.at, r.done = cursor{next, headerBytes}, 0
		}
	}
}

// extent tells how much of segment n is committed (-1: no such segment), which
// segment follows it (0: none), and whether it is the active one.
func (s *Spool) extent(n uint64) (limit int64, next uint64, active bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit = -1
	if x := s.segs[n]; x != nil {
		limit = x.size
	}
	if s.segs[n+1] != nil { // as nearly always
		return limit, n + 1, n == s.active.number
	}
	for m := range s.segs {
		if m > n && (next == 0 || m < next) {
			next = m
		}
	}
	return limit, next, n == s.active.number
}

// aim points the scanner at r.at.
func (s *Spool) aim(limit int64) error {
	r := &s.rd
	if r.seg == nil || r.number != r.at.segment {
		if err := r.close(); err != nil {
			return fmt.Errorf("closing segment %d: %w", r.number, err)
		}
		seg, err := s.openRead(r.at.segment)
		if err != nil {
			return err
		}
		r.seg, r.number = seg, r.at.segment
		r.holes, r.skip = 0, 0
		r.sc = scanner{buf: r.sc.buf}
		r.sc.reset(seg, r.at.offset, limit)
	}
	if r.sc.off != r.at.offset {
		r.sc.reset(r.seg, r.at.offset, limit)
	}
	r.sc.limit, r.aimed = limit, true
	return nil
}

// openRead opens a segment where the whole of it is. One that nobody can open any
// more is lost with its records, and the log goes on: with the next segment, where
// it was the active one. Want of descriptors or memory passes, and loses nothing.
func (s *Spool) openRead(n uint64) (segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	where := s.disk
	if s.segs[n].mem {
		where = s.mem
	}
	seg, err := where.open(n)
	if err == nil {
		return seg, nil
	}
	if passes(err) {
		return nil, fmt.Errorf("opening segment %d of the spool: %w", n, err)
	}
	if n == s.active.number {
		if beginErr := s.begin(n + 1); beginErr != nil {
			return nil, errors.Join(err, beginErr)
		}
	}
	s.corrupt++
	s.skipped += s.segs[n].size
	if errors.Is(err, fs.ErrNotExist) {
		s.drop(n)
	} else {
		s.used -= s.segs[n].size
		delete(s.segs, n)
		s.taken[n] = true
	}
	return nil, fmt.Errorf("a segment of the spool is gone: %w", err)
}

// countDamage adds what the scanner had to skip in a segment of this run, once.
func (s *Spool) countDamage() {
	r := &s.rd
	if r.sc.holes == r.holes {
		return
	}
	at := cursor{r.number, r.sc.off}
	if r.number >= s.first && r.damaged.before(at) { // Open has counted those of older ones
		s.mu.Lock()
		s.corrupt += r.sc.holes - r.holes
		s.skipped += r.sc.skipped - r.skip
		s.mu.Unlock()
		r.damaged = at
	}
	r.holes, r.skip = r.sc.holes, r.sc.skipped
}

// Ack says that the records i to j of d are done with, where those before i
// were already. It moves the cursor, makes that durable before segments that are
// wholly acknowledged are removed, and returns how many records wait still.
func (s *Spool) Ack(d *Delivery, i, j int) (backlog int64, err error) {
	if i >= j {
		return s.Stats().Backlog, nil
	}
	s.mu.Lock()
	s.queue.owed, s.queue.shut = false, false
	if k := min(j, len(d.after)); i < k {
		s.ack = d.after[k-1]
		s.backlog = max(0, s.backlog-int64(k-i))
	}
	err = s.returned(d, max(i-len(d.after), 0), j-len(d.after))
	if s.backlog == 0 {
		s.ack = cursor{s.active.number, s.active.size}
	}
	s.queue.passed = slices.DeleteFunc(s.queue.passed, func(p span) bool { return !s.ack.before(p.to) })
	ack, done := s.ack, len(s.done()) > 0
	backlog = s.backlog + int64(s.queue.records)
	s.mu.Unlock()
	if err != nil {
		return backlog, fmt.Errorf("keeping a place: %w", err)
	}

	if err := s.cur.save(ack, s.o.Mode == OnDisk); err != nil {
		s.noteCursor(err)
	}
	// Where Run is busy with the disk, it removes them afterwards. It also tells what hinders that.
	if !done || !s.syncMu.TryLock() {
		return backlog, nil
	}
	defer s.syncMu.Unlock()
	_ = s.retireHeld()
	return backlog, nil
}
