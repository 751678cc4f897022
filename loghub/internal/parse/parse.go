// SPDX-License-Identifier: AGPL-3.0-or-later

// Package parse finds out what a line says: when, how bad, and which attributes.
//
// Formats, told apart by their first bytes, without regular expressions: one JSON
// object (the keys of zerolog, slog, zap, logrus, pino, structlog), nginx combined
// access (ngx_http_log_module), nginx error, Redis, and text, in which a time at
// the beginning and a level word near it are found. Attribute names are those of
// the OpenTelemetry semantic conventions where there is one:
//
//	access  client.address user.name http.request.method url.path url.query
//	        network.protocol.version http.response.status_code
//	        http.response.body.size http.request.header.referer user_agent.original
//	nginx   process.pid thread.id nginx.connection
//	redis   process.pid redis.role
//	JSON    the object's own keys
//
// The body is the message where the format has one, else the whole line. A key
// that would pass for a field of ours (time, level, service.name, log.record.uid,
// …) becomes app.<key>. A time without a zone is read in the Parser's location.
//
// Limits: 128 attributes, values nested 8 deep; what is beyond is counted, or
// kept as JSON text. Left out: joining lines, and every other format, which stays
// text.
package parse

import (
	"regexp"
	"time"

	"cloud4.internal/hub/internal/otlp"
)

// Limits of one line.
const (
	maxAttributes = 128
	maxDepth      = 8
	maxValues     = 1024 // within attributes, all together
	maxKeys       = 1024 // distinct keys remembered per parser
)

// Options say how the lines of one source are read.
type Options struct {
	Loc     *time.Location // of times without zone; nil: local
	Format  string         // a name of Formats; "" and "auto": what the lines look like
	Pattern *regexp.Regexp // with named groups, tried before any format; nil: none
}

// Parser reads the lines of one source. It is used by one goroutine.
type Parser struct {
	loc   *time.Location
	keys  map[string]string // key → itself, so that a known key costs no allocation
	arena []byte            // unescaped strings of the current line
	day   dayCache
}

// New returns a parser.
func New(o Options) *Parser {
	if o.Loc == nil {
		o.Loc = time.Local
	}
	return &Parser{loc: o.Loc, keys: make(map[string]string)}
}

// Parse fills in time, severity, body, attributes and trace of rec, whose
// attribute slice it reuses. What the line does not say is left zero. rec refers
// to line and is valid until the next call.
func (p *Parser) Parse(line []byte, rec *otlp.Record) {
	attrs := rec.Attributes[:0]
	*rec = otlp.Record{Attributes: attrs, Encoded: rec.Encoded, Observed: rec.Observed}
	p.arena = p.arena[:0]
	for _, f := range formats {
		if f.read(p, line, rec) {
			return
		}
		clearRecord(rec)
	}
}

// clearRecord undoes what a parser wrote that then gave up.
func clearRecord(rec *otlp.Record) {
	*rec = otlp.Record{Attributes: rec.Attributes[:0], Encoded: rec.Encoded, Observed: rec.Observed}
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
	rec.Attributes = append(rec.Attributes, otlp.KeyValue{Key: key, Value: v})
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
	if len(p.keys) < maxKeys {
		p.keys[s] = s
	}
	return s
}
