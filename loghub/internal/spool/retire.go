// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"errors"
	"fmt"
	"slices"
)

// done are the segments that nobody needs, ascending: in front of the cursor, or in memory alone and without records, whose places
// the head of the next one holds. mu is held.
func (s *Spool) done() []uint64 {
	var out []uint64
	for n, x := range s.segs {
		if n != s.active.number && (n < s.ack.segment || !x.file && !x.records) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// retire removes the segments in front of the cursor.
func (s *Spool) retire() error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	return s.retireHeld()
}

// retireHeld is retire with syncMu held. Before a file goes, the cursor is forced
// to the disk, and so are the places that the file held: those may be found nowhere else.
// That the cursor could not be written holds up the last of them alone: the absence
// of the others says the same, and a full disk must not keep what fills it.
// A spool in memory leaves no places on the disk, once a head stands behind those that are not to be believed.
func (s *Spool) retireHeld() error {
	hold := s.o.Mode != InMemory || s.cur.barred() != (cursor{})
	s.mu.Lock()
	var files, rest []uint64
	for _, n := range s.done() {
		if s.segs[n].file {
			files = append(files, n)
		} else {
			rest = append(rest, n)
		}
	}
	ack := s.ack
	s.mu.Unlock()
	s.leaveMemoryTo(files)
	s.remove(rest)
	if len(files) == 0 {
		return nil
	}
	var kept error
	if hold {
		if kept = s.keepHead(); kept != nil { // then the newest file goes on holding the places
			kept = fmt.Errorf("keeping the places on the disk: %w", kept)
		}
	}
	saved := s.cur.save(ack, true)
	if err := s.force(); err != nil {
		return errors.Join(kept, err)
	}
	if saved != nil {
		s.noteCursor(saved)
	}
	if kept != nil || s.behind() { // or on saying that those before it were there
		files = s.withoutPlaces(files)
	}
	s.cur.add(int64(len(files))*journalBytes, s.o.now())
	if hold {
		s.remove(files)
		return kept
	}
	return s.removeAll(files)
}

// leaveMemoryTo drops what of files is in memory too: a disk may not let go of them for long.
func (s *Spool) leaveMemoryTo(files []uint64) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range files {
		if x := s.segs[n]; x != nil && x.mem {
			s.dropMemory(n)
		}
	}
}

// held is how many bytes the segments have that are not acknowledged. The others mostly go at once; what a failing disk does not
// let go takes no room from what comes: it is bounded, since nothing is added to such a disk. mu is held.
func (s *Spool) held() int64 {
	if at := [3]uint64{s.ack.segment, s.active.number, uint64(len(s.segs))}; at != s.doneAt {
		s.doneAt, s.doneBytes = at, 0
		for _, n := range s.done() {
			s.doneBytes += s.segs[n].size
		}
	}
	return s.used - s.doneBytes
}

// removeStarts removes the files that starts have left which brought no records. The first segment of a start follows on nothing,
// and its head was forced to the disk just now: whichever of them come back, their places do not matter.
func (s *Spool) removeStarts() {
	s.mu.Lock()
	var files []uint64
	if s.active.disk {
		for _, n := range slices.Backward(s.numbers()) {
			x := s.segs[n]
			if n != s.active.number && (x.records || !x.file) {
				break
			}
			if n != s.active.number {
				files = append(files, n)
			}
		}
	}
	s.mu.Unlock()
	s.cur.add(int64(len(files))*journalBytes, s.o.now())
	s.remove(files)
}

// removeAll removes files where none may stay that holds places. The newest that does goes when those before it cannot come
// back any more: their places may be believed without it, and would not be right.
func (s *Spool) removeAll(files []uint64) error {
	s.mu.Lock()
	last := uint64(0)
	for n, x := range s.segs {
		if x.file && x.disk >= x.head {
			last = max(last, n)
		}
	}
	s.mu.Unlock()
	i, found := slices.BinarySearch(files, last)
	if !found {
		s.remove(files)
		return nil
	}
	s.remove(slices.Concat(files[:i], files[i+1:]))
	if s.stuck {
		return nil
	}
	s.cur.add(journalBytes, s.o.now())
	if err := s.disk.sync(); err != nil {
		return fmt.Errorf("forcing the removal of segments to the disk: %w", err)
	}
	s.remove(files[i : i+1])
	return nil
}

// withoutPlaces leaves out the newest file that holds places and what is behind it, up to the bar: behind that nothing holds.
func (s *Spool) withoutPlaces(files []uint64) []uint64 {
	bar := s.cur.barred()
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to := 0, len(files)
	newest := uint64(0)
	for i, n := range files {
		if x := s.segs[n]; x.disk >= x.head {
			newest, from, to = n, i, len(files)
		} else if bar != (cursor{}) && newest <= bar.segment && bar.segment < n {
			to = min(to, i)
		}
	}
	return slices.Concat(files[:from], files[to:])
}

// remove removes segments. A file that cannot be removed is tried again at the next
// start: its number stands in front of the cursor.
func (s *Spool) remove(numbers []uint64) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	for _, n := range numbers {
		fault("before-unlink")
		s.mu.Lock()
		file := s.drop(n)
		s.mu.Unlock()
		if file {
			s.stuck = s.disk.remove(n) != nil || s.stuck
		}
		fault("after-unlink")
	}
}

// drop gives up a segment and what is accounted for it, and says whether it has a
// file still. readMu and mu are held.
func (s *Spool) drop(n uint64) (file bool) {
	x := s.segs[n]
	if x == nil {
		return false
	}
	if x.mem {
		s.dropMemory(n)
	}
	s.used -= x.size
	delete(s.segs, n)
	return x.file
}
