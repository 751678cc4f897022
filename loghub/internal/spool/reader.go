// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Delivery is a run of records in the order of the log, ready to follow
// otlp.AppendRequest. It is valid until the next Peek.
type Delivery struct {
	Records []byte // record fields, one behind the other
	Ends    []int  // end of each in Records
	after   []cursor
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

// reader is the reading side; it belongs to the goroutine of Peek and Ack.
type reader struct {
	at     cursor // where the next frame to look at begins
	seg    segment
	number uint64 // of seg
	sc     scanner
	d      Delivery
	holes  int // counted in sc so far
	skip   int64
}

func (r *reader) close() error {
	if r.seg == nil {
		return nil
	}
	err := r.seg.Close()
	r.seg = nil
	return err
}

// Peek collects the records that follow the last Ack, up to about maxBytes and
// maxRecords, at least one if there is one. It does not move the cursor: without
// an Ack the next Peek returns the same.
func (s *Spool) Peek(maxRecords, maxBytes int) (*Delivery, error) {
	r := &s.rd
	d := &r.d
	d.Records, d.Ends, d.after = d.Records[:0], d.Ends[:0], d.after[:0]
	if cap(d.Records) > 4*maxBytes { // one giant record must not be paid for ever
		d.Records = nil
	}
	s.mu.Lock()
	total := s.total
	r.at = s.ack
	s.mu.Unlock()
	for len(d.Ends) < maxRecords {
		f, end, err := s.nextFrame()
		if errors.Is(err, io.EOF) {
			if len(d.Ends) == 0 {
				s.settle(total)
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
		d.Records = append(d.Records, rest...)
		d.Ends = append(d.Ends, len(d.Records))
		d.after = append(d.after, end)
	}
	return d, nil
}

// settle corrects the backlog when the end of the log was reached without a
// record: what was counted and is not there was damaged.
func (s *Spool) settle(total uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total == total && s.backlog != 0 {
		s.backlog = 0
		s.ack = cursor{s.number, s.size}
	}
}

// nextFrame returns the frame at r.at and the place behind it, moving over to
// the next segment where one ends.
func (s *Spool) nextFrame() (frame, cursor, error) {
	r := &s.rd
	for {
		limit, next, active, err := s.extent(r.at.segment)
		if err != nil {
			return frame{}, cursor{}, err
		}
		if limit < 0 { // gone, or never there
			if next == 0 {
				return frame{}, cursor{}, io.EOF
			}
			r.at = cursor{next, headerBytes}
			continue
		}
		if err := s.aim(limit); err != nil {
			return frame{}, cursor{}, err
		}
		f, err := r.sc.next()
		s.countDamage()
		if err == nil {
			r.at.offset = r.sc.off
			return f, r.at, nil
		}
		if !errors.Is(err, io.EOF) {
			return frame{}, cursor{}, err
		}
		if active || next == 0 {
			return frame{}, cursor{}, io.EOF
		}
		r.at = cursor{next, headerBytes}
	}
}

// extent tells how much of segment n is committed (-1: no such segment), which
// segment follows it (0: none), and whether it is the active one.
func (s *Spool) extent(n uint64) (limit int64, next uint64, active bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit, ok := s.sizes[n]
	if !ok {
		limit = -1
	}
	if _, ok := s.sizes[n+1]; ok { // as nearly always: this is asked for each record
		return limit, n + 1, n == s.number, nil
	}
	for m := range s.sizes {
		if m > n && (next == 0 || m < next) {
			next = m
		}
	}
	return limit, next, n == s.number, nil
}

// aim points the scanner at r.at.
func (s *Spool) aim(limit int64) error {
	r := &s.rd
	if r.seg == nil || r.number != r.at.segment {
		if err := r.close(); err != nil {
			return fmt.Errorf("closing segment %d: %w", r.number, err)
		}
		s.mu.Lock()
		seg, err := s.store.open(r.at.segment)
		s.mu.Unlock()
		if errors.Is(err, fs.ErrNotExist) {
			// Somebody removed the file: its records are lost, the log goes on.
			s.drop(r.at.segment)
			return s.lost(err)
		}
		if err != nil {
			return fmt.Errorf("opening segment %d: %w", r.at.segment, err)
		}
		r.seg, r.number = seg, r.at.segment
		r.holes, r.skip = 0, 0
		r.sc = scanner{buf: r.sc.buf}
		r.sc.reset(seg, r.at.offset, limit)
		return nil
	}
	if r.sc.off != r.at.offset {
		r.sc.reset(r.seg, r.at.offset, limit)
	}
	r.sc.limit = limit
	return nil
}

// lost counts a segment that vanished.
func (s *Spool) lost(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corrupt++
	return fmt.Errorf("a segment of the spool is gone: %w", err)
}

// countDamage adds what the scanner had to skip in a segment of this run.
func (s *Spool) countDamage() {
	r := &s.rd
	if r.sc.holes == r.holes {
		return
	}
	if r.number >= s.first { // Open has counted those of older ones
		s.mu.Lock()
		s.corrupt += r.sc.holes - r.holes
		s.skipped += r.sc.skipped - r.skip
		s.mu.Unlock()
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
	s.ack = d.after[j-1]
	s.backlog = max(0, s.backlog-int64(j-i))
	if s.backlog == 0 {
		s.ack = cursor{s.number, s.size}
	}
	ack, backlog := s.ack, s.backlog
	s.mu.Unlock()

	if err := s.saveCursor(ack); err != nil {
		return backlog, err
	}
	return backlog, s.retire()
}

// saveCursor writes the cursor; Sync forces it to the disk.
func (s *Spool) saveCursor(ack cursor) error {
	s.ackMu.Lock()
	defer s.ackMu.Unlock()
	s.gen++
	s.curDirty = true
	if err := writeCursor(s.curFile, ack, s.gen); err != nil {
		return fmt.Errorf("writing the spool's cursor: %w", err)
	}
	fault("cursor-written")
	return nil
}

// retire removes the segments in front of the cursor.
func (s *Spool) retire() error {
	s.mu.Lock()
	var old []uint64
	for n := range s.sizes {
		if n < s.ack.segment && n != s.number {
			old = append(old, n)
		}
	}
	ack := s.ack
	s.mu.Unlock()
	if len(old) == 0 {
		return nil
	}
	if err := s.saveCursor(ack); err != nil {
		return err
	}
	if err := s.Sync(); err != nil { // cursor and the positions of the newest segment
		return err
	}
	for _, n := range old {
		fault("before-unlink")
		s.drop(n)
		fault("after-unlink")
	}
	return nil
}

// drop removes a segment and what is accounted for it.
func (s *Spool) drop(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A file that cannot be removed is tried again at the next start: its number
	// stands in front of the cursor.
	_ = s.store.remove(n)
	s.used -= s.sizes[n]
	delete(s.sizes, n)
}
