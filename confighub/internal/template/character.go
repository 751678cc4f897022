// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// cannot is the error of a value that holds what its place cannot carry.
func cannot(r rune, place string) error {
	return fmt.Errorf("holds %s, which %s cannot carry", nameRune(r), place)
}

// errEscaped is the error of a value within an escape of the template.
var errEscaped = errors.New("stands behind a backslash, as a part of that escape")

func nameRune(r rune) string {
	switch {
	case r == '\n' || r == '\r':
		return "a line break"
	case r == '\t':
		return "a tab"
	case r == ' ':
		return "a space"
	case control(r):
		return fmt.Sprintf("the control character U+%04X", r)
	}
	return "the character " + string(r)
}

// control reports whether r is a control character, ends a line for some reader, or is no character.
func control(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufeff' || r&0xfffe == 0xfffe
}

// firstRune returns the first rune of s that bad accepts.
func firstRune(s string, bad func(rune) bool) (rune, bool) {
	i := strings.IndexFunc(s, bad)
	if i < 0 {
		return 0, false
	}
	r, _ := utf8.DecodeRuneInString(s[i:])
	return r, true
}

func alphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// onlyOf accepts letters and digits of any script and the runes of extra.
func onlyOf(extra string) func(rune) bool {
	return func(r rune) bool {
		return alphanumeric(r) || strings.ContainsRune(extra, r) || r > 0x7f && (unicode.IsLetter(r) || unicode.IsDigit(r))
	}
}

// asciiOf accepts ASCII letters and digits and the runes of extra.
func asciiOf(extra string) func(rune) bool {
	return func(r rune) bool { return alphanumeric(r) || strings.ContainsRune(extra, r) }
}

func not(f func(rune) bool) func(rune) bool { return func(r rune) bool { return !f(r) } }

// quoted is the inside of a JSON string, with \u escapes for what more accepts too.
func quoted(word string, more func(rune) bool) string {
	text := jsonText(word)
	return escapeRunes(text[1:len(text)-1], more)
}

// escapeRunes writes runes of the basic plane as \uXXXX, those above as they are.
func escapeRunes(text string, which func(rune) bool) string {
	if _, some := firstRune(text, which); !some {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if which(r) && r < 0x10000 {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// backslash follows the escapes of the template's own text, so that no value becomes a part of one.
type backslash struct {
	left  int
	first bool
}

// step takes the next byte in quotes, and reports whether it belongs to an escape.
func (b *backslash) step(c byte) bool {
	if b.left == 0 {
		if c == '\\' {
			b.left, b.first = 1, true
			return true
		}
		return false
	}
	b.left--
	if b.first {
		b.first = false
		switch c {
		case 'x':
			b.left = 2
		case 'u':
			b.left = 4
		case 'U':
			b.left = 8
		}
	} else if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
		b.left = 0
		return false
	}
	return true
}

func (b *backslash) open() bool { return b.left > 0 }

// blank reports whether c is a space, a tab or a line's end.
func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// brokenJSON reports whether the encoder of jsonText met bytes that are not UTF-8.
func brokenJSON(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' {
			if strings.HasPrefix(text[i:], `\ufffd`) {
				return true
			}
			i++
		}
	}
	return false
}
