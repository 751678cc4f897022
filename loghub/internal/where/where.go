// SPDX-License-Identifier: AGPL-3.0-or-later

// Package where is the filter language of loghub's commands: which events are wanted.
//
//	severity>=warn
//	service.name=web and http.response.status_code>=500
//	(message~timeout or message=~"conn.*refused") and not url.path=/healthz
//	time>=10m and trace_id
//
//	expression  = term { "or" term }
//	term        = factor { "and" factor }
//	factor      = "not" factor | "(" expression ")" | name [ operator value ]
//	operator    = "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" | "!~" | "=~"
//
// A name is an attribute, or one of message, severity (or level), time, observed_time, severity_text, trace_id, span_id and
// event_name; a name alone asks whether there is one. Of a map, name.key is what stands under the key. A value ends with a
// blank or a parenthesis, unless it stands in quotes: in "…" with \" \\ \n and \t, in '…' as it is.
//
//   - = and != compare as numbers where both are, else as text, byte by byte.
//   - < <= > >= want a number, a level or a time. What is no number is neither.
//   - ~ and !~ ask whether the text is part of it, =~ whether a regular expression (RE2) matches somewhere.
//   - Levels are trace debug info warn error fatal, and other programs' words for them in any case (WARNING, ERR, EMERG); each is
//     the whole span of its level. notice, crit, alert and panic are one number within info and error.
//   - Times are those of package moment: 10m (ago), 03:12, "2026-11-21 03:12", 2026-11-21T03:12:00Z.
//   - An event without the attribute is matched by != and !~ alone.
//
// Whoever reads many lines of JSON asks Maybe first, which looks at the line as it is: what it rules out needs no decoding.
//
// Left out: functions, arithmetic, comparisons of two attributes.
package where

import (
	"time"

	"cloud4.internal/hub/internal/otlp"
)

// Filter is a compiled expression. It is immutable.
type Filter struct{ root node }

// node is one part of an expression.
type node interface {
	match(r *otlp.Record) bool
	// maybe says false only if no event that this line (see package jsonline) can be matches.
	maybe(line []byte) bool
}

// Compile reads an expression. now is what times ago are counted from, in the zone of times without one. An error is an
// *Error.
func Compile(text string, now time.Time) (*Filter, error) {
	p := parser{lexer: lexer{text: text}, now: now}
	root, err := p.whole()
	if err != nil {
		return nil, err
	}
	return &Filter{root}, nil
}

// Match says whether an event is wanted.
func (f *Filter) Match(r *otlp.Record) bool { return f.root.match(r) }

// Maybe says false if the event of this JSON line, as package jsonline writes it, is not wanted for sure.
func (f *Filter) Maybe(line []byte) bool { return f.root.maybe(line) }

// Since narrows a filter to events from a time on. nil is a filter that wants all.
func Since(f *Filter, at time.Time) *Filter {
	since := timeTest{"time", opGreaterEqual, at.UnixNano(), []byte(at.UTC().Format(wholeSeconds))}
	if f == nil {
		return &Filter{since}
	}
	return &Filter{both{since, f.root}}
}

type both struct{ a, b node }

func (n both) match(r *otlp.Record) bool { return n.a.match(r) && n.b.match(r) }
func (n both) maybe(line []byte) bool    { return n.a.maybe(line) && n.b.maybe(line) }

type either struct{ a, b node }

func (n either) match(r *otlp.Record) bool { return n.a.match(r) || n.b.match(r) }
func (n either) maybe(line []byte) bool    { return n.a.maybe(line) || n.b.maybe(line) }

type not struct{ a node }

func (n not) match(r *otlp.Record) bool { return !n.a.match(r) }
func (n not) maybe([]byte) bool         { return true }

// exists asks whether there is such a thing.
type exists struct{ name name }

func (n exists) match(r *otlp.Record) bool {
	_, ok := n.name.find(r)
	return ok
}

func (n exists) maybe(line []byte) bool { return n.name.maybe(line) }
