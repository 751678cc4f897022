// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"unicode/utf8"

	"cloud4.internal/hub/internal/otlp"
)

// minPairs is how many pairs make a line logfmt: one may stand in any sentence.
const minPairs = 2

// logfmt reads key=value pairs, for which there is no standard; this is what logrus, slog, go-kit and Heroku write:
//
//	time=2026-11-21T07:55:42.123+01:00 level=INFO msg="GET \"/\"" "a key"=1 empty= n=12
//
// A whole number is one, any other value is text. A key alone is true, but only where the settings fix the format; of unknown
// format a line is logfmt if it is nothing but pairs, two at least, and those before a time or level neither have a key of other
// than letters nor a bare value that ends like a part of a sentence.
func (p *Parser) logfmt(line []byte, rec *otlp.Record) bool {
	strict := p.fixed == nil
	p.m = members{small: -1}
	pairs := 0
	for b, i := skipBlanks(line), 0; len(b) > 0; b, i = skipBlanks(b), i+1 {
		doubt := strict && rec.Time == 0 && rec.Severity == 0
		text, rest, ok := p.logfmtKey(b, doubt)
		if !ok || strict && (len(rest) == 0 || rest[0] != '=') {
			return false
		}
		k := p.key(text, i)
		p.value = otlp.Bool(true)
		if len(rest) > 0 && rest[0] == '=' {
			pairs++
			if p.value, rest, ok = p.logfmtValue(rest[1:], k, doubt); !ok {
				return false
			}
		}
		if len(rest) > 0 && rest[0] != ' ' && rest[0] != '\t' {
			return false
		}
		p.member(rec, k, &p.value)
		b = rest
	}
	if pairs == 0 || strict && pairs < minPairs {
		return false
	}
	p.complete(rec, line)
	return true
}

func skipBlanks(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// logfmtKey reads a key, in quotes as slog writes those with blanks.
func (p *Parser) logfmtKey(b []byte, doubt bool) (text, rest []byte, ok bool) {
	if b[0] == '"' {
		return p.quotedText(b[1:])
	}
	n := 0
	for n < len(b) && b[n] > ' ' && b[n] != '=' && b[n] != '"' && (!doubt || keyByte(b[n])) {
		n++
	}
	if doubt && n > 0 && digitByte(b[0]) {
		return nil, nil, false
	}
	return b[:n], b[n:], n > 0
}

func keyByte(c byte) bool {
	switch c {
	case '_', '-', '.', '/', '@', '$':
		return true
	}
	return letter(c) || digitByte(c) || c >= utf8.RuneSelf
}

func (p *Parser) logfmtValue(b []byte, k *key, doubt bool) (v otlp.Value, rest []byte, ok bool) {
	if len(b) > 0 && b[0] == '"' {
		text, rest, ok := p.quotedText(b[1:])
		return otlp.Text(text), rest, ok
	}
	n := 0
	for n < len(b) && b[n] != ' ' && b[n] != '\t' {
		n++
	}
	if doubt && n > 0 {
		switch b[n-1] {
		case ',', ';', ')', '"':
			return v, nil, false
		}
	}
	if whole, ok := wholeNumber(b[:n]); ok && k.role == roleNone {
		return otlp.Int(whole), b[n:], true
	}
	return otlp.Text(b[:n]), b[n:], true
}

// wholeNumber reads a number that is written in the one way a number is: 12, -3, but not 012.
func wholeNumber(b []byte) (int64, bool) {
	digits := b
	if len(b) > 1 && b[0] == '-' {
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && len(b) > 1 {
		return 0, false
	}
	r := reader{digits, true}
	n := r.digits(len(digits))
	if len(digits) < len(b) {
		n = -n
	}
	return n, r.ok
}

// quotedText reads a string behind its opening quote, escaped as strconv.Quote does it, or JSON. What is no escape of theirs
// stays as it is.
func (p *Parser) quotedText(b []byte) (text, rest []byte, ok bool) {
	escaped := false
	end := 0
	for ; ; end++ {
		if end >= len(b) {
			return nil, nil, false
		}
		if b[end] == '"' {
			break
		}
		if b[end] == '\\' {
			escaped = true
			end++
		}
	}
	if text, rest = b[:end], b[end+1:]; !escaped {
		return text, rest, true
	}
	from := len(p.arena)
	for s := (scan{p: p, b: text}); s.i < len(text); s.i++ {
		if text[s.i] != '\\' || !s.goEscape() {
			p.arena = append(p.arena, text[s.i])
		}
	}
	return p.arena[from:len(p.arena):len(p.arena)], rest, true
}

// goEscape reads an escape at s.i and leaves s.i at its last byte.
func (s *scan) goEscape() bool {
	at := s.i
	size := 0
	switch s.b[at+1] {
	case 'x':
		size = 2
	case 'U':
		size = 8
	case 'a':
		return s.letter('\a')
	case 'v':
		return s.letter('\v')
	case '\'':
		return s.letter('\'')
	default:
		s.i++
		if s.escape() {
			s.i--
			return true
		}
		s.i = at
		return false
	}
	if at+2+size > len(s.b) {
		return false
	}
	r, ok := hexRune(s.b[at+2 : at+2+size])
	if !ok {
		return false
	}
	if size == 2 && r >= utf8.RuneSelf {
		s.p.arena = append(s.p.arena, byte(r)) // one byte of what was no UTF-8
	} else {
		s.p.arena = utf8.AppendRune(s.p.arena, r)
	}
	s.i = at + 1 + size
	return true
}

func (s *scan) letter(c byte) bool {
	s.p.arena = append(s.p.arena, c)
	s.i++
	return true
}
