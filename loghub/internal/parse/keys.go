// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"
	"strings"

	"cloud4.internal/hub/internal/otlp"
)

// role is what the value of a key is for.
type role uint8

const (
	roleNone role = iota
	roleTime
	roleLevel
	roleMessage
	roleTraceID
	roleSpanID
	roleFlags   // of the trace
	roleParent  // W3C traceparent
	roleLog     // ECS {"level": …}, or Docker's line
	roleTrace   // ECS {"id": …}
	roleSpan    // ECS {"id": …}
	roleRequest // Caddy
	roleLogger
	roleNextcloud // a key that only Nextcloud writes
	roleGELF      // a key that only GELF has
)

// key is what a parser remembers of a key of JSON and logfmt lines.
type key struct {
	text string // as the line has it
	name string // of the attribute: the key, or app.<key>
	// second is the name where the key stands twice; "" before it does.
	second string
	role   role
	rank   uint8 // of messages: the lowest is the body, others are attributes
	// plain says that JSON writes the key as it is.
	plain bool
}

// knownKeys are the keys that programs use for the fields of an event, in small letters and without - _ and dots.
var knownKeys = map[string]key{
	"time": {role: roleTime}, "ts": {role: roleTime}, "t": {role: roleTime}, "@t": {role: roleTime}, "timestamp": {role: roleTime},
	"@timestamp": {role: roleTime}, "datetime": {role: roleTime}, "asctime": {role: roleTime}, "instant": {role: roleTime},
	"timemillis": {role: roleTime}, "eventtime": {role: roleTime},

	"level": {role: roleLevel}, "lvl": {role: roleLevel}, "severity": {role: roleLevel}, "loglevel": {role: roleLevel},
	"levelname": {role: roleLevel}, "@level": {role: roleLevel}, "@l": {role: roleLevel}, "severitytext": {role: roleLevel},
	"errorseverity": {role: roleLevel}, "s": {role: roleLevel},

	"message": {role: roleMessage}, "@message": {role: roleMessage}, "msg": {role: roleMessage}, "@m": {role: roleMessage},
	"shortmessage": {role: roleGELF, rank: 2}, "@mt": {role: roleMessage, rank: 3}, "event": {role: roleMessage, rank: 4},

	"traceid": {role: roleTraceID}, "oteltraceid": {role: roleTraceID}, "ddtraceid": {role: roleTraceID}, "xb3traceid": {role: roleTraceID},
	"logginggoogleapiscom/trace": {role: roleTraceID},
	"spanid":                     {role: roleSpanID}, "otelspanid": {role: roleSpanID}, "xb3spanid": {role: roleSpanID},
	"logginggoogleapiscom/spanid": {role: roleSpanID},
	"traceflags":                  {role: roleFlags}, "oteltracesampled": {role: roleFlags}, "logginggoogleapiscom/tracesampled": {role: roleFlags},
	"traceparent": {role: roleParent},

	"log": {role: roleLog, rank: 5}, "trace": {role: roleTrace}, "span": {role: roleSpan}, "request": {role: roleRequest},
	"logger": {role: roleLogger}, "reqid": {role: roleNextcloud},
}

// unnamed is what an empty key becomes.
const unnamed = "app.unnamed"

func newKey(text string) *key {
	k := knownKeys[fold(text)]
	k.text, k.name, k.plain = text, text, !strings.ContainsAny(text, `"\\`)
	switch {
	case text == "":
		k.name = unnamed
	case reserved(text):
		k.name = "app." + text
	}
	return &k
}

// fold makes the spellings of one key the same: log.level, LogLevel, log_level.
func fold(text string) string {
	if len(text) > 64 || strings.HasPrefix(text, "_") {
		return text // too long to be known; GELF's own fields
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '-' || r == '_' || r == '.':
			return -1
		case r >= 'A' && r <= 'Z':
			return r | 0x20
		}
		return r
	}, text)
}

// key finds the key that stands at place i of its line. Lines of one program mostly have the same keys at the same places.
func (p *Parser) key(text []byte, i int) *key {
	if i < len(p.order) && p.order[i].text == string(text) {
		return p.order[i]
	}
	k, ok := p.known[string(text)]
	if !ok {
		k = newKey(string(text))
		if len(text) <= maxKey {
			if len(p.known) >= maxKeys {
				clear(p.known)
			}
			p.known[k.text] = k
		}
	}
	switch {
	case len(text) > maxKey:
	case i < len(p.order):
		p.order[i] = k
	case i == len(p.order) && i < maxAttributes:
		p.order = append(p.order, k)
	}
	return k
}

// expected takes the key that stood at place i in the last line, if it stands there again.
func (p *Parser) expected(s *scan, i int) *key {
	if i >= len(p.order) {
		return nil
	}
	k := p.order[i]
	rest, n := s.b[s.i:], len(k.text)
	if len(rest) < n+3 || rest[0] != '"' || string(rest[1:1+n]) != k.text || rest[n+1] != '"' || rest[n+2] != ':' || !k.plain {
		return nil
	}
	s.i += n + 3
	return k
}

// members collects what only the whole line decides.
type members struct {
	message otlp.Value
	said    *key  // whose value message is
	small   int64 // a level below ten, whose meaning depends on the program; -1: none
	level   *key  // whose value small is
	program role  // roleNextcloud or roleGELF
	caddy   bool  // a line of Caddy's access log
	mongo   bool  // the time is written as MongoDB writes it
}

// member takes one member of a line.
func (p *Parser) member(rec *otlp.Record, k *key, v *otlp.Value) {
	if k.role == roleNone && !p.m.caddy || !p.fill(rec, k, *v) {
		p.keep(rec, k, v)
	}
}

// pair takes a member that stands behind a message: of the fields only the trace can be meant.
func (p *Parser) pair(rec *otlp.Record, text []byte, v otlp.Value) {
	k := p.key(text, maxAttributes) // its place says nothing
	switch k.role {
	case roleTraceID, roleSpanID, roleFlags, roleParent:
		if p.fill(rec, k, v) {
			return
		}
	}
	p.keep(rec, k, &v)
}

// keep makes an attribute of a member.
func (p *Parser) keep(rec *otlp.Record, k *key, v *otlp.Value) {
	if len(rec.Attributes) >= maxAttributes {
		rec.Dropped++
		return
	}
	name := k.name
	if has(rec, name) {
		if k.second == "" {
			k.second = "app." + k.text
		}
		if name = k.second; has(rec, name) {
			rec.Dropped++
			return
		}
	}
	attach(rec, name, v)
}

// fill says whether the member became a field of the event, the first of each kind, and is no attribute then.
func (p *Parser) fill(rec *otlp.Record, k *key, v otlp.Value) bool {
	switch k.role {
	case roleTime:
		return rec.Time == 0 && p.setTime(rec, v)
	case roleLevel:
		return rec.Severity == 0 && (k.text != "s" || p.m.mongo) && p.setLevel(rec, k, v)
	case roleMessage, roleGELF:
		if k.role == roleGELF {
			p.m.program = roleGELF
		}
		return p.setMessage(rec, k, v)
	case roleTraceID:
		return p.traceMember(rec, k, v)
	case roleSpanID:
		return rec.SpanID == nil && v.Kind == otlp.KindString && p.setSpanID(rec, v.Bytes)
	case roleFlags:
		return rec.Flags == 0 && setFlags(rec, v)
	case roleParent:
		return v.Kind == otlp.KindString && p.setParent(rec, v.Bytes)
	case roleLog, roleTrace, roleSpan:
		return p.fillNested(rec, k, v)
	case roleLogger:
		p.m.caddy = v.Kind == otlp.KindString && bytes.HasPrefix(v.Bytes, []byte("http.log.access"))
		return false
	case roleNextcloud:
		p.m.program = roleNextcloud
		return false
	}
	return p.m.caddy && p.caddyMember(rec, k, v)
}

// setMessage takes the message that says most, and makes attributes of others.
func (p *Parser) setMessage(rec *otlp.Record, k *key, v otlp.Value) bool {
	if v.Kind != otlp.KindString || len(v.Bytes) == 0 || p.m.said != nil && k.rank >= p.m.said.rank {
		return false
	}
	if p.m.said != nil {
		p.keep(rec, p.m.said, &p.m.message)
	}
	p.m.said, p.m.message = k, v
	return true
}

// fillNested reads ECS where it is written as objects: the member that is a field of the event leaves its object, which is an
// attribute if anything remains.
func (p *Parser) fillNested(rec *otlp.Record, k *key, v otlp.Value) bool {
	if v.Kind == otlp.KindString {
		switch {
		case k.role == roleLog: // Docker's
			return p.setMessage(rec, k, otlp.Text(bytes.TrimSuffix(v.Bytes, []byte("\n"))))
		case k.role == roleTrace && len(v.Bytes) == traceDigits && rec.TraceID == nil:
			return p.setTraceID(rec, v.Bytes)
		}
	}
	if v.Kind != otlp.KindMap {
		return false
	}
	for i, kv := range v.Map {
		var taken bool
		switch {
		case k.role == roleLog && kv.Key == "level":
			taken = rec.Severity == 0 && p.setLevel(rec, k, kv.Value)
		case k.role == roleTrace && kv.Key == "id":
			taken = rec.TraceID == nil && kv.Value.Kind == otlp.KindString && p.setTraceID(rec, kv.Value.Bytes)
		case k.role == roleSpan && kv.Key == "id":
			taken = rec.SpanID == nil && kv.Value.Kind == otlp.KindString && p.setSpanID(rec, kv.Value.Bytes)
		}
		if !taken {
			continue
		}
		if v.Map = append(v.Map[:i], v.Map[i+1:]...); len(v.Map) > 0 {
			p.keep(rec, k, &v)
		}
		return true
	}
	return false
}

// complete ends a line of members.
func (p *Parser) complete(rec *otlp.Record, line []byte) {
	if p.m.level != nil {
		p.smallLevel(rec)
	}
	rec.Body = otlp.Text(line)
	if p.m.said != nil {
		rec.Body = p.m.message
	}
}
