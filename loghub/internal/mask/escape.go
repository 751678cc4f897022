// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Which characters an encoder escapes, and how, differs from one to the next: \/ and / , \u003c, \u003C and <, %2f and
// %2F, %7E and ~. So the escaped forms of a value are not listed; a line with escapes in it is looked through once more
// as it reads without them, and what is found there is hidden where it came from.

// maxDepth is how many layers of escapes are taken off: JSON within JSON, a URL in JSON, a URL in a URL.
const maxDepth = 2

// decoder takes off one kind of escape.
type decoder struct {
	trigger byte
	// step reads the escape that s begins with: n bytes of s mean out[:m]. n = 0: it is none.
	step func(s []byte) (n int, out [utf8.UTFMax]byte, m int)
}

// decoders are those of JSON, and of what else has backslashes, and of URLs.
var decoders = [2]decoder{{'\\', backslash}, {'%', percent}}

// unescaped adds to s.spans what is found in line under up to maxDepth layers of escapes.
func (m *Matcher) unescaped(line []byte, s *Scratch) {
	for i := range decoders {
		outer := &decoders[i]
		text, ok := outer.decode(line, &s.decoded[0])
		if !ok {
			continue
		}
		found := m.find(text, s.nested[0][:0])
		for j := range decoders {
			inner := &decoders[j]
			if deep, ok := inner.decode(text, &s.decoded[1]); ok {
				s.nested[1] = m.find(deep, s.nested[1][:0])
				inner.translate(text, s.nested[1])
				found = append(found, s.nested[1]...)
			}
		}
		if s.nested[0] = found; len(found) > 0 {
			found = merged(found)
			outer.translate(line, found)
			s.spans = append(s.spans, found...)
		}
	}
	for i := range s.decoded {
		if cap(s.decoded[i]) > keepScratch {
			s.decoded[i] = nil
		}
	}
}

// decode is src without escapes, in dst; false: there are none.
func (d *decoder) decode(src []byte, dst *[]byte) ([]byte, bool) {
	at := bytes.IndexByte(src, d.trigger)
	if at < 0 {
		return nil, false
	}
	out, copied, any := (*dst)[:0], 0, false
	for {
		n, escaped, m := d.step(src[at:])
		if n > 0 {
			any = true
			out = append(append(out, src[copied:at]...), escaped[:m]...)
			copied = at + n
		}
		at += max(n, 1)
		next := bytes.IndexByte(src[at:], d.trigger)
		if next < 0 {
			break
		}
		at += next
	}
	if !any {
		return nil, false
	}
	*dst = append(out, src[copied:]...)
	return *dst, true
}

// translate turns the places of spans, which are in order and do not overlap, from those in the decoded text to those
// in src. An escape of which a part is meant is meant as a whole.
func (d *decoder) translate(src []byte, spans []span) {
	w := walk{d: d, src: src}
	for i := range spans {
		spans[i].from = w.back(spans[i].from, false)
		spans[i].to = w.back(spans[i].to, true)
	}
}

// walk goes once along a text and what it decodes to.
type walk struct {
	d            *decoder
	src          []byte
	raw, decoded int // places that belong together
}

// back is the place in src for one in the decoded text, that must not lie before an earlier one. end: the place is the
// end of something.
func (w *walk) back(target int, end bool) int {
	for {
		plain := bytes.IndexByte(w.src[w.raw:], w.d.trigger)
		if plain < 0 || target <= w.decoded+plain {
			return w.raw + target - w.decoded
		}
		n, _, m := w.d.step(w.src[w.raw+plain:])
		if n == 0 {
			n, m = 1, 1
		}
		if target < w.decoded+plain+m {
			if end {
				return w.raw + plain + n
			}
			return w.raw + plain
		}
		w.raw += plain + n
		w.decoded += plain + m
	}
}

// percent reads %XX (RFC 3986, section 2.1).
func percent(s []byte) (n int, out [utf8.UTFMax]byte, m int) {
	if len(s) < 3 {
		return 0, out, 0
	}
	v, ok := hexNumber(s[1:3])
	if !ok {
		return 0, out, 0
	}
	out[0] = byte(v)
	return 3, out, 1
}

// backslash reads what JSON (RFC 8259, section 7), C, shells and most languages write with a backslash: \n, \", \/,
// \xHH, \NNN, \uHHHH, \UHHHHHHHH and \u{H…}.
func backslash(s []byte) (n int, out [utf8.UTFMax]byte, m int) {
	if len(s) < 2 {
		return 0, out, 0
	}
	c := s[1]
	switch {
	case c == 'u' || c == 'U':
		return unicodeEscape(s)
	case c == 'x':
		if len(s) >= 4 {
			if v, ok := hexNumber(s[2:4]); ok {
				out[0] = byte(v)
				return 4, out, 1
			}
		}
		return 0, out, 0
	case c >= '0' && c <= '3' && len(s) >= 4 && s[2]&^7 == '0' && s[3]&^7 == '0':
		out[0] = c<<6 | s[2]&7<<3 | s[3]&7
		return 4, out, 1
	}
	if i := strings.IndexByte("ntrbfvae", c); i >= 0 {
		out[0] = "\n\t\r\b\f\v\a\x1b"[i]
		return 2, out, 1
	}
	if c < ' ' || c >= 0x7f || !isPunctuation(c) {
		return 0, out, 0
	}
	out[0] = c
	return 2, out, 1
}

func isPunctuation(c byte) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
}

func unicodeEscape(s []byte) (n int, out [utf8.UTFMax]byte, m int) {
	digits, n := 4, 2
	switch {
	case s[1] == 'U':
		digits = 8
	case len(s) > 2 && s[2] == '{':
		if digits = bytes.IndexByte(s[:min(len(s), 10)], '}') - 3; digits < 1 {
			return 0, out, 0
		}
		n = 3
	}
	if len(s) < n+digits {
		return 0, out, 0
	}
	v, ok := hexNumber(s[n : n+digits])
	if !ok {
		return 0, out, 0
	}
	r := rune(min(v, utf8.MaxRune+1))
	if n += digits; s[2] == '{' {
		n++
	}
	if utf16.IsSurrogate(r) && len(s) >= n+6 && s[n] == '\\' && s[n+1] == 'u' {
		if low, ok := hexNumber(s[n+2 : n+6]); ok {
			if both := utf16.DecodeRune(r, rune(low)); both != utf8.RuneError {
				r, n = both, n+6
			}
		}
	}
	return n, out, utf8.EncodeRune(out[:], r)
}

func hexNumber(s []byte) (v uint32, ok bool) {
	for _, c := range s {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint32(c)
	}
	return v, true
}
