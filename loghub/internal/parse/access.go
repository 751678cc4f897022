// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"
	"strconv"

	"cloud4.internal/hub/internal/otlp"
)

// access reads the common and the combined log format of nginx, Apache and others, its variants too:
//
//	1.2.3.4 - ops [21/Nov/2026:07:55:42 +0000] "GET /a?b=1 HTTP/1.1" 200 612 "-" "curl/8"
//	web.example.net:443 1.2.3.4 - - [21/Nov/2026:07:55:42 +0000] "GET / HTTP/1.1" 200 612       with the host before it
//	… 200 612 "-" "curl/8" "203.0.113.9" 0.003 rt=0.003                                       with more behind it
//	1.2.3.4 - - [21/Nov/2026 07:55:42] "GET / HTTP/1.1" 200 -                                   Python's http.server
//
// The line is the body. Every answer is Info, a 500 too: the line says what the server did, and its error log what failed.
func (p *Parser) access(line []byte, rec *otlp.Record) bool {
	client, rest, ok := accessField(line)
	if !ok {
		return false
	}
	var host []byte
	if rest[0] != '-' {
		host = client
		if client, rest, ok = accessField(rest); !ok || rest[0] != '-' {
			return false
		}
	}
	if len(rest) < 4 || rest[1] != ' ' {
		return false
	}
	user, rest, ok := accessUser(rest[2:])
	if !ok {
		return false
	}
	t, rest, ok := p.accessTime(rest)
	if !ok || len(rest) < 3 || string(rest[:3]) != `] "` {
		return false
	}
	request, rest, ok := quoted(rest[3:])
	if !ok {
		return false
	}
	r := reader{rest, true}
	r.byte(' ')
	status := r.digits(3)
	r.byte(' ')
	if !r.ok {
		return false
	}
	rec.Time, rec.Severity = t, Info
	rec.Body = otlp.Text(line)
	p.put(rec, "client.address", otlp.Text(client))
	if host != nil {
		p.address(host, false, "server.address", "server.port", rec)
	}
	if string(user) != "-" {
		p.put(rec, "user.name", otlp.Text(user))
	}
	p.request(request, rec)
	p.put(rec, "http.response.status_code", otlp.Int(status))
	if len(r.b) > 0 && r.b[0] == '-' {
		r.b = r.b[1:]
	} else if size := r.number(); r.ok {
		p.put(rec, "http.response.body.size", otlp.Int(size))
	}
	p.tail(r.b, rec)
	return true
}

// accessField reads a host or an address, and the blank behind it.
func accessField(b []byte) (field, rest []byte, ok bool) {
	field, rest, ok = cutByte(b[:min(len(b), 260)], ' ')
	return field, b[min(len(field)+1, len(b)):], ok && len(field) > 0 && len(rest) > 0
}

// accessUser reads the user, who may have blanks in the name, up to the bracket of the time.
func accessUser(b []byte) (user, rest []byte, ok bool) {
	user, _, ok = cutByte(b[:min(len(b), 260)], '[')
	if !ok || len(user) < 2 || user[len(user)-1] != ' ' {
		return nil, nil, false
	}
	return user[:len(user)-1], b[len(user)+1:], true
}

// request takes the request line apart; what is none stays whole.
func (p *Parser) request(request []byte, rec *otlp.Record) {
	method, rest, ok := cutByte(request, ' ')
	at := bytes.LastIndexByte(rest, ' ')
	if !ok || at < 0 || !bytes.HasPrefix(rest[at+1:], []byte("HTTP/")) {
		if len(request) > 0 && string(request) != "-" {
			p.put(rec, "http.request.original", otlp.Text(request))
		}
		return
	}
	p.put(rec, "http.request.method", otlp.Text(method))
	target, query, hasQuery := cutByte(rest[:at], '?')
	p.put(rec, "url.path", otlp.Text(target))
	if hasQuery {
		p.put(rec, "url.query", otlp.Text(query))
	}
	p.put(rec, "network.protocol.version", otlp.Text(rest[at+1+len("HTTP/"):]))
}

// tail reads referer, user agent and the addresses a proxy forwards for; then seconds, or key=value.
func (p *Parser) tail(rest []byte, rec *otlp.Record) {
	for _, key := range [...]string{"http.request.header.referer", "user_agent.original", "http.request.header.x-forwarded-for"} {
		if len(rest) < 3 || rest[0] != ' ' || rest[1] != '"' {
			break
		}
		value, more, ok := quoted(rest[2:])
		if !ok {
			return
		}
		if len(value) > 0 && string(value) != "-" {
			p.put(rec, key, otlp.Text(value))
		}
		rest = more
	}
	if len(rest) < 2 || rest[0] != ' ' {
		return
	}
	if n := secondsSize(rest[1:]); n > 0 {
		if f, err := strconv.ParseFloat(string(rest[1:1+n]), 64); err == nil {
			p.put(rec, "http.server.request.duration", otlp.Double(f))
		}
		return
	}
	if at := trailingPairs(rest); at == 1 {
		p.addPairs(rest[1:], rec)
	}
}

// secondsSize is the size of "0.003" that a blank or the end follows, 0 for none.
func secondsSize(b []byte) int {
	n, dot := 0, false
	for n < len(b) && n < 16 && (digitByte(b[n]) || b[n] == '.' && !dot) {
		dot = dot || b[n] == '.'
		n++
	}
	if !dot || b[0] == '.' || n < len(b) && b[n] != ' ' {
		return 0
	}
	return n
}

// accessTime reads "21/Nov/2026:07:55:42 +0000"; with a blank in place of the colon it is local time.
func (p *Parser) accessTime(b []byte) (nanos uint64, rest []byte, ok bool) {
	r := reader{b, true}
	d := r.digits(2)
	r.byte('/')
	m := r.month()
	r.byte('/')
	y := r.digits(4)
	zoned := len(r.b) > 0 && r.b[0] == ':'
	if len(r.b) > 0 && (zoned || r.b[0] == ' ') {
		r.b = r.b[1:]
	}
	secs := r.clock()
	if secs, ok = unix(y, m, d, secs); !r.ok || !ok {
		return 0, nil, false
	}
	if !zoned {
		return uint64(p.local(secs) * 1e9), r.b, true
	}
	offset, ok := r.zone()
	return uint64((secs - offset) * 1e9), r.b, ok
}

// quoted takes what stands before the closing quote; nginx escapes quotes as
// \x22, Apache as \".
func quoted(b []byte) (value, rest []byte, ok bool) {
	end := bytes.IndexByte(b, '"')
	if end < 0 {
		return nil, nil, false
	}
	escape := bytes.IndexByte(b[:end], '\\')
	if escape < 0 {
		return b[:end], b[end+1:], true
	}
	for i := escape; i < len(b); i++ {
		switch b[i] {
		case '"':
			return b[:i], b[i+1:], true
		case '\\':
			i++
		}
	}
	return nil, nil, false
}

func cutByte(b []byte, c byte) (before, after []byte, ok bool) {
	if i := bytes.IndexByte(b, c); i >= 0 {
		return b[:i], b[i+1:], true
	}
	return b, nil, false
}
