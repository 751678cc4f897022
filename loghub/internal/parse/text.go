// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// text is the format of last resort: the line is the body.
func (p *Parser) text(line []byte, rec *otlp.Record) bool {
	rec.Body = otlp.Text(line)
	at := line
	if len(at) > 0 && at[0] == '[' {
		at = at[1:]
	}
	if p.memo.asked && p.memo.size > 0 && p.memo.at == len(line)-len(at) {
		if end := p.memo.end(); end == len(line) || !letter(line[end]) && !digitByte(line[end]) {
			rec.Time = p.memo.nanos
		}
	} else {
		rec.Time = p.leadingTime(at)
	}
	word, n := findLevel(line)
	if n == 0 {
		return true
	}
	rec.Severity, rec.SeverityText = n, p.intern(word)
	if rec.Time == 0 && bytes.HasPrefix(at, word) { // ERROR 2026-11-21 07:55:42
		rec.Time = p.leadingTime(bytes.TrimLeft(at[len(word):], " :[]|-"))
	}
	return true
}

// leadingTime reads the time that a line begins with. A number is one if it has a fraction: others count something.
func (p *Parser) leadingTime(b []byte) uint64 {
	t, n := p.anyTime(b)
	if n == 0 || n < len(b) && (letter(b[n]) || digitByte(b[n])) {
		return 0
	}
	if n >= 10 && digitByte(b[0]) && digitByte(b[4]) && digitByte(b[8]) { // neither 2026-11-21 nor 20261121T
		if len(b) < 12 || n < 14 || b[10] != '.' {
			return 0
		}
	}
	return t
}
