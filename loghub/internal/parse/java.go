// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// java reads what log4j, logback and what is built on them print (see layouts), and java.util.logging, whose level stands in a
// second line:
//
//	Nov 21, 2026 7:55:42 AM org.example.App start
//	INFO: message
func (p *Parser) java(line []byte, rec *otlp.Record) bool {
	if len(line) > 3 && line[3] == ' ' {
		return p.javaUtil(line, rec)
	}
	return javaConsole(p, line, rec)
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
	n := name(where)
	if !ok || n == 0 {
		return false
	}
	rec.Time = uint64(p.local(secs) * 1e9)
	rec.Body = otlp.Text(line)
	p.put(rec, "logger", otlp.Text(where[:n]))
	if n+1 < len(where) {
		p.put(rec, "code.function.name", otlp.Text(where[n+1:]))
	}
	if word, _, ok := cutByte(p.below[:min(len(p.below), 16)], ':'); ok {
		if rec.Severity = severity(word); rec.Severity != 0 {
			rec.SeverityText = p.intern(word)
		}
	}
	return true
}
