// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// postgres reads PostgreSQL's log on stderr (runtime configuration, "Error Reporting and Logging"), behind these prefixes:
//
//	2026-11-21 07:55:42.123 UTC [27] LOG:  message                             %m [%p], the default
//	2026-11-21 07:55:42 CET [27] ops@shop ERROR:  42P01: message      %t [%p] %q%u@%d, Debian's; log_error_verbosity verbose
//	2026-11-21 07:55:42 UTC [27]: [3-1] user=ops,db=shop,app=x,client=192.0.2.1 LOG:  message
//	LOG:  message                                                              none
//
// Abbreviations of zones are taken for the parser's zone, UTC and GMT for themselves. DETAIL, HINT, CONTEXT, QUERY and
// STATEMENT are Info: they tell more of the line before them, whose severity nothing in them says. Left out: csvlog (its
// records have newlines within; jsonlog is JSON).
func (p *Parser) postgres(line []byte, rec *otlp.Record) bool {
	const reach = 256
	end := bytes.Index(line[:min(len(line), reach)], []byte(":  "))
	if end < 3 || end+3 < len(line) && line[end+3] == ' ' { // uvicorn pads with more
		return false
	}
	from := end
	for from > 0 && (line[from-1] >= 'A' && line[from-1] <= 'Z' || from == end && digitByte(line[from-1])) {
		from--
	}
	word := line[from:end]
	if rec.Severity = postgresLevel(word); rec.Severity == 0 || from > 0 && line[from-1] != ' ' {
		return false
	}
	rec.SeverityText = p.intern(word)
	if from > 0 {
		n := p.stamp(line, line, rec)
		if n == 0 || n >= from {
			return false
		}
		p.postgresPrefix(line[n:from], rec)
	}
	message := line[end+len(":  "):]
	if len(message) > 7 && message[5] == ':' && message[6] == ' ' && sqlState(message[:5]) {
		if string(message[:5]) != "00000" {
			p.put(rec, "db.response.status_code", otlp.Text(message[:5]))
		}
		message = message[7:]
	}
	rec.Body = otlp.Text(message)
	return true
}

// postgresLevel maps the words of PostgreSQL. A FATAL ends a session, a PANIC all of them.
func postgresLevel(word []byte) uint8 {
	switch string(word) {
	case "DEBUG1", "DEBUG2", "DEBUG3", "DEBUG4", "DEBUG5", "DEBUG":
		return Debug
	case "LOG", "INFO", "STATEMENT", "DETAIL", "HINT", "CONTEXT", "QUERY", "LOCATION", "BACKTRACE":
		return Info
	case "NOTICE":
		return Info + 1
	case "WARNING":
		return Warn
	case "ERROR":
		return Error
	case "FATAL":
		return Fatal
	case "PANIC":
		return Fatal + 1
	}
	return 0
}

// sqlState says whether five bytes are an SQLSTATE (ISO 9075): digits and capitals, the class not letters alone.
func sqlState(b []byte) bool {
	digits := false
	for _, c := range b {
		if !digitByte(c) && (c < 'A' || c > 'Z') {
			return false
		}
		digits = digits || digitByte(c)
	}
	return digits
}

// postgresPrefix reads what stands between the time and the level.
func (p *Parser) postgresPrefix(b []byte, rec *otlp.Record) {
	for len(b) > 0 {
		var field []byte
		if field, b, _ = cutByte(bytes.TrimLeft(b, " "), ' '); len(field) == 0 {
			continue
		}
		switch {
		case field[0] == '[':
			if r := (reader{field[1:], true}); !has(rec, "process.pid") {
				if pid := r.number(); r.ok && len(r.b) > 0 && r.b[0] == ']' {
					p.put(rec, "process.pid", otlp.Int(pid))
				}
			}
		case bytes.IndexByte(field, '=') > 0:
			p.postgresFields(field, rec)
		case bytes.IndexByte(field, '@') >= 0:
			user, db, _ := cutByte(field, '@')
			p.postgresField([]byte("user"), user, rec)
			p.postgresField([]byte("db"), db, rec)
		}
	}
}

// postgresFields reads "user=ops,db=shop,app=x,client=192.0.2.1".
func (p *Parser) postgresFields(b []byte, rec *otlp.Record) {
	for len(b) > 0 {
		var field []byte
		field, b, _ = cutByte(b, ',')
		if key, value, ok := cutByte(field, '='); ok {
			p.postgresField(key, value, rec)
		}
	}
}

func (p *Parser) postgresField(key, value []byte, rec *otlp.Record) {
	name := ""
	switch string(key) {
	case "user":
		name = "user.name"
	case "db":
		name = "db.namespace"
	case "app":
		name = "postgresql.application"
	case "client", "host":
		name = "client.address"
	}
	if name == "" || len(value) == 0 || string(value) == "[unknown]" || has(rec, name) {
		return
	}
	p.put(rec, name, otlp.Text(value))
}
