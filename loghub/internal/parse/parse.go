// SPDX-License-Identifier: AGPL-3.0-or-later

// Package parse finds out what a line says: when, how bad, and which attributes.
//
// A Parser reads the lines of one source, without regular expressions but the user's own. formats (format.go) is the one table of
// what it knows, from which docs/formats.md is made; testdata is a corpus of lines as programs write them, and their events.
//
//	line ─ pattern of the user ─┬─ the format that took the last line that began like this one ─┬─ text
//	                            └─ the formats that a line can have that begins so (shape) ─────┘
//
// What a line becomes does not depend on the lines before it: a line is of one format at most, and what a parser remembers (the
// last format of each shape, keys, zone offsets) makes it faster only. So a source may mix formats; Format names the one that most
// of its last lines had. A format that the settings fix is the only one besides text.
//
// The body is the message where the format has one, else the whole line; lines joined to the first follow it as they are.
// Attribute names are those of the OpenTelemetry semantic conventions where there is one. A key that would pass for a field of ours
// (time, level, service.name, log.record.uid, …) becomes app.<key>, as does the second of two of one name, so nothing is lost
// silently: what has no room is counted, and the line then is in log.record.original.
//
// A time without a zone is read in the Parser's location, one without a year is the last such day; one that cannot be the event's
// (more than 48 hours ahead of the present, or before 2000) is app.time. Ids of traces are taken from keys and from words, see
// trace.go.
//
// Limits: 128 attributes, values nested 8 deep and 1,024 in all, which are JSON text beyond that. Nothing is allocated in steady
// state; what one large line took is given back. A reader that panics costs its line the reading, see Mistakes.
//
// Left out: joining lines (package join), masking, repairing UTF-8 (package frame).
package parse

import (
	"sync/atomic"
	"time"

	"cloud4.internal/hub/internal/otlp"
)

// Limits of one line.
const (
	maxAttributes = 128
	maxDepth      = 8
	maxValues     = 1024 // within attributes, all together
	maxKeys       = 512  // distinct keys remembered per parser
	maxKey        = 128  // bytes of the longest that is
)

// Options say how the lines of one source are read.
type Options struct {
	Loc     *time.Location // of times without zone; nil: local
	Format  string         // a name of Formats; "" and "auto": what the lines look like
	Pattern *Pattern       // tried before any format; nil: none
}

// Parser reads the lines of one source. It is used by one goroutine; Format and Misfits may be called by any.
type Parser struct {
	loc      *time.Location
	fixed    *format           // the only one, besides text; nil: any
	pattern  *format           // the user's own, tried first; nil: none
	keys     map[string]string // text → itself, so that a known key or level costs no allocation
	known    map[string]*key   // keys of JSON and logfmt by themselves
	order    []*key            // those of the last line
	day      dayCache
	detect   detection
	misfits  atomic.Int64
	mistakes atomic.Int64

	// Of the current line:
	below   []byte // the lines that are joined to it; nil: the body has them
	now     uint64 // when it was read, nanoseconds since 1970
	memo    stampMemo
	console consoleMemo
	today   today
	m       members
	value   otlp.Value // of the member that is read
	ids     ids
	arena   []byte // unescaped strings
	// Lists and objects, and those that are not read to their ends yet.
	valueArena, valueStack []otlp.Value
	pairArena, pairStack   []otlp.KeyValue
}

// New returns a parser.
func New(o Options) *Parser {
	if o.Loc == nil {
		o.Loc = time.Local
	}
	p := &Parser{loc: o.Loc, keys: make(map[string]string), known: make(map[string]*key)}
	for _, f := range formats {
		if f.name == o.Format {
			p.fixed = f
		}
	}
	if o.Pattern != nil {
		p.pattern = &format{name: "pattern", id: len(formats), read: func(p *Parser, line []byte, rec *otlp.Record) bool {
			return o.Pattern.read(p, line, rec)
		}}
	}
	return p
}

// Parse fills in time, severity, body, attributes and trace of rec, whose
// attribute slice it reuses. What the text does not say is left zero. rec refers
// to text and is valid until the next call. rec.Observed, if set, is the present
// by which a time is judged.
//
// Of several lines, joined by newlines, the first is read; the rest goes to the
// end of the body as it is.
func (p *Parser) Parse(text []byte, rec *otlp.Record) {
	p.now = rec.Observed
	p.reuse()
	clearRecord(rec)
	line, below, more := cutByte(text, '\n')
	p.below, p.memo.asked, p.console.asked = below, false, false
	p.readSafely(line, below, rec)
	if more && p.below != nil {
		p.extend(rec, text, len(line))
	}
	p.judgeTime(rec)
	if rec.Dropped > 0 && len(rec.Body.Bytes) < len(text) { // nothing is lost: the line says it all
		rec.Attributes = append(rec.Attributes, otlp.KeyValue{Key: original, Value: otlp.Text(line)})
	}
}

// original is the semantic convention's attribute of a line whose event does not say everything.
const original = "log.record.original"

// readSafely reads one line. A mistake of ours that ends in a panic costs the line its reading, not the container its logs: a
// line that ends loghub would be read again at its next start, and end it again.
func (p *Parser) readSafely(line, below []byte, rec *otlp.Record) {
	defer func() {
		if r := recover(); r != nil {
			p.mistakes.Add(1)
			clearRecord(rec)
			rec.Body, p.below = otlp.Text(line), below
		}
	}()
	p.read(line, rec)
}

// What is kept of the current line's memory for the next, by number of elements: what one large line took is given back.
const (
	keptBytes  = 16 << 10
	keptValues = 256
)

func (p *Parser) reuse() {
	p.arena = emptied(p.arena, keptBytes)
	p.valueArena, p.valueStack = emptied(p.valueArena, keptValues), emptied(p.valueStack, keptValues)
	p.pairArena, p.pairStack = emptied(p.pairArena, keptValues), emptied(p.pairStack, keptValues)
}

func emptied[T any](s []T, most int) []T {
	if cap(s) > most {
		return nil
	}
	return s[:0]
}

// read reads one line.
func (p *Parser) read(line []byte, rec *otlp.Record) {
	if p.pattern != nil && p.try(p.pattern, line, rec) {
		return
	}
	if p.fixed != nil {
		if p.try(p.fixed, line, rec) {
			return
		}
		p.misfits.Add(1)
	} else {
		s := shapeOf(line)
		last := p.detect.last[s]
		if last != nil && p.try(last, line, rec) {
			return
		}
		for _, f := range byShape[s] {
			if f != last && p.try(f, line, rec) {
				p.detect.last[s] = f
				return
			}
		}
	}
	p.try(fallback(), line, rec)
}

func (p *Parser) try(f *format, line []byte, rec *otlp.Record) bool {
	if !f.read(p, line, rec) {
		clearRecord(rec)
		return false
	}
	if f.traces && rec.TraceID == nil {
		p.findTrace(line[p.memo.end():], rec)
	}
	p.detect.vote(f)
	return true
}

// extend puts what follows the first line of text to the body.
func (p *Parser) extend(rec *otlp.Record, text []byte, first int) {
	if n := len(rec.Body.Bytes); n == first && n > 0 && &rec.Body.Bytes[0] == &text[0] {
		rec.Body.Bytes = text
		return
	}
	from := len(p.arena)
	p.arena = append(append(p.arena, rec.Body.Bytes...), text[first:]...)
	rec.Body = otlp.Text(p.arena[from:])
}

// Format names what most of the last lines were written in: one of Formats, "pattern", or "" before the first line.
func (p *Parser) Format() string {
	if f := p.detect.lead.Load(); f != nil {
		return f.name
	}
	return ""
}

// Misfits counts the lines that were not of the format the settings fix, and so were read as text.
func (p *Parser) Misfits() int64 { return p.misfits.Load() }

// Mistakes counts the lines that a mistake of this package kept from being read: they are text, and there should be none.
func (p *Parser) Mistakes() int64 { return p.mistakes.Load() }

// clearRecord undoes what a parser wrote that then gave up. Most give up before they write, and clearing costs more than they did.
func clearRecord(rec *otlp.Record) {
	rec.Time = 0 // what several formats looked at in vain
	if rec.Severity != 0 || len(rec.Attributes) > 0 || rec.Body.Kind != otlp.KindEmpty || rec.SeverityText != "" ||
		rec.TraceID != nil || rec.SpanID != nil || rec.Flags != 0 || rec.Dropped != 0 || rec.EventName != "" {
		*rec = otlp.Record{Attributes: rec.Attributes[:0], Encoded: rec.Encoded, Observed: rec.Observed}
	}
}

// add appends an attribute under a name that collides with nothing.
func (p *Parser) add(rec *otlp.Record, key string, v otlp.Value) {
	if reserved(key) || has(rec, key) {
		key = p.intern([]byte("app." + key))
		if has(rec, key) {
			rec.Dropped++
			return
		}
	}
	if len(rec.Attributes) >= maxAttributes {
		rec.Dropped++
		return
	}
	attach(rec, key, &v)
}

// attach appends an attribute. It is written where it will stand: a value is large, and mostly but text or a number.
func attach(rec *otlp.Record, key string, v *otlp.Value) {
	n := len(rec.Attributes)
	if n == cap(rec.Attributes) {
		rec.Attributes = append(rec.Attributes, otlp.KeyValue{Key: key, Value: *v})
		return
	}
	rec.Attributes = rec.Attributes[:n+1]
	kv := &rec.Attributes[n]
	kv.Key = key
	if v.Array != nil || v.Map != nil || kv.Value.Array != nil || kv.Value.Map != nil {
		kv.Value = *v
		return
	}
	kv.Value.Kind, kv.Value.Bytes, kv.Value.Num = v.Kind, v.Bytes, v.Num
}

func has(rec *otlp.Record, key string) bool {
	for i := range rec.Attributes {
		if rec.Attributes[i].Key == key {
			return true
		}
	}
	return false
}

// intern returns b as a string, without an allocation for keys seen before.
func (p *Parser) intern(b []byte) string {
	if s, ok := p.keys[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(b) <= maxKey {
		if len(p.keys) >= maxKeys {
			clear(p.keys) // keys that are ids would leave no room for those that come again
		}
		p.keys[s] = s
	}
	return s
}
