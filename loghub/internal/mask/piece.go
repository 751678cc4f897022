// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"bytes"
	"encoding/binary"
)

// A line that is longer than a record may be, or whose end keeps people waiting, comes in pieces, and a value may stand
// across their ends. Of the end of a piece what may be the beginning of a value is hidden, from minBegin bytes on; in the
// next piece what completes one with the end of the pieces before it.

// minBegin is how many bytes at the end of a piece must be the beginning of a value to be hidden.
const minBegin = 4

// reach is how much of what came before is remembered, as it was written.
const reach = 32 << 10

// cut is what Scratch remembers between the pieces of a line.
type cut struct {
	number        int    // of the piece seen last
	before, after []byte // the ends of what came before it, and with it
}

// turn takes in a piece, which may be the one that was seen last.
func (c *cut) turn(number int, piece []byte) {
	switch number {
	case c.number:
	case c.number + 1:
		c.before, c.after = append(c.before[:0], c.after...), c.after[:0]
	default: // those before it are not known, as after a restart
		c.before = c.before[:0]
	}
	if number == 1 {
		c.before = c.before[:0]
	}
	c.number = number
	piece = piece[max(0, len(piece)-reach):]
	old := c.before[max(0, len(c.before)-(reach-len(piece))):]
	c.after = append(append(c.after[:0], old...), piece...)
}

// MaskPiece is Mask for a piece of a line, numbered from 1. open: another piece may follow.
func (m *Matcher) MaskPiece(piece []byte, s *Scratch, number int, open bool) []byte {
	if m == nil {
		return piece
	}
	s.cut.turn(number, piece)
	s.spans = s.spans[:0]
	if before := s.cut.before; len(before) > 0 {
		m.across(before, piece, s)
	}
	s.crossing = append(s.crossing[:0], s.spans...)
	s.spans = m.find(piece, s.spans[:0])
	m.unescaped(piece, s)
	s.spans = append(s.spans, s.crossing...)
	if open {
		m.begun(piece, s)
	}
	return m.replace(piece, s)
}

// across finds what ends in piece, and begins in before or is known by what stands there.
func (m *Matcher) across(before, piece []byte, s *Scratch) {
	joint := append(append(s.joint[:0], before...), piece[:min(len(piece), reach)]...)
	s.joint = joint
	s.spans = m.find(joint, s.spans[:0])
	m.unescaped(joint, s)
	kept := s.spans[:0]
	for _, sp := range s.spans {
		if sp.to > len(before) {
			kept = append(kept, span{max(0, sp.from-len(before)), sp.to - len(before), sp.label})
		}
	}
	s.spans = kept
}

// begun finds the beginning of a value at the end of piece, also below one layer of escapes of which the last may be cut.
func (m *Matcher) begun(piece []byte, s *Scratch) {
	start := max(0, len(piece)-reach)
	end := piece[start:]
	m.begunAt(piece, start, end, s)
	for i := range decoders {
		near := max(0, len(end)-longestEscape)
		if at := bytes.LastIndexByte(end[near:], decoders[i].trigger); at >= 0 {
			m.begunAt(piece, start, end[:near+at], s)
		}
	}
}

// longestEscape is \uHHHH\uHHHH, without its last character.
const longestEscape = 11

// begunAt is begun for the bytes at start alone.
func (m *Matcher) begunAt(piece []byte, start int, end []byte, s *Scratch) {
	if at, label, ok := m.begins(end); ok {
		s.spans = append(s.spans, span{start + at, len(piece), label})
	}
	for i := range decoders {
		text, ok := decoders[i].decode(end, &s.decoded[0])
		if !ok {
			continue
		}
		if at, label, ok := m.begins(text); ok {
			one := [1]span{{at, len(text), label}}
			decoders[i].translate(end, one[:])
			s.spans = append(s.spans, span{start + one[0].from, len(piece), label})
		}
	}
}

// begins finds the longest end of text that is the beginning of a pattern, or else of a shape.
func (m *Matcher) begins(text []byte) (at int, label uint16, ok bool) {
	if at, label, ok = m.shapes.begins(text); ok || len(m.patterns) == 0 {
		return at, label, ok
	}
	for at = max(0, len(text)-m.longest); at+8 <= len(text); at++ {
		h, found := m.headOf(binary.LittleEndian.Uint64(text[at:]))
		if !found {
			continue
		}
		for _, p := range m.patterns[h.from:h.to] {
			if bytes.HasPrefix(m.bytes(p), text[at:]) {
				return at, p.label, true
			}
		}
	}
	for at = max(0, len(text)-7); at+minBegin <= len(text); at++ {
		for _, h := range m.heads {
			if p := m.patterns[h.from]; bytes.HasPrefix(m.bytes(p), text[at:]) {
				return at, p.label, true
			}
		}
	}
	return 0, 0, false
}
