// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// urgentEvery is how often at most an error among the records forces the spool to
// the disk before its time.
const urgentEvery = 100 * time.Millisecond

// sayEvery is how often trouble that goes on is told.
const sayEvery = 5 * time.Minute

// cursors are the two cursors, and the bytes written to the disk, which they hold.
// That in memory is written with each Ack; that on the disk too with OnDisk, else
// when something there was acknowledged.
type cursors struct {
	mu         sync.Mutex
	mem, disk  segment // disk is nil without one
	mark       mark
	slot       int64 // of the disk, that is written until it was forced down
	dirty      bool  // the disk's was written since
	failed     bool  // the last write of the disk's did
	written    window
	unsaved    int64 // bytes counted in there since the disk's was written
	memorySlot int64
	there      cursor // what was written last of the disk's …
	forced     cursor // … and what of it was forced down
	bar        cursor // the disk's does not go past it, see the package's comment; zero: there is none
}

// windowShare is the part of DiskPerDay that a crash of the machine may leave
// uncounted.
const windowShare = 64

// add counts bytes written to the disk.
func (c *cursors) add(n int64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written.add(n, now)
	c.unsaved += n
}

// count is add, after something that does not end with the cursor being written:
// it is kept in memory at once, and on the disk when it is much.
func (s *Spool) count(n int64) {
	c := &s.cur
	c.add(n, s.o.now())
	c.mu.Lock()
	defer c.mu.Unlock()
	// It is but a figure; that acknowledgements do not arrive is said elsewhere.
	_ = c.write(c.unsaved >= s.o.DiskPerDay/windowShare)
}

func (c *cursors) sum(now time.Time) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written.sum(now)
}

// save writes the cursor.
func (c *cursors) save(ack cursor, disk bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mark.at = ack
	return c.write(disk)
}

// write is save with mu held, at the place of the last one.
func (c *cursors) write(disk bool) error {
	c.mark.generation++
	c.mark.written = c.written
	c.memorySlot ^= 1
	err := writeCursor(c.mem, c.memorySlot, c.mark)
	if disk && c.disk != nil {
		m := c.mark
		if c.bar != (cursor{}) && c.bar.before(m.at) {
			m.at = c.bar
		}
		diskErr := writeCursor(c.disk, c.slot, m)
		c.dirty, c.failed = c.dirty || diskErr == nil, diskErr != nil
		if diskErr == nil {
			c.there = m.at
		}
		c.unsaved = 0
		err = errors.Join(err, diskErr)
	}
	if err != nil {
		return fmt.Errorf("writing the spool's cursor: %w", err)
	}
	fault("cursor-written")
	return nil
}

// isForced says whether the disk's is forced down behind segment n: then nobody needs what is in there.
func (c *cursors) isForced(n uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return n < c.forced.segment
}

// barred is the place that the disk's does not go past.
func (c *cursors) barred() cursor {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bar
}

// lift lets the disk's go on to where that in memory is.
func (c *cursors) lift() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bar = cursor{}
	_ = c.write(true) // sync tries again
}

// sync forces the disk's cursor down, if it was written, or could not be.
func (c *cursors) sync(now time.Time) (dirty bool, err error) {
	c.mu.Lock()
	if c.failed {
		err = c.write(true)
	}
	if err != nil || !c.dirty {
		c.mu.Unlock()
		return err != nil, err
	}
	c.dirty = false
	there := c.there
	c.mu.Unlock()
	err = c.disk.Sync()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.dirty = true
		return true, fmt.Errorf("forcing the spool's cursor to the disk: %w", err)
	}
	c.forced = there
	c.written.add(blockBytes, now) // its size stays, so there is no transaction
	c.slot ^= 1
	fault("cursor-synced")
	return true, nil
}

// Sync forces everything on the disk down that was committed so far.
func (s *Spool) Sync() error {
	s.mu.Lock()
	err := s.logPending()
	s.mu.Unlock()
	return errors.Join(err, s.sync())
}

// sync forces down what is in the log.
func (s *Spool) sync() error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	return s.force()
}

// force forces segments, then the cursor to the disk. Only what became of the
// segments is its error: a cursor that is behind costs a second sending.
// syncMu is held.
func (s *Spool) force() error {
	s.mu.Lock()
	full, active, created := s.full, s.active, s.created
	s.full, s.created = nil, false
	s.mu.Unlock()
	var errs []error
	var cost int64
	var failed []handle
	for _, o := range full {
		err := s.forceOne(o, &cost)
		if err != nil && s.cur.isForced(o.number) { // it must not hold up the others
			err = nil
			s.distrust(o.number)
		}
		if err != nil {
			failed = append(failed, o)
		} else {
			err = o.seg.Close()
		}
		errs = append(errs, err)
	}
	errs = append(errs, s.forceOne(active, &cost))
	if created {
		cost += journalBytes
		errs = append(errs, s.disk.sync())
	}
	err := errors.Join(errs...)
	s.mu.Lock()
	s.full = append(failed, s.full...)
	if err != nil {
		s.created = s.created || created
		err = errors.Join(err, s.leaveDisk(err))
	} else if s.active.number == active.number {
		s.active.synced = active.size
	}
	s.mu.Unlock()
	if cost > 0 {
		s.count(cost)
	}
	if err == nil {
		s.liftBar(active.number)
	}
	if dirty, err := s.cur.sync(s.o.now()); dirty {
		s.noteCursor(err)
	}
	if err != nil {
		return fmt.Errorf("forcing the spool to the disk: %w", err)
	}
	fault("sync-done")
	return nil
}

// leaveDisk goes on in memory: what is written to a disk that cannot be forced down may never arrive there, and nothing that
// was acknowledged could go. mu is held.
func (s *Spool) leaveDisk(err error) error {
	s.diskFailed(err)
	if !s.active.disk {
		return nil
	}
	return s.begin(s.active.number + 1)
}

// distrust says of a segment that nobody may rely on the places in its file.
func (s *Spool) distrust(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.segs[n]; x != nil {
		x.head = noHead
	}
}

// liftBar lets the disk's cursor go on when places that hold stand behind those that are not to be believed. The files
// up to segment forced were forced down.
func (s *Spool) liftBar(forced uint64) {
	bar := s.cur.barred()
	if bar == (cursor{}) {
		return
	}
	s.mu.Lock()
	lifted := false
	for n, x := range s.segs {
		lifted = lifted || bar.segment < n && n <= forced && x.file && x.disk >= x.head
	}
	s.mu.Unlock()
	if lifted {
		s.cur.lift()
	}
}

// forceOne forces a segment down and adds up what that costs.
func (s *Spool) forceOne(o handle, cost *int64) error {
	if !o.disk || o.size == o.synced {
		return nil
	}
	*cost += blocks(o.synced, o.size-o.synced) + journalBytes
	return o.seg.Sync()
}

// behind says that acknowledgements do not reach the disk.
func (s *Spool) behind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble.cursorErr != nil
}

// noteCursor remembers whether acknowledgements reach the disk.
func (s *Spool) noteCursor(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble.cursorErr = err
}

// Run forces the spool to the disk at every interval, and at once after a record
// that is an error; it brings to the disk what waits for long in memory, and
// removes what is acknowledged. It ends with ctx. report hears of the first of
// several errors in a row, of one every five minutes then, and of nil after them.
func (s *Spool) Run(ctx context.Context, report func(error)) {
	tick := time.NewTicker(s.o.Flush)
	defer tick.Stop()
	bad := false
	var last, said time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.press:
		case <-s.urgent:
			if s.o.Mode != OnDisk { // a service that prints errors must not wear the disk out
				continue
			}
			if wait := urgentEvery - time.Since(last); wait > 0 {
				select {
				case <-ctx.Done():
					return
				case <-time.After(wait):
				}
			}
		}
		last = time.Now()
		err := errors.Join(s.logOld(), s.sync(), s.retire(), s.tend())
		if err == nil {
			err = s.troubled()
		}
		if bad != (err != nil) || bad && last.Sub(said) >= sayEvery {
			report(err)
			bad, said = err != nil, last
		}
	}
}

// troubled is the trouble that Run reports.
func (s *Spool) troubled() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if text := s.trouble.text(); text != "" {
		return errors.New(text)
	}
	return nil
}

// Close brings everything to the disk that has a place there, and lets go of it.
func (s *Spool) Close() error {
	err := s.Secure()
	if s.o.Mode == MemoryFirst {
		err = errors.Join(err, s.keepPlaces())
	}
	s.readMu.Lock()
	defer s.readMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(err, s.active.seg.Close(), s.rd.close(), s.closeStores())
}

func (s *Spool) closeStores() error {
	errs := []error{s.mem.close()}
	if s.cur.disk != nil {
		errs = append(errs, s.cur.disk.Close())
	}
	if s.disk != nil {
		errs = append(errs, s.disk.close())
	}
	return errors.Join(errs...)
}
