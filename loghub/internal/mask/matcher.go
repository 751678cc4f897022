// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Matcher finds a fixed set of texts, and shapes. It is immutable; nil finds nothing.
//
// It is the algorithm of Wu and Manber ("A fast algorithm for multi-pattern searching", 1994): a window as long as the
// shortest text is moved over the line; the two or three bytes at its end say by a table how far it can move without
// passing over the beginning of a text, so most bytes are never looked at. Where it cannot move, the first eight bytes
// of the window are looked up among the beginnings of the texts, and those found are compared, one after the other where
// several begin alike. Every occurrence of every text is found, as by an automaton of Aho and Corasick.
type Matcher struct {
	window   int      // length of the shortest text, at most maxWindow
	longest  int      // length of the longest
	wide     bool     // three bytes say how far to move, not two
	bits     uint     // of the index of shift
	shift    []uint8  // by the bytes at the window's end
	slots    []uint32 // open addressing by the first eight bytes: 1 + index of heads; 0: none
	slotBits uint
	heads    []head
	patterns []pattern // by their beginning, the longest first
	text     []byte    // of the patterns
	labels   []string  // what stands in the place of a match
	shapes   Shapes    // hidden besides
	least    int       // bytes of a line in which something can be found
}

// head is the beginning that the patterns from…to have in common.
type head struct {
	key      uint64
	from, to uint32
}

// pattern is one form of a value.
type pattern struct {
	at, n uint32 // in text
	label uint16
	edge  edge
}

// edge says which characters beside a form in base64 hold bits of the value too.
type edge uint8

const (
	edgeBefore edge = 1 << iota
	edgeAfter
	edgePadding // equals signs may follow
)

// maxWindow bounds the window: longer ones move no faster.
const maxWindow = 24

// span is a stretch of a line to be hidden, under a label.
type span struct {
	from, to int
	label    uint16
}

// Scratch is memory that Mask uses again and again. One goroutine uses it.
type Scratch struct {
	out     []byte
	decoded [maxDepth][]byte
	spans   []span
	nested  [maxDepth][]span // in the decoded texts

	cut      cut
	joint    []byte // the ends of two pieces
	crossing []span // from one to the other
}

// keepScratch bounds what is kept for the next line.
const keepScratch = 256 << 10

// Mask returns line with every value replaced by its label. Where there is none it is line itself, else it is valid
// until the next call.
func (m *Matcher) Mask(line []byte, s *Scratch) []byte {
	if m == nil || len(line) < m.least {
		return line
	}
	s.spans = m.find(line, s.spans[:0])
	m.unescaped(line, s)
	return m.replace(line, s)
}

// replace puts labels in the place of s.spans.
func (m *Matcher) replace(line []byte, s *Scratch) []byte {
	if len(s.spans) == 0 {
		return line
	}
	s.spans = merged(s.spans)
	out, done := s.out[:0], 0
	for _, sp := range s.spans {
		out = append(append(out, line[done:sp.from]...), m.label(sp.label)...)
		done = sp.to
	}
	out = append(out, line[done:]...)
	if s.out = out; cap(out) > keepScratch {
		s.out = nil
	}
	return out
}

// scan appends the spans of all texts in line, in order of their beginnings.
func (m *Matcher) scan(line []byte, spans []span) []span {
	if m.wide {
		return m.scanWide(line, spans)
	}
	shift, bits := m.shift, m.bits
	for end := m.window; end <= len(line); {
		d := shift[index2(line[end-2], line[end-1], bits)]
		if d == 0 {
			spans = m.compare(line, end-m.window, spans)
			d = 1
		}
		end += int(d)
	}
	return spans
}

func (m *Matcher) scanWide(line []byte, spans []span) []span {
	shift, bits := m.shift, m.bits
	for end := m.window; end <= len(line); {
		d := shift[index3(binary.LittleEndian.Uint32(line[end-4:]), bits)]
		if d == 0 {
			spans = m.compare(line, end-m.window, spans)
			d = 1
		}
		end += int(d)
	}
	return spans
}

// index2 and index3 give the last two or three bytes of a window a place in shift.
func index2(a, b byte, bits uint) uint32 { return (uint32(a)<<(bits-7) ^ uint32(b)) & (1<<bits - 1) }

func index3(lastFour uint32, bits uint) uint32 { return ((lastFour >> 8) * 0x9E3779B1) >> (32 - bits) }

// slot is where the search for a beginning starts.
func slot(key uint64, bits uint) uint64 { return key * 0x9E3779B97F4A7C15 >> (64 - bits) }

// headOf finds the patterns that begin with these eight bytes.
func (m *Matcher) headOf(key uint64) (h head, ok bool) {
	for i := slot(key, m.slotBits); ; i = (i + 1) & (1<<m.slotBits - 1) {
		n := m.slots[i]
		if n == 0 {
			return head{}, false
		}
		if h = m.heads[n-1]; h.key == key {
			return h, true
		}
	}
}

// compare appends the span of the longest text that begins at line[at], which has room for a window.
func (m *Matcher) compare(line []byte, at int, spans []span) []span {
	h, ok := m.headOf(binary.LittleEndian.Uint64(line[at:]))
	if !ok {
		return spans
	}
	rest := line[at:]
	for _, p := range m.patterns[h.from:h.to] {
		if int(p.n) <= len(rest) && bytes.Equal(rest[:p.n], m.bytes(p)) {
			return add(spans, p.widen(line, at))
		}
	}
	return spans
}

// widen is the span of p found at line[at].
func (p pattern) widen(line []byte, at int) span {
	sp := span{at, at + int(p.n), p.label}
	if p.edge&edgeBefore != 0 && sp.from > 0 && isBase64(line[sp.from-1]) {
		sp.from--
	}
	if p.edge&edgeAfter != 0 && sp.to < len(line) && isBase64(line[sp.to]) {
		sp.to++
	}
	for i := 0; i < 2 && p.edge&edgePadding != 0 && sp.to < len(line) && line[sp.to] == '='; i++ {
		sp.to++
	}
	return sp
}

func isBase64(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_'
}

// add appends a span, or joins it to the last one: spans that overlap are hidden as one, and so are the pieces of one
// value that touch.
func add(spans []span, s span) []span {
	if n := len(spans); n > 0 {
		last := &spans[n-1]
		if s.from < last.to || s.from == last.to && s.label == last.label {
			last.from, last.to = min(last.from, s.from), max(last.to, s.to)
			return spans
		}
	}
	return append(spans, s)
}

// merged puts spans in order and joins them as add does.
func merged(spans []span) []span {
	if len(spans) < 2 {
		return spans
	}
	slices.SortStableFunc(spans, func(a, b span) int { return a.from - b.from })
	out := spans[:1]
	for _, s := range spans[1:] {
		out = add(out, s)
	}
	return out
}

// size is how much memory the tables take, in bytes.
func (m *Matcher) size() int {
	if m == nil {
		return 0
	}
	n := len(m.shift) + 4*cap(m.slots) + 16*cap(m.heads) + 12*cap(m.patterns) + cap(m.text)
	for _, l := range m.labels {
		n += 16 + len(l)
	}
	return n
}
