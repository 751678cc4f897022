// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// load reads everything that is there, then begins the next segment.
func (s *Spool) load() error {
	var err error
	if s.curFile, err = s.store.cursor(); err != nil {
		return err
	}
	s.ack, s.gen, _ = readCursor(s.curFile)
	numbers, err := s.store.segments()
	if err != nil {
		return err
	}
	next := s.ack.segment + 1
	for _, n := range numbers {
		next = max(next, n+1)
		size, err := s.loadSegment(n)
		if err != nil {
			return err
		}
		if size == 0 { // of another version: kept for whoever can read it
			continue
		}
		s.sizes[n] = size
		s.used += size
	}
	if len(numbers) > 0 && s.ack.before(cursor{numbers[0], headerBytes}) {
		s.ack = cursor{numbers[0], headerBytes}
	}
	if err := s.begin(next); err != nil {
		return err
	}
	s.first = next
	if err := s.Sync(); err != nil { // positions stand in the new segment: now the old ones may go
		return err
	}
	s.rd.at = s.ack
	if s.backlog > 0 {
		s.more <- struct{}{}
	}
	return s.retire()
}

// loadSegment takes positions and counts from an old segment. What cannot be
// read in it is counted, never an error.
func (s *Spool) loadSegment(n uint64) (size int64, err error) {
	seg, err := s.store.open(n)
	if err != nil {
		return 0, err
	}
	defer seg.Close()
	if size, err = seg.Size(); err != nil {
		return 0, err
	}
	if foreign(seg) {
		s.corrupt++
		return 0, nil
	}
	names := make(map[uint64]string)
	var sc scanner
	sc.reset(seg, headerBytes, size)
	for {
		at := sc.off
		f, err := sc.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.corrupt++
			}
			break
		}
		if f.kind == kindRecord && !(cursor{n, at}).before(s.ack) {
			s.backlog++
		}
		s.restore(names, f)
	}
	s.corrupt += sc.holes
	s.skipped += sc.skipped
	return max(sc.off, headerBytes), nil
}

// foreign says whether a segment is one of ours in a version we do not know.
func foreign(seg segment) bool {
	var head [headerBytes]byte
	if _, err := seg.ReadAt(head[:], 0); err != nil {
		return false
	}
	_, ok := parseHeader(head[:])
	return !ok && string(head[:4]) == "CLSG"
}

// restore follows the positions through one frame.
func (s *Spool) restore(names map[uint64]string, f frame) {
	var p place
	if f.kind == kindSource {
		rest, ok := uvarints(f.payload, &p.source, &p.pos, &p.seq)
		key, rest, ok1 := blob(rest)
		aux, rest, ok2 := blob(rest)
		carry, rest, ok3 := blob(rest)
		proof, _, _ := blob(rest) // spools of earlier versions have none
		if ok && ok1 && ok2 && ok3 {
			names[p.source] = string(key)
			s.restored[string(key)] = State{Aux: string(aux), Pos: p.pos, Seq: p.seq, Carry: append([]byte(nil), carry...), Proof: append([]byte(nil), proof...)}
		}
		return
	}
	into := []*uint64{&p.source, &p.pos, &p.seq}
	if f.kind == kindCarry {
		into = into[:2]
	}
	if f.kind == kindForget {
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

// begin starts segment n with a source frame for each source. s.mu is held, or
// nobody else knows s yet.
func (s *Spool) begin(n uint64) error {
	seg, err := s.store.create(n)
	if err != nil {
		return fmt.Errorf("beginning segment %d: %w", n, err)
	}
	fault("segment-created")
	head := appendHeader(nil, n)
	for _, src := range s.sources {
		if src != nil {
			head = appendSource(head, src.id, src.key, src.state)
		}
	}
	for key, st := range s.restored {
		head = appendSource(head, s.restoredID(key), key, st)
	}
	if _, err := seg.WriteAt(head, 0); err != nil {
		return errors.Join(fmt.Errorf("beginning segment %d: %w", n, err), seg.Close(), s.store.remove(n))
	}
	if s.active != nil {
		s.unsynced = append(s.unsynced, s.active)
	}
	s.active, s.number, s.size, s.dirty = seg, n, int64(len(head)), true
	if s.backlog == 0 { // a log of marks alone must not grow either
		s.ack = cursor{n, headerBytes}
	}
	s.sizes[n] = s.size
	s.used += s.size
	return nil
}

// restoredID is the id of a source that was not registered yet: above those in
// use, and the same in every segment.
func (s *Spool) restoredID(key string) uint64 {
	id, ok := s.restoredIDs[key]
	if !ok {
		id = 1<<32 + uint64(len(s.restoredIDs))
		s.restoredIDs[key] = id
	}
	return id
}

func appendSource(dst []byte, id uint64, key string, st State) []byte {
	dst, at := beginFrame(dst, kindSource, 0)
	dst = binary.AppendUvarint(dst, id)
	dst = binary.AppendUvarint(dst, st.Pos)
	dst = binary.AppendUvarint(dst, st.Seq)
	dst = appendBlob(dst, []byte(key))
	dst = appendBlob(dst, []byte(st.Aux))
	dst = appendBlob(dst, st.Carry)
	dst = appendBlob(dst, st.Proof)
	endFrame(dst, at)
	return dst
}
