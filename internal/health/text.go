// SPDX-License-Identifier: AGPL-3.0-or-later

package health

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// CleanText makes what a check or a stranger wrote fit to be shown: one line of valid UTF-8, at most MaxTextBytes,
// without escape sequences of terminals, control and direction characters. What was cut ends in an ellipsis. It is text and
// nothing else: who shows it makes no link of what looks like one.
func CleanText(s string) string {
	const ellipsis = "…"
	if len(s) > 2*MaxTextBytes { // enough to find MaxTextBytes in, unless most of it is dropped
		s = s[:2*MaxTextBytes]
	}
	var b strings.Builder
	space := true // drops leading space, and a second one
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == escape || r >= 0x80 && r <= 0x9f { // the latter are ESC and a letter in one (ECMA-48 §5.3)
			i += sequence(s[i:])
			continue
		}
		i += size
		switch {
		case unicode.IsSpace(r):
			if space {
				continue
			}
			r, space = ' ', true
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r):
			continue
		default:
			space = false
		}
		if b.Len()+utf8.RuneLen(r) > MaxTextBytes-len(ellipsis) {
			return strings.TrimRight(b.String(), " ") + ellipsis
		}
		b.WriteRune(r)
	}
	return strings.TrimRight(b.String(), " ")
}

const escape = '\x1b'

// sequence is the length of the escape sequence (ECMA-48) that s begins with: of its beginning alone, where what makes it
// whole is missing.
func sequence(s string) int {
	const control, final = 2, "\x07" // ESC and a letter, or the two bytes of what stands for both; BEL ends strings too (xterm)
	if len(s) < control {
		return 1
	}
	letter := s[1]
	if s[0] != escape {
		letter -= 0x40
	}
	switch {
	case letter == '[': // parameters, intermediates and one byte that ends it
		return control + span(s[control:], 0x30, 0x3f, 0x40, 0x7e)
	case strings.IndexByte("]PX^_", letter) >= 0: // a string, up to its end
		for _, end := range []string{final, "\x1b\\", "\u009c"} {
			if text, _, ok := strings.Cut(s[control:], end); ok && !strings.ContainsRune(text, escape) {
				return control + len(text) + len(end)
			}
		}
		return control
	case s[0] != escape:
		return control
	case letter >= 0x20 && letter <= 0x2f:
		return 1 + span(s[1:], 0x20, 0x2f, 0x30, 0x7e)
	case letter >= 0x30 && letter <= 0x7e:
		return control
	}
	return 1
}

// span counts bytes from low to high, then intermediates, and one from first to last if it stands there.
func span(s string, low, high, first, last byte) (n int) {
	for n < len(s) && s[n] >= low && s[n] <= high {
		n++
	}
	for n < len(s) && s[n] >= 0x20 && s[n] <= 0x2f {
		n++
	}
	if n < len(s) && s[n] >= first && s[n] <= last {
		n++
	}
	return n
}
