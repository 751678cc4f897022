// SPDX-License-Identifier: AGPL-3.0-or-later

// Package jsonline writes records as JSON lines, the form of the container's
// stdout (log.stdout: json) and of the files of loghub receive, and reads them back.
//
// Format (ours, with zerolog's habits): one object (RFC 8259) a line, "time"
// (RFC 3339, UTC, nanoseconds as needed), "level" (trace debug info warn error
// fatal; absent when unknown) and "message" first, then what else the record has
// (severity_text when it is another word, observed_time, trace_id, span_id,
// event_name), then attributes flat under their own names: those of the resource,
// then those of the record. A name stands once: the first one counts. Bytes are
// base64, numbers that JSON cannot express (NaN) are strings.
package jsonline

import (
	"encoding/base64"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/parse"
)

// Append appends the line of a record, its newline included. first are
// attributes that stand before all others, and so over them.
func Append(dst []byte, first, resource []otlp.KeyValue, r *otlp.Record) []byte {
	w := writer{b: append(dst, '{')}
	w.time("time", r.Time)
	level := parse.Level(r.Severity)
	w.text("level", level)
	w.key("message")
	w.value(r.Body)
	if !strings.EqualFold(r.SeverityText, level) {
		w.text("severity_text", r.SeverityText)
	}
	if r.Observed != r.Time {
		w.time("observed_time", r.Observed)
	}
	w.text("trace_id", hex.EncodeToString(r.TraceID))
	w.text("span_id", hex.EncodeToString(r.SpanID))
	w.text("event_name", r.EventName)
	w.attributes(ours, first, resource, r.Attributes)
	if r.Dropped > 0 {
		w.key("dropped_attributes")
		w.b = strconv.AppendUint(w.b, uint64(r.Dropped), 10)
	}
	return append(w.b, "}\n"...)
}

// ours says whether a key is one of the fields above.
func ours(key string) bool {
	switch key {
	case "time", "level", "message", "severity_text", "observed_time", "trace_id", "span_id", "event_name", "dropped_attributes":
		return true
	}
	return false
}

// few is how many names are compared one by one; of more, which only a stranger sends, a set is made.
const few = 64

// attributes writes every name once, the first time it stands, but none that skip says.
func (w *writer) attributes(skip func(key string) bool, lists ...[]otlp.KeyValue) {
	count := 0
	for _, list := range lists {
		count += len(list)
	}
	var seen map[string]bool
	if count > few {
		seen = make(map[string]bool, count)
	}
	for i, list := range lists {
		for j, kv := range list {
			if skip(kv.Key) || seen[kv.Key] || seen == nil && before(lists[:i], list[:j], kv.Key) {
				continue
			}
			if seen != nil {
				seen[kv.Key] = true
			}
			w.key(kv.Key)
			w.value(kv.Value)
		}
	}
}

func before(lists [][]otlp.KeyValue, head []otlp.KeyValue, key string) bool {
	for _, kv := range head {
		if kv.Key == key {
			return true
		}
	}
	for _, list := range lists {
		for _, kv := range list {
			if kv.Key == key {
				return true
			}
		}
	}
	return false
}

type writer struct{ b []byte }

func (w *writer) key(k string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.b = appendString(w.b, k)
	w.b = append(w.b, ':')
}

func (w *writer) text(k, v string) {
	if v != "" {
		w.key(k)
		w.b = appendString(w.b, v)
	}
}

func (w *writer) time(k string, nanos uint64) {
	if nanos != 0 && nanos < math.MaxInt64 {
		w.key(k)
		w.b = append(w.b, '"')
		w.b = time.Unix(0, int64(nanos)).UTC().AppendFormat(w.b, time.RFC3339Nano)
		w.b = append(w.b, '"')
	}
}

// AppendValue appends a value as JSON.
func AppendValue(dst []byte, v otlp.Value) []byte {
	w := writer{dst}
	w.value(v)
	return w.b
}

func (w *writer) value(v otlp.Value) {
	switch v.Kind {
	case otlp.KindString:
		w.b = appendString(w.b, v.Bytes)
	case otlp.KindBool:
		w.b = strconv.AppendBool(w.b, v.Bool())
	case otlp.KindInt:
		w.b = strconv.AppendInt(w.b, v.Int(), 10)
	case otlp.KindDouble:
		w.double(v.Double())
	case otlp.KindBytes:
		w.b = append(w.b, '"')
		w.b = base64.StdEncoding.AppendEncode(w.b, v.Bytes)
		w.b = append(w.b, '"')
	case otlp.KindArray:
		w.b = append(w.b, '[')
		for i, e := range v.Array {
			if i > 0 {
				w.b = append(w.b, ',')
			}
			w.value(e)
		}
		w.b = append(w.b, ']')
	case otlp.KindMap:
		w.b = append(w.b, '{')
		w.attributes(func(string) bool { return false }, v.Map)
		w.b = append(w.b, '}')
	default:
		w.b = append(w.b, "null"...)
	}
}

func (w *writer) double(f float64) {
	text := strconv.AppendFloat(nil, f, 'g', -1, 64)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		w.b = appendString(w.b, text)
		return
	}
	w.b = append(w.b, text...)
}

// Steers says whether a character does something to a terminal, or to the direction of text: the controls of C0 and C1
// (ECMA-48 §5.3), DEL, line and paragraph separators, the marks of the bidirectional algorithm (UAX #9) and a byte order mark.
func Steers(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x61c || r == 0x200e || r == 0x200f ||
		r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff
}

// appendString appends s quoted. Only what JSON demands is escaped, and what Steers, so that a terminal shows the line as it is.
func appendString[T string | []byte](dst []byte, s T) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(string(s[i:min(len(s), i+utf8.UTFMax)]))
			switch {
			case r == utf8.RuneError && n == 1:
				dst = append(append(dst, s[start:i]...), "\uFFFD"...)
				start = i + 1
			case Steers(r):
				dst = append(append(dst, s[start:i]...), '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
				start = i + n
			}
			i += n
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' && c != 0x7f {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}
