// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// apacheError reads Apache's error log (core, directive ErrorLogFormat: the default of 2.4, and that of 2.2):
//
//	[Sat Nov 21 07:55:42.123456 2026] [core:error] [pid 12:tid 34] [client 203.0.113.7:5] AH00128: message, referer: http://…
func (p *Parser) apacheError(line []byte, rec *otlp.Record) bool {
	if len(line) < 30 || line[4] != ' ' || line[8] != ' ' {
		return false
	}
	r := reader{line[5:], true}
	m := r.month()
	r.byte(' ')
	r.b = r.b[blanks(r.b):]
	d := r.number()
	r.byte(' ')
	secs := r.clock()
	frac := r.fraction()
	r.byte(' ')
	y := r.digits(4)
	r.byte(']')
	r.byte(' ')
	r.byte('[')
	if !r.ok {
		return false
	}
	secs, ok := unix(y, m, d, secs)
	word, rest, closed := cutByte(r.b, ']')
	if !ok || !closed {
		return false
	}
	rec.Time = uint64(p.local(secs)*1e9 + frac)
	if module, level, both := cutByte(word, ':'); both {
		if len(module) > 0 {
			p.put(rec, "apache.module", otlp.Text(module))
		}
		word = level
	}
	rec.Severity, rec.SeverityText = apacheLevel(word), p.intern(word)
	if rec.Severity == 0 {
		return false
	}
	message := p.apacheFields(rest, rec)
	rec.Body = otlp.Text(message)
	p.apacheReferer(message, rec)
	return true
}

// apacheLevel knows trace1 to trace8 besides syslog's words.
func apacheLevel(word []byte) uint8 {
	if len(word) == len("trace1") && string(word[:5]) == "trace" {
		return Trace
	}
	return severity(word)
}

// apacheFields reads "[pid 12:tid 34] (13)Permission denied: file.c(815): [client 203.0.113.7:5] ", of which all may be absent,
// and returns the message, which keeps the words of the system's error.
func (p *Parser) apacheFields(b []byte, rec *otlp.Record) []byte {
	b = bytes.TrimPrefix(b, []byte(" "))
	pid, rest, port := apacheField(b, "[pid ") // only 2.4 writes either
	if port {
		number, tid, both := bytes.Cut(pid, []byte(":tid "))
		r := reader{number, true}
		p.put(rec, "process.pid", otlp.Int(r.number()))
		if r.b = tid; both {
			p.put(rec, "thread.id", otlp.Int(r.number()))
		}
		b = rest
	}
	message := b
	if len(b) > 0 && b[0] == '(' {
		if i := bytes.Index(b[:min(len(b), 160)], []byte(": ")); i > 0 {
			b = b[i+2:]
		}
	}
	if i := bytes.Index(b[:min(len(b), 80)], []byte(".c(")); i > 0 && name(b) == i+2 {
		if at := bytes.Index(b[i:min(len(b), 100)], []byte("): ")); at > 0 {
			b = b[i+at+3:]
			message = b
		}
	}
	for _, key := range [...]string{"[client ", "[remote "} {
		if client, rest, ok := apacheField(b, key); ok {
			p.address(client, port, "client.address", "client.port", rec)
			if len(message) == len(b) {
				message = rest
			}
			b = rest
			break
		}
	}
	if r := (reader{b, true}); len(b) > 7 && b[0] == 'A' && b[1] == 'H' {
		r.b = r.b[2:]
		r.digits(5)
		if r.byte(':'); r.ok {
			p.put(rec, "apache.code", otlp.Text(b[:7]))
		}
	}
	return message
}

// apacheField reads "[key value] ".
func apacheField(b []byte, key string) (value, rest []byte, ok bool) {
	if len(b) < len(key) || string(b[:len(key)]) != key {
		return nil, b, false
	}
	value, rest, ok = cutByte(b[len(key):], ']')
	return value, bytes.TrimPrefix(rest, []byte(" ")), ok
}

// address reads "203.0.113.7:5", "2001:db8::7:5" or "[2001:db8::7]:5", of which the last part is the port if one must be there,
// or there are brackets or no other colon.
func (p *Parser) address(b []byte, port bool, addressKey, portKey string, rec *otlp.Record) {
	at := bytes.LastIndexByte(b, ':')
	if at > 0 && (port || bytes.IndexByte(b, ':') == at || b[at-1] == ']') {
		r := reader{b[at+1:], true}
		if v := r.number(); r.ok && len(r.b) == 0 {
			p.put(rec, addressKey, otlp.Text(bytes.Trim(b[:at], "[]")))
			p.put(rec, portKey, otlp.Int(v))
			return
		}
	}
	p.put(rec, addressKey, otlp.Text(bytes.Trim(b, "[]")))
}

// apacheReferer takes the referer behind the message. It is written as it was sent, so where two stand none is taken.
func (p *Parser) apacheReferer(message []byte, rec *otlp.Record) {
	const referer = ", referer: "
	if i := bytes.Index(message, []byte(referer)); i > 0 && !bytes.Contains(message[i+1:], []byte(referer)) {
		p.put(rec, "http.request.header.referer", otlp.Text(message[i+len(referer):]))
	}
}
