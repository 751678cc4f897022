// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// nginxError reads `2026/11/21 07:55:42 [error] 12#13: *7 message, client: …`.
// The message keeps its tail; the client's address also becomes an attribute.
func (p *Parser) nginxError(line []byte, rec *otlp.Record) bool {
	if len(line) < 20 || line[4] != '/' {
		return false
	}
	t, n := p.timestamp(line)
	rest := line[n:]
	if t == 0 || !bytes.HasPrefix(rest, []byte(" [")) {
		return false
	}
	end := bytes.IndexByte(rest, ']')
	if end < 0 {
		return false
	}
	word := rest[2:end]
	level := severity(word)
	if level == 0 {
		return false
	}
	r := reader{bytes.TrimPrefix(rest[end+1:], []byte(" ")), true}
	pid := r.number()
	r.byte('#')
	tid := r.number()
	r.byte(':')
	r.byte(' ')
	if !r.ok {
		return false
	}
	rec.Time, rec.Severity, rec.SeverityText = t, level, p.intern(word)
	p.add(rec, "process.pid", otlp.Int(pid))
	p.add(rec, "thread.id", otlp.Int(tid))
	if c := (reader{r.b, true}); len(c.b) > 1 && c.b[0] == '*' {
		c.b = c.b[1:]
		id := c.number()
		c.byte(' ')
		if c.ok {
			p.add(rec, "nginx.connection", otlp.Int(id))
			r.b = c.b
		}
	}
	rec.Body = otlp.Text(r.b)
	if at := bytes.LastIndex(r.b, []byte(", client: ")); at >= 0 {
		client := r.b[at+len(", client: "):]
		if end := bytes.IndexByte(client, ','); end >= 0 {
			client = client[:end]
		}
		p.add(rec, "client.address", otlp.Text(client))
	}
	return true
}
