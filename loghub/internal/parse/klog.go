// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// klog reads the header of klog and glog, whose year is new and may be absent:
//
//	E1121 07:55:42.123456      12 server.go:34] message
//	I20261121 07:55:42.123456 12 server.cc:34] "message" key="value"
//
// A quoted message has key=value behind it (klog's InfoS).
func (p *Parser) klog(line []byte, rec *otlp.Record) bool {
	if len(line) < 30 || !digitByte(line[1]) || !digitByte(line[4]) {
		return false
	}
	switch line[0] {
	case 'I':
		rec.Severity, rec.SeverityText = Info, "INFO"
	case 'W':
		rec.Severity, rec.SeverityText = Warn, "WARNING"
	case 'E':
		rec.Severity, rec.SeverityText = Error, "ERROR"
	case 'F':
		rec.Severity, rec.SeverityText = Fatal, "FATAL"
	default:
		return false
	}
	r := reader{line[1:], true}
	year := int64(0)
	if digitByte(line[5]) {
		year = r.digits(4)
	}
	m := r.digits(2)
	d := r.digits(2)
	r.byte(' ')
	secs := r.clock()
	frac := r.fraction()
	r.byte(' ')
	r.b = r.b[blanks(r.b):]
	tid := r.number()
	r.byte(' ')
	if !r.ok {
		return false
	}
	ok := false
	if year == 0 {
		secs, ok = p.yearless(m, d, secs)
	} else if secs, ok = unix(year, m, d, secs); ok {
		secs = p.local(secs)
	}
	p.put(rec, "thread.id", otlp.Int(tid))
	r.b = r.b[p.caller(r.b, rec):]
	if r.byte(']'); !ok || !r.ok {
		return false
	}
	rec.Time = uint64(secs*1e9 + frac)
	p.klogMessage(bytes.TrimPrefix(r.b, []byte(" ")), rec)
	return true
}

func (p *Parser) klogMessage(b []byte, rec *otlp.Record) {
	rec.Body = otlp.Text(b)
	if len(b) == 0 || b[0] != '"' {
		return
	}
	message, rest, ok := p.quotedText(b[1:])
	if !ok || trailingPairs(rest) > 1 {
		return
	}
	p.pairs(rest, rec)
	rec.Body = otlp.Text(message)
}
