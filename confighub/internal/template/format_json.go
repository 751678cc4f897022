// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"errors"
	"strings"
)

// jsonFormat knows two places (RFC 8259): inside a string, and where a whole value stands.
type jsonFormat struct {
	inString bool
	escape   backslash
	comment  byte
	last     byte
}

func (f *jsonFormat) literal(text string) error {
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case f.comment == '/':
			if c == '\n' {
				f.comment = 0
			}
		case f.comment == '*':
			if c == '/' && f.last == '*' {
				f.comment = 0
			}
		case f.inString && f.escape.step(c):
		case c == '"':
			f.inString = !f.inString
		case !f.inString && f.last == '/' && (c == '/' || c == '*'):
			f.comment = c
		}
		f.last = c
	}
	return nil
}

func (f *jsonFormat) value(v value, at spot) (string, error) {
	if f.comment != 0 {
		return commentValue(v)
	}
	if f.inString {
		if f.escape.open() {
			return "", errEscaped
		}
		word, err := v.word()
		f.last = 'x'
		return quoted(word, unusual), err
	}
	if f.last != 0 && !strings.ContainsRune(" \t\r\n:,[{", rune(f.last)) || at.before == touching ||
		at.after != 0 && !strings.ContainsRune(" \t\r\n:,]}/", rune(at.after)) {
		return "", errors.New(`stands in the middle of a word: put quotes around the whole ("a-{{x}}")`)
	}
	f.last = 'x'
	isKey := strings.HasPrefix(strings.TrimLeft(at.rest, " \t\r\n"), ":")
	switch v.kind {
	case typeString:
		return `"` + quoted(v.text, unusual) + `"`, nil
	case typeNull:
		if isKey {
			return `""`, nil
		}
		return "null", nil
	}
	if isKey {
		word, err := v.word()
		return `"` + quoted(word, unusual) + `"`, err
	}
	return escapeRunes(v.text, unusual), nil
}

// unusual runes are legal in strings of JSON, and harmless as escapes.
func unusual(r rune) bool { return r >= 0x7f && control(r) }

// commentValue lets a value stand in a comment while it cannot end it.
func commentValue(v value) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	if r, bad := firstRune(word, func(r rune) bool { return control(r) || r == '*' || r == '/' }); bad {
		return "", cannot(r, "a comment")
	}
	return word, nil
}
