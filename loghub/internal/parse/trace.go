// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"
	"encoding/hex"

	"cloud4.internal/hub/internal/otlp"
)

// Sizes of ids in hexadecimal digits (W3C Trace Context, section 2.2.2). Zipkin's B3 also has trace ids of half the size.
const (
	traceDigits = 32
	spanDigits  = 16
)

// ids holds the ids of the current record.
type ids struct {
	trace [traceDigits / 2]byte
	span  [spanDigits / 2]byte
}

// setTraceID takes 32 hexadecimal digits, or 16 with a letter among them (decimal ids may be as long). Zeros and "" say that
// there is none: they are taken too.
func (p *Parser) setTraceID(rec *otlp.Record, b []byte) bool {
	switch {
	case none(b):
		return true
	case len(b) == traceDigits && decode(p.ids.trace[:], b):
	case len(b) == spanDigits && bytes.ContainsAny(b, "abcdefABCDEF") && decode(p.ids.trace[8:], b):
		clear(p.ids.trace[:8])
	default:
		return false
	}
	rec.TraceID = p.ids.trace[:]
	return true
}

func (p *Parser) setSpanID(rec *otlp.Record, b []byte) bool {
	if none(b) {
		return true
	}
	if len(b) != spanDigits || !decode(p.ids.span[:], b) {
		return false
	}
	rec.SpanID = p.ids.span[:]
	return true
}

func decode(into, digits []byte) bool {
	_, err := hex.Decode(into, digits)
	return err == nil
}

// none says whether an id is that of no trace.
func none(b []byte) bool {
	for _, c := range b {
		if c != '0' {
			return false
		}
	}
	return true
}

// parentSize is that of a traceparent, version 00.
const parentSize = 2 + 1 + traceDigits + 1 + spanDigits + 1 + 2

// setParent reads a traceparent (W3C Trace Context, section 3.2): 00-<trace>-<span>-<flags>.
func (p *Parser) setParent(rec *otlp.Record, b []byte) bool {
	if len(b) < parentSize || rec.TraceID != nil || rec.SpanID != nil || b[2] != '-' || b[35] != '-' || b[52] != '-' || string(b[:2]) == "ff" {
		return false
	}
	var flags, version [1]byte
	if !decode(version[:], b[:2]) || !decode(flags[:], b[53:55]) || none(b[3:35]) || none(b[36:52]) ||
		!decode(p.ids.trace[:], b[3:35]) || !decode(p.ids.span[:], b[36:52]) {
		return false
	}
	rec.TraceID, rec.SpanID, rec.Flags = p.ids.trace[:], p.ids.span[:], uint32(flags[0])
	return true
}

// traceMember reads the trace id of a JSON or logfmt line. Google's names the project too: that one stays an attribute.
func (p *Parser) traceMember(rec *otlp.Record, k *key, v otlp.Value) bool {
	if v.Kind != otlp.KindString || rec.TraceID != nil {
		return false
	}
	if at := bytes.LastIndex(v.Bytes, []byte("/traces/")); at >= 0 {
		p.setTraceID(rec, v.Bytes[at+len("/traces/"):])
		return false
	}
	return p.setTraceID(rec, v.Bytes)
}

// setFlags reads trace flags: two hexadecimal digits, a number, or whether the trace is sampled.
func setFlags(rec *otlp.Record, v otlp.Value) bool {
	switch v.Kind {
	case otlp.KindBool:
		rec.Flags = uint32(v.Num)
		return true
	case otlp.KindInt:
		if v.Num <= 0xff {
			rec.Flags = uint32(v.Num)
			return true
		}
	case otlp.KindString:
		switch string(v.Bytes) {
		case "true", "True", "1":
			rec.Flags = 1
			return true
		case "false", "False", "0":
			return true
		}
		var b [1]byte
		if len(v.Bytes) == 2 && decode(b[:], v.Bytes) {
			rec.Flags = uint32(b[0])
			return true
		}
	}
	return false
}

// Where in a line without members ids are looked for.
const (
	traceReach = 1024 // bytes
	traceTries = 4    // places that look like it
)

// findTrace looks for ids in a line of words: trace_id=…, "traceId": …, traceparent: 00-…, and what Spring puts in brackets.
func (p *Parser) findTrace(line []byte, rec *otlp.Record) {
	b := line[:min(len(line), traceReach)]
	if len(b) < len("trace=")+spanDigits {
		return
	}
	if p.findNamed(b, rec); rec.TraceID == nil {
		p.findBracketed(b[:min(len(b), 256)], rec)
	}
}

func (p *Parser) findNamed(b []byte, rec *otlp.Record) {
	if bytes.IndexByte(b, '=') < 0 && bytes.IndexByte(b, ':') < 0 { // no key has a value
		return
	}
	for at := 0; at < traceTries; at++ {
		i := bytes.Index(b, []byte("race")) // trace, Trace
		if i < 0 {
			return
		}
		b = b[i+len("race"):]
		if i == 0 {
			continue
		}
		if v := valueOf(b, "parent"); len(v) >= parentSize && p.setParent(rec, v) {
			return
		}
		v := valueOf(b, "id")
		if n := hexDigits(v); n == traceDigits || n == spanDigits {
			if !none(v[:n]) && p.setTraceID(rec, v[:n]) && rec.TraceID != nil {
				p.findSpan(b, rec)
				return
			}
		}
	}
}

func (p *Parser) findSpan(b []byte, rec *otlp.Record) {
	i := bytes.Index(b, []byte("pan"))
	if i < 0 {
		return
	}
	if v := valueOf(b[i+len("pan"):], "id"); hexDigits(v) == spanDigits {
		p.setSpanID(rec, v[:spanDigits])
	}
}

// valueOf gives what stands behind a key whose first half was found: "_id=…", `Id":"…`, "=…".
func valueOf(b []byte, half string) []byte {
	i := 0
	if i < len(b) && (b[i] == '_' || b[i] == '.' || b[i] == '-') {
		i++
	}
	if n := len(half); i+n < len(b) && bytes.EqualFold(b[i:i+n], []byte(half)) {
		i += n
	} else if i > 0 || half != "id" || len(b) == 0 || b[0] != '=' { // trace=…, but not "stack trace: …"
		return nil
	}
	if i < len(b) && b[i] == '"' {
		i++
	}
	if i >= len(b) || b[i] != '=' && b[i] != ':' {
		return nil
	}
	for i++; i < len(b) && (b[i] == ' ' || b[i] == '"'); i++ {
	}
	return b[i:]
}

// hexDigits counts them at the beginning of b.
func hexDigits(b []byte) int {
	n := 0
	for n < len(b) && n <= traceDigits && hexDigit(b[n]) {
		n++
	}
	return n
}

func hexDigit(c byte) bool { return digitByte(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

// findBracketed reads [service,trace,span] and [service,trace,span,true] of Spring Cloud Sleuth, and [trace-span] and
// [service,trace-span] of Micrometer.
func (p *Parser) findBracketed(b []byte, rec *otlp.Record) {
	for range traceTries {
		open := bytes.IndexByte(b, '[')
		if open < 0 {
			return
		}
		b = b[open+1:]
		end := bytes.IndexByte(b, ']')
		if end < 2*spanDigits {
			continue
		}
		in := b[:end]
		if comma := bytes.IndexByte(in, ','); comma >= 0 {
			in = in[comma+1:]
		}
		n := hexDigits(in)
		if (n == traceDigits || n == spanDigits) && n < len(in) && (in[n] == ',' || in[n] == '-') {
			if m := hexDigits(in[n+1:]); m == spanDigits && (n+1+m == len(in) || in[n+1+m] == ',') && p.setTraceID(rec, in[:n]) {
				p.setSpanID(rec, in[n+1:n+1+m])
				return
			}
		}
	}
}
