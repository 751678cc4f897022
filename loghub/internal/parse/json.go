// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"strconv"

	"cloud4.internal/hub/internal/otlp"
)

// json reads a line that is one object (RFC 8259). The keys that programs use for time, level, message and trace fill the
// record's fields, see knownKeys; all others are attributes.
//
// It takes more than the RFC allows where programs write more: NaN and Infinity (Python), control characters in strings. A
// number that a float64 or an int64 does not hold to the last digit becomes a string.
func (p *Parser) json(line []byte, rec *otlp.Record) bool {
	if len(line) == 0 || line[0] != '{' {
		return false
	}
	s := scan{p: p, b: line, i: 1}
	p.m = members{small: -1}
	s.space()
	for i := 0; !s.take('}'); i++ {
		if i > 0 && !s.comma() {
			return false
		}
		k := p.expected(&s, i)
		if k == nil {
			text, ok := s.key()
			if !ok {
				return false
			}
			k = p.key(text, i)
		}
		p.value = otlp.Value{}
		if !s.value(1, &p.value) {
			return false
		}
		p.member(rec, k, &p.value)
		s.space()
	}
	if s.space(); s.i != len(s.b) {
		return false
	}
	p.complete(rec, line)
	return true
}

// Object reads a line that is one JSON object and calls each with its members, in their order. Keys and values refer to line
// and to memory of the parser that the next call uses again. Limits are those of a line.
func (p *Parser) Object(line []byte, each func(key []byte, v otlp.Value)) bool {
	if p.reuse(); len(line) == 0 || line[0] != '{' {
		return false
	}
	s := scan{p: p, b: line, i: 1}
	if !s.members(each) {
		return false
	}
	s.space()
	return s.i == len(s.b)
}

func (p *Parser) setTime(rec *otlp.Record, v otlp.Value) bool {
	switch v.Kind {
	case otlp.KindString:
		rec.Time = p.wholeTime(v.Bytes)
	case otlp.KindInt:
		if rec.Time = epoch(float64(v.Int())); v.Int() >= 1e17 { // nanoseconds do not fit in a float64
			rec.Time = uint64(v.Int())
		}
	case otlp.KindDouble:
		rec.Time = epoch(v.Double())
	case otlp.KindMap:
		rec.Time = p.timeOf(v.Map)
	}
	return rec.Time != 0
}

// timeOf reads a time that is an object: log4j2's {"epochSecond":…,"nanoOfSecond":…}, Google's {"seconds":…,"nanos":…},
// MongoDB's {"$date":"…"}.
func (p *Parser) timeOf(m []otlp.KeyValue) uint64 {
	var secs, nanos int64
	for _, kv := range m {
		switch v := kv.Value; kv.Key {
		case "$date":
			if v.Kind != otlp.KindString || len(m) != 1 {
				return 0
			}
			p.m.mongo = true
			return p.wholeTime(v.Bytes)
		case "epochSecond", "seconds":
			secs = v.Int()
		case "nanoOfSecond", "nanos":
			nanos = v.Int()
		default:
			return 0
		}
	}
	if secs < 1e8 || secs > 9e9 || nanos < 0 || nanos > 999999999 {
		return 0
	}
	return uint64(secs*1e9 + nanos)
}

func (p *Parser) setLevel(rec *otlp.Record, k *key, v otlp.Value) bool {
	switch v.Kind {
	case otlp.KindString:
		if rec.Severity = levelWord(v.Bytes); rec.Severity == 0 {
			return false
		}
		rec.SeverityText = p.intern(v.Bytes)
	case otlp.KindInt:
		n := v.Int()
		if n >= 0 && n < 10 && p.m.level == nil {
			p.m.small, p.m.level = n, k
			return true
		}
		if rec.Severity = numericSeverity(n); rec.Severity == 0 {
			return false
		}
		rec.SeverityText = p.digits(n)
	default:
		return false
	}
	return true
}

// smallLevel reads a level below ten, which goes up with the severity in Nextcloud and down in GELF (syslog's). Of another
// program nobody knows.
func (p *Parser) smallLevel(rec *otlp.Record) {
	n := p.m.small
	switch {
	case rec.Severity != 0:
	case p.m.program == roleNextcloud && n < 5:
		rec.Severity = [...]uint8{Debug, Info, Warn, Error, Fatal}[n]
	case p.m.program == roleGELF && n < 8:
		rec.Severity = [...]uint8{Fatal, Error + 2, Error + 1, Error, Warn, Info + 1, Info, Debug}[n]
	}
	if rec.Severity == 0 || rec.SeverityText != "" {
		v := otlp.Int(n)
		p.keep(rec, p.m.level, &v)
		return
	}
	rec.SeverityText = p.digits(n)
}

// digits writes a number.
func (p *Parser) digits(n int64) string {
	var b [20]byte
	return p.intern(strconv.AppendInt(b[:0], n, 10))
}
