// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// access reads nginx's combined format, which is Apache's too:
//
//	1.2.3.4 - ops [21/Nov/2026:07:55:42 +0000] "GET /a?b=1 HTTP/1.1" 200 612 "-" "curl/8"
//
// The line is the body. The last two fields may lack (the common log format), and
// more may follow them.
func (p *Parser) access(line []byte, rec *otlp.Record) bool {
	client, rest, ok := cutByte(line, ' ')
	if !ok || len(client) > 64 || len(rest) < 2 || rest[0] != '-' || rest[1] != ' ' {
		return false
	}
	user, rest, ok := cutByte(rest[2:], '[')
	if !ok || len(user) < 2 || user[len(user)-1] != ' ' {
		return false
	}
	user = user[:len(user)-1]
	t, rest, ok := accessTime(rest)
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
	p.add(rec, "client.address", otlp.Text(client))
	if string(user) != "-" {
		p.add(rec, "user.name", otlp.Text(user))
	}
	p.request(request, rec)
	p.add(rec, "http.response.status_code", otlp.Int(status))
	if len(r.b) > 0 && r.b[0] == '-' {
		r.b = r.b[1:]
	} else if size := r.number(); r.ok {
		p.add(rec, "http.response.body.size", otlp.Int(size))
	}
	p.tail(r.b, rec)
	return true
}

// request takes the request line apart; what is none stays whole.
func (p *Parser) request(request []byte, rec *otlp.Record) {
	method, rest, ok := cutByte(request, ' ')
	at := bytes.LastIndexByte(rest, ' ')
	if !ok || at < 0 || !bytes.HasPrefix(rest[at+1:], []byte("HTTP/")) {
		if len(request) > 0 && string(request) != "-" {
			p.add(rec, "http.request.original", otlp.Text(request))
		}
		return
	}
	p.add(rec, "http.request.method", otlp.Text(method))
	target, query, hasQuery := cutByte(rest[:at], '?')
	p.add(rec, "url.path", otlp.Text(target))
	if hasQuery {
		p.add(rec, "url.query", otlp.Text(query))
	}
	p.add(rec, "network.protocol.version", otlp.Text(rest[at+1+len("HTTP/"):]))
}

// tail reads referer and user agent.
func (p *Parser) tail(rest []byte, rec *otlp.Record) {
	for _, key := range [...]string{"http.request.header.referer", "user_agent.original"} {
		if len(rest) < 3 || string(rest[:2]) != ` "` {
			return
		}
		value, more, ok := quoted(rest[2:])
		if !ok {
			return
		}
		if string(value) != "-" && len(value) > 0 {
			p.add(rec, key, otlp.Text(value))
		}
		rest = more
	}
}

// accessTime reads "21/Nov/2026:07:55:42 +0000".
func accessTime(b []byte) (nanos uint64, rest []byte, ok bool) {
	r := reader{b, true}
	d := r.digits(2)
	r.byte('/')
	m := r.month()
	r.byte('/')
	y := r.digits(4)
	r.byte(':')
	secs := r.clock()
	offset, zoned := r.zone()
	if !r.ok || !zoned {
		return 0, nil, false
	}
	secs, ok = unix(y, m, d, secs)
	return uint64((secs - offset) * 1e9), r.b, ok
}

// quoted takes what stands before the closing quote; nginx escapes quotes as
// \x22, Apache as \".
func quoted(b []byte) (value, rest []byte, ok bool) {
	for i := 0; i < len(b); i++ {
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
