// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"cloud4.internal/hub/internal/otlp"
)

// scan walks one JSON text (RFC 8259).
type scan struct {
	p      *Parser
	b      []byte
	i      int
	values int // below the attributes' own
}

// members reads the members of an object whose brace was taken.
func (s *scan) members(each func(key []byte, v otlp.Value)) bool {
	s.space()
	for i := 0; !s.take('}'); i++ {
		if i > 0 && !s.comma() {
			return false
		}
		key, ok := s.key()
		if !ok {
			return false
		}
		var v otlp.Value
		if !s.value(1, &v) {
			return false
		}
		each(key, v)
		s.space()
	}
	return true
}

// comma takes a comma between two members or elements.
func (s *scan) comma() bool {
	ok := s.take(',')
	s.space()
	return ok
}

// key reads the key of a member and its colon.
func (s *scan) key() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	key, ok := s.str()
	s.space()
	return key, ok && s.take(':')
}

// object and array read what follows the brace. Their members gather on a stack and move to one stretch when the last of them
// is known.
func (s *scan) object(depth int, v *otlp.Value) bool {
	from := len(s.p.pairStack)
	var e otlp.Value // in the loop it would be allocated
	s.space()
	for i := 0; !s.take('}'); i++ {
		if i > 0 && !s.comma() {
			return false
		}
		key, ok := s.key()
		if !ok {
			return false
		}
		e = otlp.Value{}
		if !s.value(depth+1, &e) {
			return false
		}
		s.p.pairStack = append(s.p.pairStack, otlp.KeyValue{Key: s.p.intern(key), Value: e})
		s.space()
	}
	*v = otlp.Value{Kind: otlp.KindMap}
	v.Map, s.p.pairStack = settle(&s.p.pairArena, s.p.pairStack, from)
	return true
}

func (s *scan) array(depth int, v *otlp.Value) bool {
	from := len(s.p.valueStack)
	var e otlp.Value // likewise
	s.space()
	for i := 0; !s.take(']'); i++ {
		if i > 0 && !s.comma() {
			return false
		}
		e = otlp.Value{}
		if !s.value(depth+1, &e) {
			return false
		}
		s.p.valueStack = append(s.p.valueStack, e)
		s.space()
	}
	*v = otlp.Value{Kind: otlp.KindArray}
	v.Array, s.p.valueStack = settle(&s.p.valueArena, s.p.valueStack, from)
	return true
}

// settle moves what stands on the stack from a place on to the arena.
func settle[T any](arena *[]T, stack []T, from int) (settled, left []T) {
	if len(stack) == from {
		return nil, stack
	}
	at := len(*arena)
	*arena = append(*arena, stack[from:]...)
	return (*arena)[at:len(*arena):len(*arena)], stack[:from]
}

// value reads one value into v, which is empty.
func (s *scan) value(depth int, v *otlp.Value) bool {
	if depth > 1 {
		if s.values++; s.values > maxValues {
			return false
		}
	}
	s.space()
	if s.i >= len(s.b) {
		return false
	}
	switch s.b[s.i] {
	case '"':
		s.i++
		var ok bool
		v.Kind = otlp.KindString
		v.Bytes, ok = s.str()
		return ok
	case '{', '[':
		return s.nested(depth, v)
	case 't':
		v.Kind, v.Num = otlp.KindBool, 1
		return s.word("true")
	case 'f':
		v.Kind = otlp.KindBool
		return s.word("false")
	case 'n':
		return s.word("null")
	}
	return s.number(v)
}

// nested reads an object or array. One that is too deep, or makes too many values, stays text.
func (s *scan) nested(depth int, v *otlp.Value) bool {
	start := s.i
	if depth <= maxDepth && s.values < maxValues {
		pairs, values := len(s.p.pairStack), len(s.p.valueStack)
		s.i++
		ok := false
		if s.b[start] == '{' { // no method value: it would have every member allocated
			ok = s.object(depth, v)
		} else {
			ok = s.array(depth, v)
		}
		if ok || s.values <= maxValues {
			return ok
		}
		s.i, s.p.pairStack, s.p.valueStack = start, s.p.pairStack[:pairs], s.p.valueStack[:values]
	}
	ok := s.skip()
	*v = otlp.Text(s.b[start:s.i])
	return ok
}

// skip passes over an object or array without building it. Strings are the only
// place where a bracket means nothing; the depth is a number, not a stack.
func (s *scan) skip() bool {
	depth := 0
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch c {
		case '"':
			if _, ok := s.str(); !ok {
				return false
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return true
			}
		}
	}
	return false
}

// number reads a number. What a float64 or int64 does not hold to the last digit stays text.
func (s *scan) number(v *otlp.Value) bool {
	start := s.i
	if s.take('-') && s.word("Infinity") || s.word("NaN") || s.word("Infinity") {
		return s.text(start, v)
	}
	first, n := s.i, uint64(0)
	for s.i < len(s.b) && digitByte(s.b[s.i]) {
		n = n*10 + uint64(s.b[s.i]-'0')
		s.i++
	}
	whole := s.i - first
	if whole == 0 {
		return false
	}
	exact := s.b[first] != '0' || whole == 1 // else it is an id
	if s.i < len(s.b) && (s.b[s.i] == '.' || s.b[s.i]|0x20 == 'e') {
		return s.float(start, first, exact, v)
	}
	if !exact || whole > 18 {
		return s.text(start, v)
	}
	if v.Kind, v.Num = otlp.KindInt, n; first > start {
		v.Num = -n
	}
	return true
}

// maxDigits is how many decimal digits a float64 may have written for it.
const maxDigits = 17

// float reads the rest of a number with a point or an exponent.
func (s *scan) float(start, first int, exact bool, v *otlp.Value) bool {
	digits := s.i - first
	for s.i < len(s.b) {
		c := s.b[s.i]
		if digitByte(c) {
			digits++
		} else if c != '.' && c|0x20 != 'e' && c != '+' && c != '-' {
			break
		}
		s.i++
	}
	if exact && digits <= maxDigits+1 { // one for the zero before a point
		if f, err := strconv.ParseFloat(string(s.b[start:s.i]), 64); err == nil {
			v.Kind, v.Num = otlp.KindDouble, math.Float64bits(f)
			return true
		}
	}
	return s.text(start, v)
}

func (s *scan) text(start int, v *otlp.Value) bool {
	v.Kind, v.Bytes = otlp.KindString, s.b[start:s.i]
	return true
}

// str reads a string whose opening quote was taken.
func (s *scan) str() ([]byte, bool) {
	rest := s.b[s.i:]
	end := bytes.IndexByte(rest, '"')
	if end < 0 {
		return nil, false
	}
	if at := bytes.IndexByte(rest[:end], '\\'); at >= 0 {
		start := s.i
		s.i += at
		return s.escaped(start)
	}
	s.i += end + 1
	return rest[:end], true
}

// escaped reads the rest of a string that has a backslash at s.i.
func (s *scan) escaped(start int) ([]byte, bool) {
	from := len(s.p.arena)
	s.p.arena = append(s.p.arena, s.b[start:s.i]...)
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch c {
		case '"':
			return s.p.arena[from:len(s.p.arena):len(s.p.arena)], true
		case '\\':
			if !s.escape() {
				return nil, false
			}
		default:
			s.p.arena = append(s.p.arena, c)
		}
	}
	return nil, false
}

func (s *scan) escape() bool {
	if s.i >= len(s.b) {
		return false
	}
	c := s.b[s.i]
	s.i++
	if c == 'u' {
		r, ok := s.hex4()
		if !ok {
			return false
		}
		if utf16.IsSurrogate(r) && s.i+6 <= len(s.b) && s.b[s.i] == '\\' && s.b[s.i+1] == 'u' {
			back := s.i
			s.i += 2
			low, ok := s.hex4()
			if !ok {
				return false
			}
			if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
				r = both
			} else {
				s.i = back
			}
		}
		s.p.arena = utf8.AppendRune(s.p.arena, r)
		return true
	}
	const from, to = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	at := bytes.IndexByte([]byte(from), c)
	if at < 0 {
		return false
	}
	s.p.arena = append(s.p.arena, to[at])
	return true
}

func (s *scan) hex4() (rune, bool) {
	if s.i+4 > len(s.b) {
		return 0, false
	}
	r, ok := hexRune(s.b[s.i : s.i+4])
	s.i += 4
	return r, ok
}

func hexRune(digits []byte) (r rune, ok bool) {
	for _, c := range digits {
		switch {
		case digitByte(c):
			r = r<<4 | rune(c-'0')
		case hexDigit(c):
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

func (s *scan) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\t' || s.b[s.i] == '\n' || s.b[s.i] == '\r') {
		s.i++
	}
}

func (s *scan) take(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scan) word(w string) bool {
	if !bytes.HasPrefix(s.b[s.i:], []byte(w)) {
		return false
	}
	s.i += len(w)
	return true
}
