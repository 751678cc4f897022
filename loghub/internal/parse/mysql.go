// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// mysql reads the error logs of MariaDB and MySQL, and what the scripts of their images print:
//
//	2026-11-21  7:55:42 0 [Note] message                                                   MariaDB
//	2026-11-21T07:55:42.123456Z 0 [System] [MY-010116] [Server] message                    MySQL 8
//	2026-11-21 07:55:42+01:00 [Note] [Entrypoint]: message
func (p *Parser) mysql(line []byte, rec *otlp.Record) bool {
	b, ok := p.mysqlTime(line, rec)
	if !ok {
		return false
	}
	if r := (reader{b, true}); digitByte(b[0]) {
		id := r.number()
		r.byte(' ')
		if !r.ok || len(r.b) == 0 {
			return false
		}
		p.put(rec, "thread.id", otlp.Int(id))
		b = r.b
	} else if !bytes.Contains(b[:min(len(b), 40)], []byte("] [Entrypoint]: ")) {
		return false
	}
	if b[0] != '[' {
		return false
	}
	word, b, ok := cutByte(b[1:], ']')
	if rec.Severity = mysqlLevel(word); !ok || rec.Severity == 0 {
		return false
	}
	rec.SeverityText = p.intern(word)
	b = bytes.TrimPrefix(b, []byte(" "))
	if code, rest, ok := bracketed(b); ok && bytes.HasPrefix(code, []byte("MY-")) {
		p.put(rec, "mysql.code", otlp.Text(code))
		b = rest
		if subsystem, rest, ok := bracketed(b); ok {
			p.put(rec, "mysql.subsystem", otlp.Text(subsystem))
			b = rest
		}
	}
	rec.Body = otlp.Text(bytes.TrimPrefix(b, []byte("[Entrypoint]: ")))
	return true
}

// mysqlTime reads the time and the blank behind it. MariaDB pads the hour with a blank.
func (p *Parser) mysqlTime(line []byte, rec *otlp.Record) (rest []byte, ok bool) {
	n := 0
	if len(line) > 11 && line[10] == ' ' && line[11] == ' ' {
		r := reader{line, true}
		y := r.digits(4)
		r.byte('-')
		m := r.digits(2)
		r.byte('-')
		d := r.digits(2)
		r.b = r.b[blanks(r.b):]
		h := r.digits(1)
		r.byte(':')
		secs := h*3600 + r.digits(2)*60
		r.byte(':')
		secs += r.digits(2)
		if secs, ok = unix(y, m, d, secs); !ok || !r.ok {
			return nil, false
		}
		rec.Time = uint64(p.local(secs) * 1e9)
		n = len(line) - len(r.b)
	} else if n = p.stamp(line, line, rec); n == 0 {
		return nil, false
	}
	if len(line) < n+3 || line[n] != ' ' || line[n+1] != '[' && !digitByte(line[n+1]) {
		return nil, false
	}
	return line[n+1:], true
}

func mysqlLevel(word []byte) uint8 {
	switch string(word) {
	case "Note", "System":
		return Info
	case "Warning", "Warn":
		return Warn
	case "ERROR", "Error":
		return Error
	}
	return 0
}

// bracketed reads "[text] ".
func bracketed(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '[' {
		return nil, b, false
	}
	text, rest, ok = cutByte(b[1:], ']')
	return text, bytes.TrimPrefix(rest, []byte(" ")), ok
}
