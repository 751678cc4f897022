// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

// link says what stood in front of a segment when it was begun.
type link struct {
	prev    uint64 // number of the segment before; 0: all before it was safe, or done with
	size    int64  // of that one
	boot    uint64
	sources uint64 // how many frames of sources follow
}

func (l link) append(dst []byte) []byte {
	dst, at := beginFrame(dst, kindLink, 0)
	dst = binary.AppendUvarint(dst, l.prev)
	dst = binary.AppendUvarint(dst, uint64(l.size))
	dst = binary.AppendUvarint(dst, l.boot)
	dst = binary.AppendUvarint(dst, l.sources)
	endFrame(dst[at:], 0)
	return dst
}

func (l *link) parse(p []byte) bool {
	var size uint64
	_, ok := uvarints(p, &l.prev, &size, &l.boot, &l.sources)
	l.size = int64(size)
	return ok
}

// follow decides whether the places of a segment hold that begins with l. For one that a crash may have torn, what is
// done with is what the cursor on the disk says: it stays in front of places that were not believed.
func (s *Spool) follow(f *follower, l link, crashed bool) {
	prev, done := s.segs[l.prev], s.ack
	if crashed {
		done = f.done
	}
	switch {
	case l.prev == 0, l.prev < done.segment: // nothing in front of it is needed
		f.frozen = false
	case crashed && prev == nil:
		f.freeze(cursor{l.prev, headerBytes})
	case crashed && prev.size < l.size:
		f.freeze(cursor{l.prev, prev.size})
	}
}

// begin starts segment n, or the next whose number is free, with a source frame for
// each source. mu is held, or nobody else knows s yet.
func (s *Spool) begin(n uint64) error {
	if s.disk != nil && s.o.Mode == OnDisk && s.inMem == 0 && !s.o.now().Before(s.trouble.retry) {
		err := s.beginIn(s.disk, n)
		if err == nil {
			s.created = true
			s.trouble.diskErr = nil
			return nil
		}
		s.diskFailed(err)
	}
	return s.beginIn(s.mem, n)
}

func (s *Spool) beginIn(where store, n uint64) error {
	seg, n, err := s.create(where, n)
	if err != nil {
		return fmt.Errorf("beginning segment %d: %w", n, err)
	}
	fault("segment-created")
	head := s.appendHead(nil, n)
	if _, err := seg.WriteAt(head, 0); err != nil {
		return errors.Join(fmt.Errorf("beginning segment %d: %w", n, err), seg.Close(), where.remove(n))
	}
	if s.active.seg != nil {
		s.full = append(s.full, s.active)
	}
	size := int64(len(head))
	x := &extent{size: size, head: size, mem: where == s.mem}
	if x.mem {
		s.inMem += size
	} else {
		x.file, x.disk = true, size
	}
	s.active = handle{seg: seg, number: n, disk: !x.mem, size: size}
	s.segs[n] = x
	s.used += size
	if s.backlog == 0 { // a log of marks alone must not grow either
		s.ack = cursor{n, headerBytes}
	}
	return nil
}

// appendHead appends what segment n begins with.
func (s *Spool) appendHead(dst []byte, n uint64) []byte {
	l := link{boot: s.o.boot}
	if prev := s.segs[s.active.number]; s.active.seg != nil && prev != nil && prev.disk == prev.size {
		l.prev, l.size = s.active.number, prev.size // it may not be forced down yet
	}
	for _, src := range s.sources {
		if src != nil {
			l.sources++
		}
	}
	l.sources += uint64(len(s.restored))
	dst = l.append(appendHeader(dst, n))
	for _, src := range s.sources {
		if src != nil {
			dst = appendSource(dst, src.id, src.key, src.state)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.restored)) { // what a test has done once it does again
		dst = appendSource(dst, s.restoredID(key), key, s.restored[key])
	}
	return dst
}

// create makes a segment of the number n, or of the next that is free.
func (s *Spool) create(where store, n uint64) (segment, uint64, error) {
	for {
		if s.taken[n] || s.segs[n] != nil {
			n++
			continue
		}
		seg, err := where.create(n)
		if errors.Is(err, fs.ErrExist) {
			s.taken[n] = true
			continue
		}
		return seg, n, err
	}
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
