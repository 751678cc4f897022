// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// nginxError reads nginx's error log (ngx_log.c; ngx_http_log_error for what follows the message):
//
//	2026/11/21 07:55:42 [error] 12#13: *7 message, client: 203.0.113.7, server: _, request: "GET /x HTTP/1.1", host: "web"
//
// The message keeps its tail, of which the known parts are attributes too.
func (p *Parser) nginxError(line []byte, rec *otlp.Record) bool {
	if len(line) < 20 || line[4] != '/' {
		return false
	}
	n := p.stamp(line, line, rec)
	rest := line[n:]
	if n == 0 || len(rest) < 4 || rest[0] != ' ' || rest[1] != '[' {
		return false
	}
	word, rest, ok := cutByte(rest[2:], ']')
	if rec.Severity = severity(word); !ok || rec.Severity == 0 {
		return false
	}
	r := reader{bytes.TrimPrefix(rest, []byte(" ")), true}
	pid := r.number()
	r.byte('#')
	tid := r.number()
	r.byte(':')
	r.byte(' ')
	if !r.ok {
		return false
	}
	rec.SeverityText = p.intern(word)
	p.put(rec, "process.pid", otlp.Int(pid))
	p.put(rec, "thread.id", otlp.Int(tid))
	if c := (reader{r.b, true}); len(c.b) > 1 && c.b[0] == '*' {
		c.b = c.b[1:]
		id := c.number()
		c.byte(' ')
		if c.ok {
			p.put(rec, "nginx.connection", otlp.Int(id))
			r.b = c.b
		}
	}
	rec.Body = otlp.Text(r.b)
	p.nginxTail(r.b, rec)
	return true
}

// nginxParts are what may follow the client, in their order.
var nginxParts = [...]string{"server", "request", "subrequest", "upstream", "host", "referrer"}

// nginxTail makes attributes of `, client: …, server: …, request: "…", upstream: "…", host: "…", referrer: "…"`. Who asks can
// write the like into request and referrer, unescaped. So where the client stands twice nothing is taken, and where the parts are
// not in their order nothing but the client, who stands before all that.
func (p *Parser) nginxTail(b []byte, rec *otlp.Record) {
	first := []byte(", client: ")
	at := bytes.Index(b, first)
	if at < 0 || bytes.Contains(b[at+1:], first) {
		return
	}
	client, rest, _ := cutByte(b[at+len(first):], ',')
	p.put(rec, "client.address", otlp.Text(client))
	var values [len(nginxParts)][]byte
	for next := 0; len(rest) > 0; next++ {
		key, value, ok := cutByte(bytes.TrimPrefix(rest, []byte(" ")), ':')
		for ok && next < len(nginxParts) && nginxParts[next] != string(key) {
			next++
		}
		if !ok || next == len(nginxParts) || len(value) < 2 || value[0] != ' ' {
			return
		}
		values[next], rest = nginxValue(value[1:], next == len(nginxParts)-1)
	}
	server, request, upstream, host, referrer := values[0], values[1], values[3], values[4], values[5]
	if len(host) > 0 {
		server = host
	}
	if len(server) > 0 && string(server) != "_" {
		p.address(server, false, "server.address", "server.port", rec)
	}
	if request != nil {
		p.request(request, rec)
	}
	if upstream != nil {
		p.put(rec, "nginx.upstream", otlp.Text(upstream))
	}
	if referrer != nil {
		p.put(rec, "http.request.header.referer", otlp.Text(referrer))
	}
}

// nginxValue reads a value, in quotes or not, and the comma behind it.
func nginxValue(b []byte, last bool) (value, rest []byte) {
	if b[0] != '"' {
		value, rest, _ = cutByte(b, ',')
		return value, rest
	}
	b = b[1:]
	if end := bytes.Index(b, []byte(`", `)); end >= 0 && !last {
		return b[:end], b[end+2:]
	}
	return bytes.TrimSuffix(b, []byte(`"`)), nil
}
