// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"cloud4.internal/hub/internal/otlp"
)

// python reads what logging and its users print (see layouts), and uvicorn:
//
//	INFO:     192.0.2.1:5 - "GET /x HTTP/1.1" 200 OK
func (p *Parser) python(line []byte, rec *otlp.Record) bool {
	if len(line) > 0 && letter(line[0]) && p.uvicorn(line, rec) {
		return true
	}
	clearRecord(rec)
	return pythonConsole(p, line, rec)
}

var pythonConsole = console("python")

// uvicorn pads level and colon to ten columns.
func (p *Parser) uvicorn(line []byte, rec *otlp.Record) bool {
	n := letters(line)
	if n < 4 || n > 9 || len(line) < 11 || line[n] != ':' || n+1+blanks(line[n+1:]) != 10 || line[n-1] >= 'a' {
		return false
	}
	if rec.Severity = severity(line[:n]); rec.Severity == 0 {
		return false
	}
	rec.SeverityText = p.intern(line[:n])
	b := line[10:]
	rec.Body = otlp.Text(b)
	client, rest, ok := cutByte(b, ' ')
	if !ok || len(rest) < 3 || string(rest[:3]) != `- "` {
		return true
	}
	request, rest, ok := quoted(rest[3:])
	r := reader{rest, true}
	r.byte(' ')
	status := r.digits(3)
	if !ok || !r.ok {
		return true
	}
	p.address(client, true, "client.address", "client.port", rec)
	p.request(request, rec)
	p.put(rec, "http.response.status_code", otlp.Int(status))
	return true
}
