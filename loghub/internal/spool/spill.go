// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"errors"
	"fmt"
	"time"
)

// Bounds of what memory keeps to itself.
const (
	memoryFull   = 0.75             // of its quota: then it is brought to the disk, whatever its age
	pieceBytes   = 256 << 10        // of one write to the disk
	waypoints    = 8                // in DiskAfter
	placesEvery  = 10 * time.Minute // how often places go to the disk while nothing waits
	diskRetry    = 5 * time.Second  // after the disk failed
	shortOfSpent = errText("the bytes that may be written to the disk in 24 hours are spent")
)

type errText string

func (e errText) Error() string { return string(e) }

// waypoint says that at a time there had been so many records.
type waypoint struct {
	total int64
	at    time.Time
}

// pressed says whether memory has to be relieved. mu is held.
func (s *Spool) pressed() bool {
	return s.o.Mode == MemoryFirst && !s.trouble.spent && s.trouble.diskErr == nil &&
		float64(s.inMem) >= memoryFull*float64(s.o.MemoryQuota)
}

// overdue says whether a record has waited for DiskAfter that is not on the disk.
// It is to be asked often. mu is held.
func (s *Spool) overdue(now time.Time) bool {
	acked := s.total - s.backlog
	for len(s.waiting) > 0 && s.waiting[0].total <= acked {
		s.waiting = s.waiting[1:]
	}
	if s.backlog == 0 {
		return false
	}
	if n := len(s.waiting); n == 0 || s.waiting[n-1].total < s.total && now.Sub(s.waiting[n-1].at) >= s.o.DiskAfter/waypoints {
		s.waiting = append(s.waiting, waypoint{s.total, now})
	}
	return now.Sub(s.waiting[0].at) >= s.o.DiskAfter
}

// tend does what the time demands: it spills, keeps places, goes back to a disk
// that works again.
func (s *Spool) tend() error {
	if s.disk == nil || s.o.Mode == InMemory {
		return nil
	}
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	now := s.o.now()
	s.mu.Lock()
	due := s.overdue(now) || s.pressed()
	places := s.moved && s.backlog == 0 && now.Sub(s.keptAt) >= placesEvery
	if s.backlog == 0 {
		s.trouble.spent = false
	}
	if s.o.Mode == OnDisk {
		due, places = !s.active.disk, false
	}
	if now.Before(s.trouble.retry) {
		due, places = false, false
	}
	s.mu.Unlock()
	switch {
	case due:
		if err := s.force(); err != nil {
			return err
		}
		if err := s.spill(true); err != nil {
			return err
		}
		if s.o.Mode == OnDisk {
			return s.returnToDisk()
		}
	case places:
		return s.keep()
	}
	return nil
}

// Secure brings everything to the disk that is not acknowledged, and has a place
// there: it is what a stop begins with. What finds no room in the log keeps nothing else from it.
func (s *Spool) Secure() error {
	s.mu.Lock()
	left := s.logPending()
	s.mu.Unlock()
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	err := s.force()
	if err == nil && s.disk != nil && s.o.Mode != InMemory {
		err = s.spill(false)
	}
	return errors.Join(left, err)
}

// spill copies to the disk what is in memory alone, in the order of the log, so that
// no place on the disk is ahead of a record that is not there; a segment that is
// there as a whole leaves memory. What was written to the disk directly was forced
// down before. bounded heeds DiskPerDay. syncMu is held.
func (s *Spool) spill(bounded bool) error {
	s.mu.Lock()
	var list []uint64
	if s.backlog > 0 || s.o.Mode == OnDisk {
		for _, n := range s.numbers() {
			if x := s.segs[n]; n >= s.ack.segment && x.mem {
				list = append(list, n)
			}
		}
	}
	s.waiting = nil
	s.mu.Unlock()
	for _, n := range list {
		s.mu.Lock()
		x := s.segs[n]
		if x == nil { // acknowledged meanwhile
			s.mu.Unlock()
			continue
		}
		from, to := x.disk, x.size
		s.mu.Unlock()
		err := s.copyOut(n, from, to, bounded)
		s.noteSpill(err)
		if err != nil {
			return fmt.Errorf("bringing segment %d to the disk: %w", n, err)
		}
		s.leaveMemory(n)
	}
	return nil
}

// copyOut copies the bytes of segment n from from to to into its file and forces
// them down.
func (s *Spool) copyOut(n uint64, from, to int64, bounded bool) (err error) {
	if from >= to {
		return nil
	}
	s.mu.Lock()
	x := s.segs[n]
	fresh := !x.file
	src, err := s.mem.open(n)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	cost := blocks(from, to-from) + journalBytes
	if fresh {
		cost += journalBytes
	}
	if now := s.o.now(); bounded && s.o.Mode == MemoryFirst && s.cur.sum(now)+cost > s.o.DiskPerDay {
		return shortOfSpent
	}
	var dst segment
	if fresh {
		dst, err = s.disk.create(n)
	} else {
		dst, err = s.disk.open(n)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	s.mu.Lock()
	x.file = true
	s.mu.Unlock()
	s.count(cost)
	buf := make([]byte, min(pieceBytes, to-from))
	for at := from; at < to; at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), to-at)]
		if _, err := src.ReadAt(buf, at); err != nil {
			return err
		}
		if _, err := dst.WriteAt(buf, at); err != nil {
			return err
		}
	}
	fault("spill-written")
	if err := dst.Sync(); err != nil {
		return err
	}
	if err := s.disk.sync(); err != nil {
		return err
	}
	fault("spill-synced")
	s.mu.Lock()
	defer s.mu.Unlock()
	x.disk = to
	return nil
}

// noteSpill remembers what keeps the spool from the disk.
func (s *Spool) noteSpill(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble.spent = errors.Is(err, shortOfSpent)
	switch {
	case err == nil:
		s.trouble.diskErr = nil
	case s.trouble.spent:
		s.trouble.retry = s.o.now().Add(diskRetry)
	default:
		s.diskFailed(err)
	}
}

// diskFailed notes that the disk takes nothing, and leaves it alone for a while. mu
// is held.
func (s *Spool) diskFailed(err error) {
	s.trouble.disk(err)
	s.trouble.retry = s.o.now().Add(diskRetry)
}

// leaveMemory drops the copy in memory of a segment that is full and on the disk.
func (s *Spool) leaveMemory(n uint64) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.segs[n]; x == nil || n == s.active.number || !x.mem || x.disk < x.size {
		return
	}
	s.dropMemory(n)
	fault("memory-dropped")
}

// dropMemory gives the memory of a segment back. readMu and mu are held.
func (s *Spool) dropMemory(n uint64) {
	if s.rd.number == n {
		_ = s.rd.close() // a stretch has nothing to close
	}
	x := s.segs[n]
	x.mem = false
	s.inMem -= x.size
	_ = s.mem.remove(n) // punching a hole in a memory file; if it failed, Open would drop it
}

// returnToDisk begins a segment on the disk after everything in memory went there.
// syncMu is held.
func (s *Spool) returnToDisk() error {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.active
	x := s.segs[a.number]
	if a.disk || s.inMem != x.size {
		return nil // another one waits still
	}
	// What came since it was spilled is little; it is forced down with the next Sync.
	dst, err := s.disk.open(a.number)
	if err != nil {
		s.diskFailed(err)
		return err
	}
	rest := make([]byte, x.size-x.disk)
	if len(rest) > 0 {
		if _, err = a.seg.ReadAt(rest, x.disk); err == nil {
			_, err = dst.WriteAt(rest, x.disk)
		}
	}
	if err != nil {
		s.diskFailed(err)
		return errors.Join(err, dst.Close())
	}
	synced := x.disk
	x.disk = x.size
	s.active = handle{seg: dst, number: a.number, disk: true, size: a.size, synced: synced}
	s.dropMemory(a.number)
	return nil
}

// keepPlaces brings the places of the sources to the disk while no record waits.
func (s *Spool) keepPlaces() error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	if s.disk == nil {
		return nil
	}
	return s.keep()
}

// keep begins a segment, whose head holds all places, and brings that to the disk.
// syncMu is held.
func (s *Spool) keep() error {
	s.mu.Lock()
	if s.backlog > 0 || !s.moved {
		s.mu.Unlock()
		return nil
	}
	err := s.begin(s.active.number + 1)
	ack := s.ack
	s.mu.Unlock()
	if err == nil {
		err = s.keepHead()
	}
	if err != nil {
		return fmt.Errorf("keeping the places on the disk: %w", err)
	}
	s.mu.Lock()
	s.moved, s.keptAt = false, s.o.now()
	s.mu.Unlock()
	if err := s.cur.save(ack, true); err != nil {
		s.noteCursor(err)
	}
	return errors.Join(s.force(), s.retireHeld())
}

// keepHead sees to it that a file at or behind the cursor holds all places, or else
// brings the first head to the disk that is in memory there: everything in front of it is
// acknowledged, or forced to the disk. syncMu is held.
func (s *Spool) keepHead() error {
	s.mu.Lock()
	var first uint64
	for n, x := range s.segs {
		if n < s.ack.segment {
			continue
		}
		if x.file && x.disk >= x.head {
			s.mu.Unlock()
			return nil
		}
		if x.mem && (first == 0 || n < first) {
			first = n
		}
	}
	x := s.segs[first]
	if x == nil {
		s.mu.Unlock()
		return errNoHead
	}
	from, to := x.disk, min(x.head, x.size)
	s.mu.Unlock()
	if err := s.force(); err != nil {
		return err
	}
	err := s.copyOut(first, from, to, false)
	s.noteSpill(err)
	return err
}

var errNoHead = errors.New("the segment in question is damaged")
