// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// text is the format of last resort: the line is the body.
func (p *Parser) text(line []byte, rec *otlp.Record) bool {
	rec.Body = otlp.Text(line)
	at := line
	if len(at) > 0 && at[0] == '[' {
		at = at[1:]
	}
	rec.Time, _ = p.timestamp(at)
	if word, n := findLevel(line); n != 0 {
		rec.Severity = n
		rec.SeverityText = p.intern(word)
	}
	return true
}

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

// number reads digits, at least one and at most 18.
func (r *reader) number() int64 {
	i := 0
	for i < len(r.b) && i < 18 && r.b[i] >= '0' && r.b[i] <= '9' {
		i++
	}
	if i == 0 {
		r.ok = false
	}
	return r.digits(i)
}

// redis reads `12:M 21 Nov 2026 07:55:42.123 * message`.
func (p *Parser) redis(line []byte, rec *otlp.Record) bool {
	r := reader{line, true}
	pid := r.number()
	r.byte(':')
	if !r.ok || len(r.b) < 28 {
		return false
	}
	role := redisRole(r.b[0])
	r.b = r.b[1:]
	r.byte(' ')
	d := r.digits(2)
	r.byte(' ')
	m := r.month()
	r.byte(' ')
	y := r.digits(4)
	r.byte(' ')
	secs := r.clock()
	frac := r.fraction()
	r.byte(' ')
	if !r.ok || role == "" || len(r.b) < 2 || r.b[1] != ' ' {
		return false
	}
	secs, ok := unix(y, m, d, secs)
	level, word := redisLevel(r.b[0])
	if !ok || level == 0 {
		return false
	}
	rec.Time = uint64(p.local(secs)*1e9 + frac)
	rec.Severity, rec.SeverityText = level, word
	rec.Body = otlp.Text(r.b[2:])
	p.add(rec, "process.pid", otlp.Int(pid))
	p.add(rec, "redis.role", otlp.String(role))
	return true
}

func redisRole(c byte) string {
	switch c {
	case 'M':
		return "master"
	case 'S':
		return "replica"
	case 'C':
		return "child"
	case 'X':
		return "sentinel"
	}
	return ""
}

func redisLevel(c byte) (uint8, string) {
	switch c {
	case '.':
		return Debug, "debug"
	case '-':
		return Debug + 3, "verbose"
	case '*':
		return Info + 1, "notice"
	case '#':
		return Warn, "warning"
	}
	return 0, ""
}
