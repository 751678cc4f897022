// SPDX-License-Identifier: AGPL-3.0-or-later

package limit

import "bytes"

// What a shape is made of.
const (
	maxShape = 1024 // first bytes of a line
	maxQuote = 256  // bytes between quotes
)

// FNV-1a of 64 bits (RFC 9923).
const (
	offset = 14695981039346656037
	prime  = 1099511628211
)

// Shape is the same for lines that differ in numbers, hexadecimal words and quoted values only. quotes: these are kept.
func Shape(text []byte, severity uint8, quotes bool) uint64 {
	s := shaper{hash: (offset ^ uint64(severity)) * prime}
	text = text[:min(len(text), maxShape)]
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case isWord(c):
			end := i + 1
			for end < len(text) && isWord(text[end]) {
				end++
			}
			s.word(text[i:end])
			i = end
			continue
		case (c == '"' || c == '\'' || c == '`') && !quotes && (i == 0 || !isWord(text[i-1])):
			if n := bytes.IndexByte(text[i+1:min(len(text), i+1+maxQuote)], c); n >= 0 {
				s.value()
				i += n + 2
				continue
			}
		}
		s.add(c)
		i++
	}
	return s.hash
}

// shaper adds up a hash. Values that only . : or - parts, as in addresses and times, are one.
type shaper struct {
	hash  uint64
	after bool // the last was a value, perhaps with such a byte behind it
}

func (s *shaper) add(c byte) {
	if s.after && (c == '.' || c == ':' || c == '-') {
		return
	}
	s.after = false
	s.hash = (s.hash ^ uint64(c)) * prime
}

func (s *shaper) value() {
	if !s.after {
		s.hash = (s.hash ^ 0xff) * prime
		s.after = true
	}
}

// word adds a word without its digits; one of hexadecimal digits is a value.
func (s *shaper) word(w []byte) {
	digits, hex := false, true
	for _, c := range w {
		if c >= '0' && c <= '9' {
			digits = true
		} else if c |= 0x20; c < 'a' || c > 'f' {
			hex = false
		}
	}
	if digits && hex {
		s.value()
		return
	}
	s.after = false
	for _, c := range w {
		if c < '0' || c > '9' {
			s.hash = (s.hash ^ uint64(c)) * prime
		}
	}
	if digits {
		s.hash = (s.hash ^ 0xfe) * prime
	}
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}
