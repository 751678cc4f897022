// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// haproxy reads what HAProxy logs of requests and connections (its configuration manual, section 8.2), and its own words on
// stderr; behind a header of syslog it is read likewise.
func (p *Parser) haproxy(line []byte, rec *otlp.Record) bool {
	if len(line) > 0 && line[0] == '[' {
		return haproxyConsole(p, line, rec)
	}
	return p.haproxyLine(line, rec)
}

var haproxyConsole = console("haproxy")

// haproxyLine reads a line of option httplog, of option tcplog, or of a connection that failed before it had any:
//
//	203.0.113.7:5 [21/Nov/2026:07:55:42.123] web~ app/s1 0/0/1/2/3 200 612 - - ---- 1/1/0/0/0 0/0 "GET /x HTTP/1.1"
//	203.0.113.7:5 [21/Nov/2026:07:55:42.123] db db/s1 1/0/3 612 -- 1/1/0/0/0 0/0
//	203.0.113.7:5 [21/Nov/2026:07:55:42.123] web/1: SSL handshake failure
func (p *Parser) haproxyLine(line []byte, rec *otlp.Record) bool {
	client, rest, ok := cutByte(line[:min(len(line), 80)], ' ')
	if !ok || len(rest) == 0 || rest[0] != '[' {
		return false
	}
	r := reader{line[len(client)+2:], true}
	nanos := p.haproxyTime(&r)
	frontend, b, ok := cutByte(r.b, ' ')
	if !r.ok || !ok || bytes.IndexByte(client, ':') < 0 {
		return false
	}
	rec.Time = nanos
	if rec.Severity == 0 {
		rec.Severity = Info
	}
	rec.Body = otlp.Text(line)
	p.address(client, true, "client.address", "client.port", rec)
	if name, bind, failed := cutByte(frontend, '/'); failed && len(bind) > 0 && bind[len(bind)-1] == ':' {
		p.put(rec, "haproxy.frontend", otlp.Text(name))
		rec.Body = otlp.Text(b)
		return true
	}
	p.put(rec, "haproxy.frontend", otlp.Text(bytes.TrimSuffix(frontend, []byte("~"))))
	server, b, ok := cutByte(b, ' ')
	backend, server, both := cutByte(server, '/')
	timers, b, more := cutByte(b, ' ')
	if !ok || !both || !more {
		return false
	}
	p.put(rec, "haproxy.backend", otlp.Text(backend))
	if string(server) != "<NOSRV>" {
		p.put(rec, "haproxy.server", otlp.Text(server))
	}
	p.put(rec, "haproxy.timers", otlp.Text(timers))
	if bytes.Count(timers, []byte("/")) == 4 {
		return p.haproxyHTTP(timers, b, rec)
	}
	size, b, _ := cutByte(b, ' ')
	state, _, ok := cutByte(b, ' ')
	if !ok || len(state) != 2 {
		return false
	}
	p.haproxyNumber("haproxy.bytes", size, rec)
	p.put(rec, "haproxy.termination_state", otlp.Text(state))
	return true
}

// haproxyHTTP reads what stands behind the five timers of a request.
func (p *Parser) haproxyHTTP(timers, b []byte, rec *otlp.Record) bool {
	if total := bytes.TrimPrefix(timers[bytes.LastIndexByte(timers, '/')+1:], []byte("+")); len(total) > 0 {
		if r := (reader{total, true}); digitByte(total[0]) {
			p.put(rec, "http.server.request.duration", otlp.Double(float64(r.number())/1000))
		}
	}
	status, b, _ := cutByte(b, ' ')
	size, b, _ := cutByte(b, ' ')
	_, b, _ = cutByte(b, ' ') // captured cookies
	_, b, _ = cutByte(b, ' ')
	state, b, ok := cutByte(b, ' ')
	if !ok || len(state) != 4 {
		return false
	}
	p.haproxyNumber("http.response.status_code", status, rec)
	p.haproxyNumber("http.response.size", size, rec)
	p.put(rec, "haproxy.termination_state", otlp.Text(state))
	if at := bytes.IndexByte(b, '"'); at >= 0 {
		p.request(bytes.TrimSuffix(b[at+1:], []byte(`"`)), rec)
	}
	return true
}

// haproxyNumber takes a number, "+" before it (option logasap) or not; -1 is none.
func (p *Parser) haproxyNumber(key string, b []byte, rec *otlp.Record) {
	r := reader{bytes.TrimPrefix(b, []byte("+")), true}
	if v := r.number(); r.ok && len(r.b) == 0 {
		p.put(rec, key, otlp.Int(v))
	}
}

// haproxyTime reads "21/Nov/2026:07:55:42.123] ", which is local time.
func (p *Parser) haproxyTime(r *reader) uint64 {
	d := r.digits(2)
	r.byte('/')
	m := r.month()
	r.byte('/')
	y := r.digits(4)
	r.byte(':')
	secs := r.clock()
	frac := r.fraction()
	r.byte(']')
	r.byte(' ')
	secs, ok := unix(y, m, d, secs)
	if !ok || !r.ok {
		r.ok = false
		return 0
	}
	return uint64(p.local(secs)*1e9 + frac)
}
