// SPDX-License-Identifier: AGPL-3.0-or-later

package jsonline

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/parse"
)

// AttrDeadError is the attribute that a dead letter gets: why the receiver refused it.
const AttrDeadError = "hub.dead.error"

// Severity is the first number of one of the six level words; 0 for any other.
func Severity(word []byte) uint8 {
	switch string(word) {
	case "trace":
		return parse.Trace
	case "debug":
		return parse.Debug
	case "info":
		return parse.Info
	case "warn":
		return parse.Warn
	case "error":
		return parse.Error
	case "fatal":
		return parse.Fatal
	}
	return 0
}

// Is says whether a line begins as Append writes them: time, level and message in this order, at most the message required. A
// line that any other program writes so means the same.
func Is(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte(`{`))
	if after, with := bytes.CutPrefix(rest, []byte(`"time":"`)); with {
		end := bytes.IndexByte(after, '"')
		if end < len(time.DateTime) || end > len(time.RFC3339Nano) || !bytes.HasPrefix(after[end:], []byte(`",`)) {
			return false
		}
		rest = after[end+len(`",`):]
	}
	if after, with := bytes.CutPrefix(rest, []byte(`"level":"`)); with {
		end := bytes.IndexByte(after, '"')
		if end < 0 || Severity(after[:end]) == 0 || !bytes.HasPrefix(after[end:], []byte(`",`)) {
			return false
		}
		rest = after[end+len(`",`):]
	}
	return ok && bytes.HasPrefix(rest, []byte(`"message":`))
}

// IsDeadLetter says whether a line begins as one of dead.jsonl (package sink).
func IsDeadLetter(line []byte) bool {
	return bytes.HasPrefix(line, []byte(`{"error":`)) && bytes.Contains(line, []byte(`,"record":"`))
}

// Reader reads what Append wrote. It is used by one goroutine.
type Reader struct {
	objects *parse.Parser
	keys    map[string]string // key → itself
	letter  []byte            // of a dead letter
}

// maxKeys bounds what a Reader remembers of the names it saw.
const maxKeys = 4096

// NewReader returns a Reader.
func NewReader() *Reader {
	return &Reader{objects: parse.New(parse.Options{Loc: time.UTC}), keys: make(map[string]string)}
}

// Read makes the record of a line. Attributes of the resource stand among its own. The severity is the one of
// severity_text if that is of the line's level (CRIT), else the level's first; the flags are lost. The record refers to line, and is valid until the next call.
func (r *Reader) Read(line []byte, rec *otlp.Record) error {
	*rec = otlp.Record{Attributes: rec.Attributes[:0]}
	if !r.objects.Object(line, func(key []byte, v otlp.Value) { r.member(rec, key, v) }) {
		return fmt.Errorf("no JSON object: %.60q", line)
	}
	return nil
}

func (r *Reader) member(rec *otlp.Record, key []byte, v otlp.Value) {
	text := v.Kind == otlp.KindString
	switch string(key) {
	case "time":
		if nanos, ok := nanoseconds(v); ok {
			rec.Time = nanos
			return
		}
	case "observed_time":
		if nanos, ok := nanoseconds(v); ok {
			rec.Observed = nanos
			return
		}
	case "level":
		if rec.Severity = Severity(v.Bytes); rec.Severity != 0 {
			return
		}
	case "message":
		rec.Body = v
		return
	case "severity_text":
		if text {
			rec.SeverityText = r.intern(v.Bytes)
			if n := parse.Severity(v.Bytes); parse.Level(n) == parse.Level(rec.Severity) {
				rec.Severity = n
			}
			return
		}
	case "event_name":
		if text {
			rec.EventName = r.intern(v.Bytes)
			return
		}
	case "trace_id":
		if id, err := hex.DecodeString(string(v.Bytes)); text && err == nil {
			rec.TraceID = id
			return
		}
	case "span_id":
		if id, err := hex.DecodeString(string(v.Bytes)); text && err == nil {
			rec.SpanID = id
			return
		}
	case "dropped_attributes":
		if v.Kind == otlp.KindInt {
			rec.Dropped = uint32(v.Int())
			return
		}
	}
	rec.Attributes = append(rec.Attributes, otlp.KeyValue{Key: r.intern(key), Value: v})
}

func nanoseconds(v otlp.Value) (n uint64, ok bool) {
	if v.Kind != otlp.KindString {
		return 0, false
	}
	at, err := time.Parse(time.RFC3339, string(v.Bytes))
	if err != nil || at.Year() < 1970 || at.Year() > 2261 {
		return 0, false
	}
	return uint64(at.UnixNano()), true
}

func (r *Reader) intern(b []byte) string {
	if s, ok := r.keys[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(r.keys) < maxKeys {
		r.keys[s] = s
	}
	return s
}

// ReadDeadLetter makes the record that a dead letter holds, with the reason as an attribute.
func (r *Reader) ReadDeadLetter(line []byte, rec *otlp.Record) error {
	var reason, packed []byte
	ok := r.objects.Object(line, func(key []byte, v otlp.Value) {
		switch {
		case v.Kind != otlp.KindString:
		case string(key) == "error":
			reason = bytes.Clone(v.Bytes)
		case string(key) == "record":
			packed = v.Bytes
		}
	})
	if !ok || packed == nil {
		return fmt.Errorf("no dead letter: %.60q", line)
	}
	var err error
	if r.letter, err = base64.StdEncoding.AppendDecode(r.letter[:0], packed); err != nil {
		return fmt.Errorf("a dead letter's record: %w", err)
	}
	*rec = otlp.Record{Attributes: rec.Attributes[:0]}
	if err := otlp.DecodeRecord(r.letter, rec); err != nil {
		return fmt.Errorf("a dead letter's record: %w", err)
	}
	rec.Attributes = append(rec.Attributes, otlp.KeyValue{Key: AttrDeadError, Value: otlp.Text(reason)})
	return nil
}
