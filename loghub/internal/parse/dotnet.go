// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// dotnet reads .NET's console logger, whose message stands in a second line or behind the category; Serilog's and NLog's lines
// are layouts:
//
//	info: Microsoft.Hosting.Lifetime[14]
//	      Now listening on: http://[::]:8080
func (p *Parser) dotnet(line []byte, rec *otlp.Record) bool {
	if len(line) < 9 || line[4] != ':' || line[5] != ' ' || !letter(line[0]) {
		return dotnetConsole(p, line, rec)
	}
	word := line[:4]
	r := reader{line[6:], true}
	n := name(r.b)
	if rec.Severity = abbreviated(word); rec.Severity == 0 || word[0] < 'a' || n == 0 {
		return false
	}
	category := r.b[:n]
	r.b = r.b[n:]
	r.byte('[')
	id := r.number()
	r.byte(']')
	if !r.ok || len(r.b) > 0 && r.b[0] != ' ' {
		return false
	}
	rec.SeverityText = p.intern(word)
	p.put(rec, "logger", otlp.Text(category))
	p.put(rec, "event.id", otlp.Int(id))
	if rec.Body = otlp.Text(line); len(r.b) > 1 {
		rec.Body = otlp.Text(bytes.TrimPrefix(r.b, []byte(" ")))
	}
	return true
}

var dotnetConsole = console("dotnet")
