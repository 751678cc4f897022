// SPDX-License-Identifier: AGPL-3.0-or-later

// Package show writes events for people: in columns for their eyes, and as logfmt for their other tools.
//
//	15:58:57.123 warn  web access.log  "GET / HTTP/1.1" 502  took=1.5
//
// What was logged is foreign: nothing in it reaches a terminal that would do something there (ECMA-48 controls, changes of
// direction), neither in names nor in values. Escape sequences go, other controls are shown as \x07 or \u202e.
//
// Left out: cutting and wrapping of lines, which terminals do, and JSON (package jsonline).
package show

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/internal/terminal"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/frame"
	"cloud4.internal/hub/loghub/internal/jsonline"
	"cloud4.internal/hub/loghub/internal/parse"
)

// Pretty writes events in columns: time, level, who and where, the message, and what else there is. Times of today have no
// date. It is used by one goroutine.
type Pretty struct {
	Term terminal.Terminal
	All  bool           // every attribute, also what all events of a container have and what the message says already
	Loc  *time.Location // of the times shown
	Now  time.Time      // decides what is today

	buf []byte
}

// levelColours follow healthhub's: what is not well stands out.
var levelColours = map[string]terminal.Colour{
	"trace": terminal.Dim, "debug": terminal.Dim, "info": terminal.Green, "warn": terminal.Yellow, "error": terminal.Red, "fatal": terminal.Red,
}

const (
	levelWidth = 5
	clock      = "15:04:05.000"
	indent     = "    " // of what follows the first line
)

// Append appends the lines of an event.
func (p *Pretty) Append(dst []byte, r *otlp.Record) []byte {
	dst = p.time(dst, r.Time)
	level := parse.Level(r.Severity)
	word := cmp.Or(level, "-")
	dst = append(dst, p.Term.Paint(levelColours[level], word)...)
	dst = append(dst, "      "[:levelWidth+1-len(word)]...)
	if who := where(r); len(who) > 0 {
		dst = append(Clean(dst, who), "  "...)
	}
	message := text(r.Body)
	lines := 0
	for line := range bytes.SplitSeq(message, []byte{'\n'}) {
		if lines++; lines > 1 {
			dst = append(append(dst, '\n'), indent...)
		}
		dst = Clean(dst, line)
	}
	if p.buf = p.rest(p.buf[:0], r, message); len(p.buf) > 0 {
		if lines > 1 {
			dst = append(append(dst, '\n'), indent...)
		} else {
			dst = append(dst, "  "...)
		}
		dst = append(dst, p.Term.Paint(terminal.Dim, string(p.buf))...)
	}
	return append(dst, '\n')
}

func (p *Pretty) time(dst []byte, nanos uint64) []byte {
	if nanos == 0 {
		return append(append(dst, '-'), strings.Repeat(" ", len(clock))...)
	}
	at := time.Unix(0, int64(nanos)).In(p.Loc)
	if y, m, d := at.Date(); y != p.Now.Year() || m != p.Now.Month() || d != p.Now.Day() {
		dst = append(at.AppendFormat(dst, time.DateOnly), ' ')
	}
	return append(at.AppendFormat(dst, clock), ' ')
}

// where is the service and the stream, the file, or the program that wrote to the syslog socket; what is not known is left out.
func where(r *otlp.Record) []byte {
	var out []byte
	for i := range r.Attributes {
		switch kv := &r.Attributes[i]; kv.Key {
		case attrService:
			out = append(append([]byte{}, kv.Value.Bytes...), out...)
		case event.AttrStream, event.AttrPipe, attrApp:
			out = append(append(out, ' '), kv.Value.Bytes...)
		case event.AttrPath:
			out = append(append(out, ' '), path.Base(string(kv.Value.Bytes))...)
		}
	}
	return bytes.TrimSpace(out)
}

const (
	attrService = "service.name"
	attrApp     = "syslog.appname"
)

// common says whether nearly every event has an attribute that says little about it, or a column of its own.
func common(key string) bool {
	switch key {
	case event.AttrUID, event.AttrStream, event.AttrPath, event.AttrFiles, event.AttrPipe, event.AttrLines, attrService, attrApp,
		"service.namespace", "service.instance.id", "host.name", "container.id", "cloud4.peer", "severity_text", "observed_time":
		return true
	}
	return false
}

// rest appends what the columns before do not say, as logfmt.
func (p *Pretty) rest(dst []byte, r *otlp.Record, message []byte) []byte {
	EachField(r, func(key string, value []byte) {
		if key == "message" || !p.All && (common(key) || said(message, value)) {
			return
		}
		dst = pair(dst, key, value)
	})
	return dst
}

// said reports whether a value stands in the message as a word or words of its own.
func said(message, value []byte) bool {
	for from := 0; len(value) > 0; {
		i := bytes.Index(message[from:], value)
		if i < 0 {
			return false
		}
		begin, end := from+i, from+i+len(value)
		if (begin == 0 || !wordy(message[begin-1])) && (end == len(message) || !wordy(message[end])) {
			return true
		}
		from = begin + 1
	}
	return false
}

func wordy(c byte) bool {
	return c >= utf8.RuneSelf || c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// EachField gives what an event has besides time and level, as text and in the order of its JSON line.
func EachField(r *otlp.Record, each func(key string, value []byte)) {
	field := func(key, value string) {
		if value != "" {
			each(key, []byte(value))
		}
	}
	each("message", text(r.Body))
	if !strings.EqualFold(r.SeverityText, parse.Level(r.Severity)) {
		field("severity_text", r.SeverityText)
	}
	if r.Observed != r.Time && r.Observed != 0 {
		field("observed_time", rfc3339(r.Observed))
	}
	field("trace_id", hex.EncodeToString(r.TraceID))
	field("span_id", hex.EncodeToString(r.SpanID))
	field("event_name", r.EventName)
	for _, kv := range r.Attributes {
		each(kv.Key, text(kv.Value))
	}
	if r.Dropped > 0 {
		each("dropped_attributes", strconv.AppendUint(nil, uint64(r.Dropped), 10))
	}
}

func rfc3339(nanos uint64) string { return time.Unix(0, int64(nanos)).UTC().Format(time.RFC3339Nano) }

// AppendLogfmt appends an event as a line of key=value pairs, https://brandur.org/logfmt: a value stands in quotes where it
// needs them, escaped as in JSON.
func AppendLogfmt(dst []byte, r *otlp.Record) []byte {
	from := len(dst)
	if r.Time != 0 {
		dst = pair(dst, "time", []byte(rfc3339(r.Time)))
	}
	if r.Severity != 0 {
		dst = pair(dst, "level", []byte(parse.Level(r.Severity)))
	}
	EachField(r, func(key string, value []byte) { dst = pair(dst, key, value) })
	return append(append(dst[:from], bytes.TrimLeft(dst[from:], " ")...), '\n')
}

// text is a value as people read it.
func text(v otlp.Value) []byte {
	switch v.Kind {
	case otlp.KindString:
		return v.Bytes
	case otlp.KindEmpty:
		return nil
	}
	return jsonline.AppendValue(nil, v)
}

// pair appends " key=value".
func pair(dst []byte, key string, value []byte) []byte {
	if len(dst) > 0 {
		dst = append(dst, ' ')
	}
	for _, r := range key {
		if r <= ' ' || r == '=' || r == '"' || r == utf8.RuneError || jsonline.Steers(r) {
			r = '_'
		}
		dst = utf8.AppendRune(dst, r)
	}
	dst = append(dst, '=')
	if len(value) > 0 && bytes.IndexFunc(value, func(r rune) bool {
		return r <= ' ' || r == '=' || r == '"' || r == '\\' || r == utf8.RuneError || jsonline.Steers(r)
	}) < 0 {
		return append(dst, value...)
	}
	return jsonline.AppendValue(dst, otlp.Text(value))
}

// Clean appends a text without what a terminal would obey. A tab stays.
func Clean(dst, line []byte) []byte {
	line, _, _ = frame.Text(line, nil)
	for i := 0; i < len(line); {
		r, n := utf8.DecodeRune(line[i:])
		switch {
		case r == '\t' || !jsonline.Steers(r):
			dst = append(dst, line[i:i+n]...)
		case r < 0x100:
			dst = append(append(dst, `\x`...), hexDigits[r>>4], hexDigits[r&15])
		default:
			dst = append(append(dst, `\u`...), strconv.FormatInt(int64(r)+0x10000, 16)[1:]...)
		}
		i += n
	}
	return dst
}

const hexDigits = "0123456789abcdef"
