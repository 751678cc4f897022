// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"math/bits"
	"sync/atomic"
)

// shape is how a line begins. It rules out most formats before any of them looks.
type shape uint16

// The beginnings, one bit each.
const (
	brace     shape  = 1 << iota // {
	angle                        // <
	bracket                      // [
	isoDate                      // 2026-11-21
	slashDate                    // 2026/11/21
	digit                        // any other digit
	month                        // "Nov "
	word                         // any other letter
	other                        // anything else
	shapes    = iota             // how many there are
)

// shapeOf tells the beginning of a line, as the number of its bit.
func shapeOf(line []byte) int {
	return bits.TrailingZeros16(uint16(begin(line)))
}

func begin(line []byte) shape {
	if len(line) == 0 {
		return other
	}
	switch c := line[0]; {
	case digitByte(c):
		if len(line) > 10 && line[4] == line[7] {
			switch line[4] {
			case '-':
				return isoDate
			case '/':
				return slashDate
			}
		}
		return digit
	case c == '{':
		return brace
	case c == '<':
		return angle
	case c == '[':
		return bracket
	case letter(c):
		if r := (reader{line, true}); len(line) > 3 && line[3] == ' ' && r.month() != 0 {
			return month
		}
		return word
	}
	return other
}

// byShape are the formats that a line of each shape may have, in their order, without text.
var byShape = tabulate(formats)

func tabulate(all []*format) (table [shapes][]*format) {
	for s := range table {
		for _, f := range all[:len(all)-1] {
			if f.begins == 0 || f.begins&(1<<s) != 0 {
				table[s] = append(table[s], f)
			}
		}
	}
	return table
}

// detection learns what a source speaks. It makes reading faster and gives the format a name; what a line becomes does not
// depend on it.
type detection struct {
	last  [shapes]*format // what took the last line of this shape
	votes []uint8         // by format.id; halved before one overflows, so that the last hundred lines decide
	lead  atomic.Pointer[format]
}

const maxVotes = 64

func (d *detection) vote(f *format) {
	if d.votes == nil {
		d.votes = make([]uint8, len(formats)+1) // and the user's pattern
	}
	if d.votes[f.id]++; d.votes[f.id] >= maxVotes {
		for i := range d.votes {
			d.votes[i] /= 2
		}
	}
	lead := d.lead.Load()
	if lead == nil || lead != f && d.votes[f.id] > d.votes[lead.id] {
		d.lead.Store(f)
	}
}
