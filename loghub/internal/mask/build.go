// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
)

// The tables are bounded, in bytes as build counts them and, as building has to be quick, in patterns. What has no room
// is left out, the last values first.
const (
	maxTables   = 6 << 20
	maxPatterns = 16_000
)

// perPattern is what a pattern costs besides its text: itself, a head, two slots, and its part of shift.
const perPattern = 12 + 16 + 2*8 + 8

// few is how many patterns two bytes at the window's end tell apart.
const few = 192

// build makes the Matcher of the values and shapes, and says how many of the values, from the first on, have room in it.
func build(values []Value, shapes Shapes) (m *Matcher, room int) {
	b := &builder{m: &Matcher{window: maxWindow, shapes: shapes}}
	for room = range values {
		if !b.add(values[room]) {
			return b.finish(), room
		}
	}
	return b.finish(), len(values)
}

type builder struct {
	m    *Matcher
	cost int
}

// add adds all forms of a value, or none where they have no room.
func (b *builder) add(v Value) bool {
	m := b.m
	text, patterns := len(m.text), len(m.patterns)
	label := uint16(len(m.labels))
	if len(m.labels) > 0 && m.labels[label-1] == v.Name {
		label--
	}
	if label >= labelToken {
		return false
	}
	forms(v.Text, func(form []byte, e edge) {
		b.cost += len(form) + perPattern
		if len(form) < MinBytes || b.full() {
			return
		}
		m.patterns = append(m.patterns, pattern{at: uint32(len(m.text)), n: uint32(len(form)), label: label, edge: e})
		m.text = append(m.text, form...)
	})
	if b.full() {
		m.text, m.patterns = m.text[:text], m.patterns[:patterns]
		return false
	}
	if int(label) == len(m.labels) {
		m.labels = append(m.labels, v.Name) // finish makes labels of the names
	}
	return true
}

func (b *builder) full() bool { return b.cost > maxTables || len(b.m.patterns) >= maxPatterns }

// finish sorts the patterns and fills the tables.
func (b *builder) finish() *Matcher {
	m := b.m
	if len(m.patterns) == 0 {
		if m.least = minToken; m.shapes == 0 {
			return nil
		}
		return m
	}
	slices.SortFunc(m.patterns, func(a, b pattern) int {
		return cmp.Or(cmp.Compare(m.key(a), m.key(b)), cmp.Compare(b.n, a.n),
			bytes.Compare(m.bytes(a), m.bytes(b)), cmp.Compare(a.at, b.at))
	})
	m.patterns = slices.CompactFunc(m.patterns, func(a, b pattern) bool { return bytes.Equal(m.bytes(a), m.bytes(b)) })
	m.text, m.patterns = bytes.Clone(m.text), slices.Clone(m.patterns) // without the room to grow
	for _, p := range m.patterns {
		m.window, m.longest = min(m.window, int(p.n)), max(m.longest, int(p.n))
	}
	if m.least = m.window; m.shapes != 0 {
		m.least = minToken
	}
	m.fillShift()
	m.fillHeads()
	for i, name := range m.labels {
		m.labels[i] = m.labelOf(name)
	}
	return m
}

func (m *Matcher) bytes(p pattern) []byte { return m.text[p.at : p.at+p.n] }

func (m *Matcher) key(p pattern) uint64 { return binary.LittleEndian.Uint64(m.text[p.at:]) }

// fillShift says for what may stand at the window's end how far it can be moved.
func (m *Matcher) fillShift() {
	n := len(m.patterns) * m.window
	m.wide = len(m.patterns) > few
	block := 2
	if m.wide {
		block = 3
	}
	m.bits = uint(min(max(bits.Len(uint(4*n)), 12), 17))
	if !m.wide {
		m.bits = min(m.bits, 15)
	}
	m.shift = bytes.Repeat([]byte{byte(m.window - block + 1)}, 1<<m.bits)
	for _, p := range m.patterns {
		w := m.bytes(p)[:m.window]
		for end := block; end <= m.window; end++ {
			var i uint32
			if m.wide {
				i = index3(uint32(w[end-3])<<8|uint32(w[end-2])<<16|uint32(w[end-1])<<24, m.bits)
			} else {
				i = index2(w[end-2], w[end-1], m.bits)
			}
			m.shift[i] = min(m.shift[i], byte(m.window-end))
		}
	}
}

func (m *Matcher) fillHeads() {
	for i, p := range m.patterns {
		if key := m.key(p); len(m.heads) == 0 || m.heads[len(m.heads)-1].key != key {
			m.heads = append(m.heads, head{key: key, from: uint32(i)})
		}
		m.heads[len(m.heads)-1].to = uint32(i + 1)
	}
	m.heads = slices.Clip(m.heads)
	m.slotBits = uint(bits.Len(uint(len(m.heads)))) + 1
	m.slots = make([]uint32, 1<<m.slotBits)
	for n, h := range m.heads {
		i := slot(h.key, m.slotBits)
		for m.slots[i] != 0 {
			i = (i + 1) & (1<<m.slotBits - 1)
		}
		m.slots[i] = uint32(n + 1)
	}
}

// maxLabel bounds the name in a label.
const maxLabel = 48

// labelOf is what stands in the place of a value: its name between asterisks. A name that itself holds a value is kept
// to itself.
func (m *Matcher) labelOf(name string) string {
	const hidden = "***"
	name = strings.Map(func(r rune) rune {
		if r > '~' || isPunctuation(byte(r)) && !strings.ContainsRune("_-./", r) {
			return '_'
		}
		return r
	}, name)
	if len(name) > maxLabel {
		name = name[:maxLabel]
	}
	if name == "" || len(m.scan([]byte(name), nil)) > 0 {
		return hidden
	}
	return hidden + name + hidden
}
