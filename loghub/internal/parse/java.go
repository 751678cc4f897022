// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// java reads what log4j, logback and what is built on them print (see layouts), and java.util.logging, whose level and message
// stand in a second line:
//
//	Nov 21, 2026 7:55:42 AM org.example.App start
//	INFO: message
//
// The date may be one of ISO 8601 too; then the second line has to be there.
func (p *Parser) java(line []byte, rec *otlp.Record) bool {
	switch {
	case len(line) > 3 && line[3] == ' ':
		return p.javaUtil(line, rec)
	case len(p.below) > 0 && begin(line) == isoDate && julLevel(p.below) != nil:
		return p.javaISO(line, rec)
	}
	return javaConsole(p, line, rec)
}

// julLevel is the level that the second line of java.util.logging begins with, nil for none.
func julLevel(below []byte) []byte {
	word, rest, ok := cutByte(below[:min(len(below), len("WARNING: "))], ':')
	if !ok || len(rest) > 0 && rest[0] != ' ' && rest[0] != '\n' || len(word) < 4 || word[0] >= 'a' || severity(word) == 0 {
		return nil
	}
	return word
}

var javaConsole = console("java")

func (p *Parser) javaUtil(line []byte, rec *otlp.Record) bool {
	r := reader{line, true}
	m := r.month()
	r.byte(' ')
	d := r.number()
	r.byte(',')
	r.byte(' ')
	y := r.digits(4)
	r.byte(' ')
	h := r.number()
	r.byte(':')
	secs := r.digits(2) * 60
	r.byte(':')
	secs += r.digits(2)
	// From Java 20 on a narrow no-break space stands before AM.
	half := bytes.TrimPrefix(bytes.TrimPrefix(r.b, []byte(" ")), []byte("\u202f"))
	if !r.ok || h < 1 || h > 12 || len(half) < 4 || half[0] != 'A' && half[0] != 'P' || half[1] != 'M' || half[2] != ' ' {
		return false
	}
	h %= 12
	if half[0] == 'P' {
		h += 12
	}
	secs, ok := unix(y, m, d, h*3600+secs)
	where := half[3:]
	if !ok || !julWhere(where) {
		return false
	}
	rec.Time = uint64(p.local(secs) * 1e9)
	p.julRest(line, where, rec)
	return true
}

// javaISO reads "2026-11-21 07:55:42 org.example.App start".
func (p *Parser) javaISO(line []byte, rec *otlp.Record) bool {
	n := p.stamp(line, line, rec)
	if n == 0 || n+1 >= len(line) || line[n] != ' ' || line[4] != '-' {
		return false
	}
	where := line[n+1:]
	if !julWhere(where) {
		return false
	}
	p.julRest(line, where, rec)
	return true
}

// julWhere says whether b is a class, or a class and a function.
func julWhere(b []byte) bool {
	n := name(b)
	if n == 0 || n == len(b) {
		return n > 0
	}
	return b[n] == ' ' && n+1 < len(b) && name(b[n+1:]) == len(b)-n-1
}

// julRest reads class and function, and the lines below.
func (p *Parser) julRest(line, where []byte, rec *otlp.Record) {
	n := name(where)
	rec.Body = otlp.Text(line)
	p.put(rec, "logger", otlp.Text(where[:n]))
	if n+1 < len(where) {
		p.put(rec, "code.function.name", otlp.Text(where[n+1:]))
	}
	if word := julLevel(p.below); word != nil {
		rec.Severity, rec.SeverityText = severity(word), p.intern(word)
		rec.Body = otlp.Text(bytes.TrimPrefix(p.below[len(word)+1:], []byte(" ")))
		p.findTrace(rec.Body.Bytes, rec)
		p.below = nil
	}
}
