// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"
	"encoding/hex"
	"strconv"

	"cloud4.internal/hub/internal/otlp"
)

// json reads a line that is one object. Keys that programs use for time, level,
// message and trace fill the record's fields, the first of each kind.
func (p *Parser) json(line []byte, rec *otlp.Record) bool {
	if len(line) == 0 || line[0] != '{' {
		return false
	}
	s := scan{p: p, b: line, i: 1}
	var message otlp.Value
	if !s.members(func(key []byte, v otlp.Value) {
		switch {
		case field(key, "time") && rec.Time == 0 && p.setTime(rec, v):
		case field(key, "level") && rec.Severity == 0 && p.setLevel(rec, v):
		case field(key, "message") && message.Kind == otlp.KindEmpty && v.Kind == otlp.KindString:
			message = v
		case field(key, "trace_id") && rec.TraceID == nil && setID(&rec.TraceID, v, 16):
		case field(key, "span_id") && rec.SpanID == nil && setID(&rec.SpanID, v, 8):
		default:
			p.add(rec, p.intern(key), v)
		}
	}) {
		return false
	}
	s.space()
	if s.i != len(s.b) {
		return false
	}
	if rec.Body = message; message.Kind == otlp.KindEmpty {
		rec.Body = otlp.Text(line)
	}
	return true
}

// field says whether a program's key stands for a field of the event.
func field(key []byte, name string) bool {
	switch name {
	case "time":
		switch string(key) {
		case "time", "ts", "timestamp", "@timestamp", "datetime", "asctime":
			return true
		}
	case "level":
		switch string(key) {
		case "level", "severity", "lvl", "log.level", "levelname", "loglevel":
			return true
		}
	case "message":
		switch string(key) {
		case "message", "msg", "@message", "event":
			return true
		}
	case "trace_id":
		switch string(key) {
		case "trace_id", "traceId", "traceid", "trace.id":
			return true
		}
	case "span_id":
		switch string(key) {
		case "span_id", "spanId", "spanid", "span.id":
			return true
		}
	}
	return false
}

func (p *Parser) setTime(rec *otlp.Record, v otlp.Value) bool {
	switch v.Kind {
	case otlp.KindString:
		if t, n := p.timestamp(v.Bytes); n == len(v.Bytes) {
			rec.Time = t
		}
	case otlp.KindInt:
		rec.Time = epoch(float64(v.Int()))
		if n := v.Int(); n >= 1e17 { // nanoseconds do not fit in a float64
			rec.Time = uint64(n)
		}
	case otlp.KindDouble:
		rec.Time = epoch(v.Double())
	}
	return rec.Time != 0
}

func (p *Parser) setLevel(rec *otlp.Record, v otlp.Value) bool {
	switch v.Kind {
	case otlp.KindString:
		rec.Severity = severity(v.Bytes)
		if rec.Severity != 0 {
			rec.SeverityText = p.intern(v.Bytes)
		}
	case otlp.KindInt:
		rec.Severity = numericSeverity(v.Int())
		if rec.Severity != 0 {
			rec.SeverityText = p.intern(strconv.AppendInt(nil, v.Int(), 10))
		}
	}
	return rec.Severity != 0
}

func setID(into *[]byte, v otlp.Value, size int) bool {
	if v.Kind != otlp.KindString || len(v.Bytes) != 2*size {
		return false
	}
	id := make([]byte, size)
	if _, err := hex.Decode(id, v.Bytes); err != nil || len(bytes.Trim(id, "\x00")) == 0 {
		return false
	}
	*into = id
	return true
}
