// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"
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
	return s.object(0, each)
}

func (s *scan) object(depth int, each func(key []byte, v otlp.Value)) bool {
	if s.space(); s.take('}') {
		return true
	}
	for {
		s.space()
		if !s.take('"') {
			return false
		}
		key, ok := s.str()
		if !ok {
			return false
		}
		if s.space(); !s.take(':') {
			return false
		}
		v, ok := s.value(depth + 1)
		if !ok {
			return false
		}
		each(key, v)
		s.space()
		if s.take(',') {
			continue
		}
		return s.take('}')
	}
}

func (s *scan) array(depth int) (otlp.Value, bool) {
	v := otlp.Value{Kind: otlp.KindArray}
	if s.space(); s.take(']') {
		return v, true
	}
	for {
		e, ok := s.value(depth + 1)
		if !ok {
			return v, false
		}
		v.Array = append(v.Array, e)
		s.space()
		if s.take(',') {
			continue
		}
		return v, s.take(']')
	}
}

func (s *scan) value(depth int) (otlp.Value, bool) {
	if depth > 1 {
		if s.values++; s.values > maxValues {
			return otlp.Value{}, false
		}
	}
	s.space()
	if s.i >= len(s.b) {
		return otlp.Value{}, false
	}
	switch c := s.b[s.i]; {
	case c == '"':
		s.i++
		b, ok := s.str()
		return otlp.Text(b), ok
	case c == '{' || c == '[':
		return s.nested(depth)
	case c == 't':
		return otlp.Bool(true), s.word("true")
	case c == 'f':
		return otlp.Bool(false), s.word("false")
	case c == 'n':
		return otlp.Value{}, s.word("null")
	}
	return s.number()
}

// nested reads an object or array. One that is too deep, or makes too many values, stays text.
func (s *scan) nested(depth int) (otlp.Value, bool) {
	start := s.i
	if depth <= maxDepth && s.values < maxValues {
		v, ok := s.build(depth)
		if ok || s.values <= maxValues {
			return v, ok
		}
		s.i = start
	}
	ok := s.skip()
	return otlp.Text(s.b[start:s.i]), ok
}

func (s *scan) build(depth int) (otlp.Value, bool) {
	s.i++
	if s.b[s.i-1] == '[' {
		return s.array(depth)
	}
	v := otlp.Value{Kind: otlp.KindMap}
	ok := s.object(depth, func(key []byte, e otlp.Value) {
		v.Map = append(v.Map, otlp.KeyValue{Key: s.p.intern(key), Value: e})
	})
	return v, ok
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

func (s *scan) number() (otlp.Value, bool) {
	start, whole := s.i, true
	for s.i < len(s.b) {
		c := s.b[s.i]
		if c == '.' || c == 'e' || c == 'E' || c == '+' {
			whole = false
		} else if c != '-' && (c < '0' || c > '9') {
			break
		}
		s.i++
	}
	text := s.b[start:s.i]
	digits := bytes.TrimPrefix(text, []byte("-"))
	if len(digits) == 0 || digits[0] < '0' || digits[0] > '9' {
		return otlp.Value{}, false
	}
	if whole && len(text) <= 19 {
		if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			return otlp.Int(n), true
		}
	}
	if whole {
		return otlp.Text(text), true // more than an int64 holds: no digit is lost
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return otlp.Value{}, false
	}
	return otlp.Double(f), true
}

// str reads a string whose opening quote was taken.
func (s *scan) str() ([]byte, bool) {
	start := s.i
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[start : s.i-1], true
		case c == '\\':
			return s.escaped(start)
		}
		s.i++
	}
	return nil, false
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
	var r rune
	for _, c := range s.b[s.i : s.i+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	s.i += 4
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
