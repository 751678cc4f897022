// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"slices"
)

// bootID tells the machine's lives apart; 0: nobody knows.
func bootID() uint64 {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0
	}
	h := fnv.New64a()
	h.Write(text)
	return h.Sum64()
}

// load reads everything that is there, then begins the next segment.
func (s *Spool) load() error {
	s.keptAt = s.o.now()
	d, ok, err := s.loadCursors()
	if err != nil {
		return err
	}
	if err := s.list(); err != nil {
		return err
	}
	next := s.ack.segment + 1
	for n := range s.taken {
		next = max(next, n+1)
	}
	f := follower{done: d.at}
	for _, n := range s.numbers() {
		next = max(next, n+1)
		if err := s.loadSegment(&f, n); err != nil {
			return err
		}
	}
	if numbers := s.numbers(); len(numbers) > 0 && s.ack.before(cursor{numbers[0], headerBytes}) {
		s.ack = cursor{numbers[0], headerBytes}
	}
	s.cur.bar = f.bar
	forced := s.forceOld()
	s.startCursor(d, ok)
	if forced && s.disk != nil && s.o.Mode == OnDisk && s.inMem > 0 {
		// The mode was another before this start. What fails stays in memory, and is tried again.
		_ = s.spill(false)
	}
	if err := s.begin(next); err != nil {
		return err
	}
	s.first = next
	s.rd.at = s.ack
	if s.backlog > 0 {
		s.more <- struct{}{}
	}
	if err := s.force(); err != nil { // positions stand in the new segment: now the old ones may go
		s.mu.Lock()
		s.diskFailed(err)
		s.mu.Unlock()
		return nil
	}
	_ = s.retireHeld() // it is tried again
	s.removeStarts()
	return nil
}

// loadCursors opens both cursors and takes the one that is further: the one in
// memory dies with the machine, and that on the disk is written now and then only.
// d is what the disk's holds; ok is false when it holds nothing.
func (s *Spool) loadCursors() (d mark, ok bool, err error) {
	c := &s.cur
	if c.mem, err = s.mem.cursor(); err != nil {
		return d, false, err
	}
	m, _, _ := readCursor(c.mem)
	c.mark, c.written, c.memorySlot = m, m.written, int64(m.slot)
	if s.disk == nil {
		s.ack = c.mark.at
		return d, false, nil
	}
	if c.disk, err = s.disk.cursor(); passes(err) {
		return d, false, err
	} else if err != nil {
		// Something stands in its way. The log is sent from its beginning.
		c.disk, s.trouble.cursorErr = nil, err
		s.ack = c.mark.at
		return d, false, nil
	}
	d, ok, later := readCursor(c.disk)
	if later {
		s.foreign++
	}
	if c.mark.at.before(d.at) {
		c.mark.at = d.at
	}
	c.mark.generation = max(c.mark.generation, d.generation)
	c.written.merge(d.written)
	c.slot, c.dirty, c.there = int64(d.slot), ok, d.at
	if ok { // a process that was killed may not have forced it down: before that it is not to be written over
		if _, err := c.sync(s.o.now()); err != nil {
			s.trouble.cursorErr = err
		}
	}
	s.ack = c.mark.at
	return d, ok, nil
}

// startCursor brings to the disk's cursor, which held d, what that in memory knew. Both slots get their room now: a disk
// that is full later has none.
func (s *Spool) startCursor(d mark, ok bool) {
	c := &s.cur
	if c.disk == nil {
		return
	}
	size, err := c.disk.Size()
	times := 0
	switch {
	case !ok:
		times = 2
	case err == nil && size < 2*slotBlock+slotBytes, s.o.Mode == OnDisk && d.at.before(c.mark.at):
		times = 1
	}
	for range times {
		if err := c.save(c.mark.at, true); err != nil {
			s.trouble.cursorErr = err
		}
		if !ok {
			c.slot ^= 1
		}
	}
}

// list finds the segments of both tiers.
func (s *Spool) list() error {
	known, foreign, err := s.mem.segments()
	if err != nil {
		return err
	}
	for _, n := range known {
		s.segs[n] = &extent{mem: true}
	}
	if s.disk != nil {
		files, others, err := s.disk.segments()
		if passes(err) {
			return err
		} else if err != nil {
			s.trouble.disk(err)
		}
		foreign = append(foreign, others...)
		for _, n := range files {
			if s.segs[n] == nil {
				s.segs[n] = &extent{}
			}
			s.segs[n].file = true
		}
	}
	for _, n := range foreign {
		s.taken[n] = true
		s.foreign++
	}
	return nil
}

// numbers are those of the segments, ascending.
func (s *Spool) numbers() []uint64 {
	out := make([]uint64, 0, len(s.segs))
	for n := range s.segs {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// follower follows the places through the segments.
type follower struct {
	// frozen says that a piece of the log is missing which the crash of the machine
	// took: the places behind it are ahead of records that are not there any more, and
	// which their source may still have. Records behind it count all the same.
	frozen bool
	bar    cursor            // where that began, while no head that holds follows on the disk; zero: nowhere
	done   cursor            // the disk's: who wrote it saw what is in front of it acknowledged
	names  map[uint64]string // ids of the segment's sources → keys
}

func (f *follower) freeze(at cursor) {
	f.frozen = true
	if f.bar == (cursor{}) {
		f.bar = at
	}
}

// loadSegment takes positions and counts from an old segment. What cannot be
// read in it is counted; the error is one that passes.
func (s *Spool) loadSegment(f *follower, n uint64) error {
	x := s.segs[n]
	seg, size, err := s.openOld(n, x)
	switch {
	case passes(err):
		return fmt.Errorf("opening segment %d: %w", n, err)
	case err != nil:
		delete(s.segs, n)
		s.taken[n], s.stuck = true, true
		s.corrupt++
		return nil
	}
	defer seg.Close()
	f.names = make(map[uint64]string)
	crashed := !x.mem // what is in memory was not torn by the machine's end
	x.head = noHead
	var sc scanner
	sc.reset(seg, headerBytes, size)
	heads := uint64(0) // how many frames of its head are still to come
	for first := true; ; first = false {
		fr, err := sc.next()
		if err != nil {
			break
		}
		at := sc.off - int64(frameBytes+len(fr.payload))
		if first && fr.kind == kindLink {
			var l link
			if l.parse(fr.payload) {
				crashed = crashed && (l.boot != s.o.boot || l.boot == 0)
				s.follow(f, l, crashed)
				heads = l.sources + 1
			}
		}
		inHead := heads > 0
		if inHead {
			heads--
		}
		if crashed && sc.holes > 0 {
			f.freeze(cursor{n, at})
		}
		if fr.kind == kindRecord && !(cursor{n, at}).before(s.ack) {
			s.backlog++
			x.records = true
		}
		if f.frozen {
			continue
		}
		s.restore(f.names, fr)
		if inHead && heads == 0 && sc.holes == 0 {
			x.head = sc.off
			s.keepOnly(f.names)
			if crashed && x.disk >= x.head {
				f.bar = cursor{}
			}
		}
	}
	if crashed && sc.torn {
		f.freeze(cursor{n, max(sc.end, headerBytes)})
	}
	s.account(x, &sc)
	return nil
}

// account adds up what was found in a segment.
func (s *Spool) account(x *extent, sc *scanner) {
	s.corrupt += sc.holes
	s.skipped += sc.skipped
	x.records = x.records || sc.holes > 0 || sc.torn // what nobody could read may be some
	x.size = max(sc.end, headerBytes)
	if x.file {
		x.disk = min(max(x.disk, 0), x.size)
	}
	s.used += x.size
	if x.mem {
		s.inMem += x.size
	}
}

// keepOnly drops the places that a head does not hold: there were no more sources when it was written. An older
// segment may know of some, whose places were not to be believed then and look sound now.
func (s *Spool) keepOnly(names map[uint64]string) {
	held := make(map[string]bool, len(names))
	for _, key := range names {
		held[key] = true
	}
	maps.DeleteFunc(s.restored, func(key string, _ State) bool { return !held[key] })
}

// noHead is the size of a head that was not written wholly.
const noHead = 1 << 62

// openOld opens a segment where the whole of it is, and learns how much of it is on
// the disk.
func (s *Spool) openOld(n uint64, x *extent) (seg segment, size int64, err error) {
	if x.file {
		if seg, err = s.disk.open(n); err == nil {
			x.disk, err = seg.Size()
			size = x.disk
		}
		if passes(err) {
			return nil, 0, err
		}
	}
	if x.mem {
		if seg != nil {
			_ = seg.Close()
		}
		if seg, err = s.mem.open(n); err == nil {
			size, err = seg.Size()
		}
	}
	return seg, size, err
}

// forceOld forces down what a process that was killed has written: what comes now
// relies on it. What cannot be forced is left to the next Sync, and nothing new is begun on the disk before.
func (s *Spool) forceOld() bool {
	if s.disk == nil {
		return true
	}
	var errs []error
	for _, n := range s.numbers() {
		x := s.segs[n]
		if !x.file {
			continue
		}
		seg, err := s.disk.open(n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := seg.Sync(); err != nil {
			errs = append(errs, err)
			s.full = append(s.full, handle{seg: seg, number: n, disk: true, size: x.disk})
			continue
		}
		_ = seg.Close()
	}
	if err := s.disk.sync(); err != nil {
		errs, s.created = append(errs, err), true
	}
	err := errors.Join(errs...)
	if err != nil && s.o.Mode != InMemory {
		s.diskFailed(fmt.Errorf("forcing what was found to the disk: %w", err))
	}
	return err == nil
}

// restore follows the positions through one frame.
func (s *Spool) restore(names map[uint64]string, f frame) {
	var p place
	if f.kind == kindSource {
		rest, ok := uvarints(f.payload, &p.source, &p.pos, &p.seq)
		key, rest, ok1 := blob(rest)
		aux, rest, ok2 := blob(rest)
		carry, rest, ok3 := blob(rest)
		proof, _, _ := blob(rest) // early spools have none
		if ok && ok1 && ok2 && ok3 {
			names[p.source] = string(key)
			s.restored[string(key)] = State{
				Aux: string(aux), Pos: p.pos, Seq: p.seq, Carry: append([]byte(nil), carry...), Proof: append([]byte(nil), proof...),
			}
		}
		return
	}
	into := []*uint64{&p.source, &p.pos, &p.seq}
	switch f.kind {
	case kindLink:
		return
	case kindCarry:
		into = into[:2]
	case kindForget:
		into = into[:1]
	}
	rest, ok := uvarints(f.payload, into...)
	key, known := names[p.source]
	if !ok || !known {
		return
	}
	st := s.restored[key]
	switch f.kind {
	case kindForget:
		delete(s.restored, key)
		return
	case kindCarry:
		st.carry(p.pos, rest)
	case kindMark:
		st.settle(p.pos, p.seq)
		if len(rest) > 0 {
			st.Proof = append([]byte(nil), rest...)
		}
	default:
		st.settle(p.pos, p.seq)
	}
	s.restored[key] = st
}
