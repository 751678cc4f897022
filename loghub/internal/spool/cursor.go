// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"encoding/binary"
	"hash/crc32"
)

// cursor is a place in the log: everything before it is acknowledged.
type cursor struct {
	segment uint64
	offset  int64
}

// before says whether c stands in front of d.
func (c cursor) before(d cursor) bool {
	return c.segment < d.segment || c.segment == d.segment && c.offset < d.offset
}

// Places of the cursor's two slots. Each version has two blocks of its own, so
// that one program leaves alone what another wrote, and a torn write of a slot
// leaves the other good.
const (
	slotBlock   = 4096
	slotBytes   = 8 + 8 + 8 + windowBytes + 4
	oldSlotGap  = 64 // version 1: slots of 28 bytes, 64 apart
	oldSlotSize = 8 + 8 + 8 + 4
)

// mark is what a slot holds.
type mark struct {
	generation uint64
	slot       int // that it was read from
	at         cursor
	written    window // bytes written to the disk in the last 24 hours
}

// readCursor returns the newest valid slot, also one of version 1. ok is false
// when there is none; later says that a later version has written here too.
func readCursor(s segment) (m mark, ok, later bool) {
	for i := range int64(2) {
		b := make([]byte, oldSlotSize)
		if _, err := s.ReadAt(b, i*oldSlotGap); err == nil {
			m, ok = newer(m, ok, b, 0)
		}
	}
	for i := range int64(2) {
		b := make([]byte, slotBytes)
		if _, err := s.ReadAt(b, (1+i)*slotBlock); err == nil {
			m, ok = newer(m, ok, b, int(i))
		}
	}
	size, err := s.Size()
	return m, ok, err == nil && size > 3*slotBlock
}

// newer returns the slot in b if it is valid and newer than m.
func newer(m mark, ok bool, b []byte, slot int) (mark, bool) {
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	generation := binary.LittleEndian.Uint64(b)
	if crc32.Checksum(body, castagnoli) != sum || generation <= m.generation {
		return m, ok
	}
	m.generation, m.slot = generation, slot
	m.at = cursor{binary.LittleEndian.Uint64(b[8:]), int64(binary.LittleEndian.Uint64(b[16:]))}
	if len(b) == slotBytes {
		m.written.decode(b[24:])
	}
	return m, true
}

// writeCursor writes one of the two slots; the other one stays good.
func writeCursor(s segment, slot int64, m mark) error {
	b := make([]byte, 0, slotBytes)
	b = binary.LittleEndian.AppendUint64(b, m.generation)
	b = binary.LittleEndian.AppendUint64(b, m.at.segment)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.at.offset))
	b = m.written.append(b)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	_, err := s.WriteAt(b, (1+slot)*slotBlock)
	return err
}
