// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// pairs takes key=value off the end of a message, as zerolog, slog, logrus, hclog and tracing write them behind it.
func (p *Parser) pairs(b []byte, rec *otlp.Record) {
	from := trailingPairs(b)
	rec.Body = otlp.Text(bytes.TrimRight(b[:from], " "))
	p.addPairs(b[from:], rec)
}

// addPairs makes attributes of what is nothing but pairs.
func (p *Parser) addPairs(b []byte, rec *otlp.Record) {
	for len(b) > 0 {
		n := pairSize(b)
		if n == 0 {
			return
		}
		key, value, _ := cutByte(b[:n], '=')
		p.pair(rec, key, p.pairValue(value))
		b = b[n:]
		b = b[blanks(b):]
	}
}

// trailingPairs is where the pairs begin that reach to the end of b, len(b) if there are none.
func trailingPairs(b []byte) int {
	first := bytes.IndexByte(b, '=')
	if first < 0 {
		return len(b)
	}
	start := len(b)
	i := bytes.LastIndexByte(b[:first], ' ') + 1 // words before it are no pairs
	for i += blanks(b[i:]); i < len(b); i += blanks(b[i:]) {
		if n := pairSize(b[i:]); n > 0 {
			start = min(start, i)
			i += n
			continue
		}
		start = len(b)
		if n := bytes.IndexByte(b[i:], ' '); n >= 0 {
			i += n
		} else {
			i = len(b)
		}
	}
	return start
}

// pairSize is the size of the key=value or key="a value" that b begins with and a blank or the end follows, 0 for none.
func pairSize(b []byte) int {
	n := 0
	for n < len(b) && n < maxUntil && keyByte(b[n]) && (n > 0 || letter(b[0]) || b[0] == '_' || b[0] == '@') {
		n++
	}
	if n == 0 || n == len(b) || b[n] != '=' {
		return 0
	}
	if n++; n < len(b) && b[n] == '"' {
		_, rest, ok := quoted(b[n+1:])
		if !ok || len(rest) > 0 && rest[0] != ' ' {
			return 0
		}
		return len(b) - len(rest)
	}
	if end := bytes.IndexByte(b[n:], ' '); end >= 0 {
		return n + end
	}
	return len(b)
}

// pairValue reads the value of a pair as logfmt does: a whole number, a quoted text, or the text as it is.
func (p *Parser) pairValue(b []byte) otlp.Value {
	if len(b) > 0 && b[0] == '"' {
		if text, _, ok := p.quotedText(b[1:]); ok {
			return otlp.Text(text)
		}
	}
	if whole, ok := wholeNumber(b); ok {
		return otlp.Int(whole)
	}
	return otlp.Text(b)
}

// maxTries is how many places of a line are tried for the beginning of its JSON.
const maxTries = 8

// objects takes JSON off the end of a message: `it is {"a":1} []`. The objects' members become attributes; what else there is
// in lists stays with the message.
func (p *Parser) objects(b []byte, rec *otlp.Record) {
	b = bytes.TrimRight(b, " ")
	rec.Body = otlp.Text(b)
	if len(b) == 0 || b[len(b)-1] != '}' && b[len(b)-1] != ']' {
		return
	}
	at := 0
	for range maxTries {
		for at < len(b) && b[at] != '{' && b[at] != '[' {
			at++
		}
		if at == len(b) {
			return
		}
		if before := len(rec.Attributes); at == 0 || b[at-1] == ' ' || b[at-1] == '\t' {
			if p.onlyObjects(b[at:], rec) {
				rec.Body = otlp.Text(bytes.TrimRight(b[:at], " \t"))
				return
			}
			rec.Attributes = rec.Attributes[:before]
		}
		at++
	}
}

// onlyObjects reads b if it is nothing but objects and empty lists. false may leave some attributes.
func (p *Parser) onlyObjects(b []byte, rec *otlp.Record) bool {
	s := scan{p: p, b: b}
	for s.i < len(b) {
		switch b[s.i] {
		case '[':
			if s.i++; !s.take(']') {
				return false
			}
		case '{':
			s.i++
			if !s.members(func(key []byte, v otlp.Value) { p.pair(rec, key, v) }) {
				return false
			}
		default:
			return false
		}
		s.space()
	}
	return true
}
