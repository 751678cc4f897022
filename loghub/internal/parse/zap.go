// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"
	"strconv"

	"cloud4.internal/hub/internal/otlp"
)

// zapConsole reads zap's console encoder, Caddy's included, whose fields are set apart by tabs:
//
//	2026-11-21T07:55:42.123+0100	INFO	logger	dir/file.go:34	message	{"key": "value"}
//
// Logger, caller and object may be absent, the time may be seconds since 1970 (1.790000000123e+09).
func (p *Parser) zapConsole(line []byte, rec *otlp.Record) bool {
	stamp, rest, ok := cutByte(line[:min(len(line), 64)], '\t')
	if !ok {
		return false
	}
	word, _, ok := cutByte(rest, '\t')
	if rec.Severity = severity(word); !ok || rec.Severity == 0 || !p.zapTime(line, stamp, rec) {
		return false
	}
	rec.SeverityText = p.intern(word)
	b := line[len(stamp)+1+len(word)+1:]
	if n := p.caller(b, rec); n > 0 && n < len(b) && b[n] == '\t' {
		b = b[n+1:]
	} else {
		rec.Attributes = rec.Attributes[:0]
		if n := name(b); n > 0 && n < len(b) && b[n] == '\t' && len(b) > n+1 && b[n+1] != '{' {
			p.put(rec, "logger", otlp.Text(b[:n]))
			b = b[n+1:]
			if n := p.caller(b, rec); n > 0 && n < len(b) && b[n] == '\t' {
				b = b[n+1:]
			} else {
				rec.Attributes = rec.Attributes[:1]
			}
		}
	}
	p.objects(b, rec)
	return true
}

// zapTime reads a time that is the whole of stamp.
func (p *Parser) zapTime(line, stamp []byte, rec *otlp.Record) bool {
	if n := p.stamp(line, line, rec); n > 0 {
		return n == len(stamp)
	}
	if len(stamp) < 10 || len(stamp) > 24 || !digitByte(stamp[0]) || bytes.IndexByte(stamp, '.') < 0 {
		return false
	}
	f, err := strconv.ParseFloat(string(stamp), 64)
	if err != nil {
		return false
	}
	rec.Time = epoch(f)
	return rec.Time != 0
}
