// SPDX-License-Identifier: AGPL-3.0-or-later

package where

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/jsonline"
)

// op is an operator.
type op uint8

const (
	opEqual op = iota
	opUnequal
	opLess
	opLessEqual
	opGreater
	opGreaterEqual
	opContains
	opLacks
	opMatch
)

var operators = map[string]op{
	"=": opEqual, "==": opEqual, "!=": opUnequal, "<": opLess, "<=": opLessEqual, ">": opGreater, ">=": opGreaterEqual,
	"~": opContains, "!~": opLacks, "=~": opMatch,
}

// holds says whether an order, -1, 0 or 1, is what a comparison asks for.
func (o op) holds(order int) bool {
	switch o {
	case opEqual:
		return order == 0
	case opUnequal:
		return order != 0
	case opLess:
		return order < 0
	case opLessEqual:
		return order <= 0
	case opGreater:
		return order > 0
	}
	return order >= 0
}

// negative operators hold where there is nothing.
func (o op) negative() bool { return o == opUnequal || o == opLacks }

// name is what a test is about.
type name struct {
	text string
	// key is how the name stands in a line, `"name":`; nil: a line does not tell.
	key []byte
	// last is the same of the name's last part, which may be within a map; nil: there is one part.
	last []byte
}

func newName(text string) name {
	n := name{text: text}
	plain := func(s string) bool {
		return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r > '~' }) < 0
	}
	if plain(text) {
		n.key = []byte(`"` + text + `":`)
		if i := strings.LastIndexByte(text, '.'); i >= 0 {
			n.last = []byte(`"` + text[i+1:] + `":`)
		}
	}
	return n
}

// find gives what an event has under the name. A field without a value is not there.
func (n name) find(r *otlp.Record) (otlp.Value, bool) {
	text := func(s string) (otlp.Value, bool) { return otlp.String(s), s != "" }
	switch n.text {
	case "message":
		return r.Body, r.Body.Kind != otlp.KindEmpty
	case "time":
		return otlp.Int(int64(r.Time)), r.Time != 0
	case "observed_time":
		return otlp.Int(int64(r.Observed)), r.Observed != 0
	case "severity_text":
		return text(r.SeverityText)
	case "trace_id":
		return text(hex.EncodeToString(r.TraceID))
	case "span_id":
		return text(hex.EncodeToString(r.SpanID))
	case "event_name":
		return text(r.EventName)
	}
	return lookUp(r.Attributes, n.text)
}

// lookUp finds a name, or what stands in a map under the rest of a name.
func lookUp(attrs []otlp.KeyValue, name string) (otlp.Value, bool) {
	for i := range attrs {
		if attrs[i].Key == name {
			return attrs[i].Value, true
		}
	}
	for i := range attrs {
		if attrs[i].Value.Kind != otlp.KindMap {
			continue
		}
		if below, ok := strings.CutPrefix(name, attrs[i].Key); ok && strings.HasPrefix(below, ".") {
			if v, ok := lookUp(attrs[i].Value.Map, below[1:]); ok {
				return v, true
			}
		}
	}
	return otlp.Value{}, false
}

// maybe says whether a line may have something under the name.
func (n name) maybe(line []byte) bool {
	return n.key == nil || bytes.Contains(line, n.key) || n.last != nil && bytes.Contains(line, n.last)
}

// valueTest compares with a text or a number.
type valueTest struct {
	name     name
	op       op
	text     []byte
	number   float64
	isNumber bool
	re       *regexp.Regexp
	needle   []byte // stands in the line as it is if the test holds; empty: nothing does for sure
}

// needleOf is the longest part of a text that every writer of JSON leaves as it is.
func needleOf(text string) (longest []byte) {
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool {
		return r != ' ' && r != '.' && r != '-' && r != '_' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
	}) {
		if len(part) > len(longest) {
			longest = []byte(part)
		}
	}
	if _, numeric := number(text); numeric { // 1e3 is a thousand
		return nil
	}
	return longest
}

func (n valueTest) match(r *otlp.Record) bool {
	v, ok := n.name.find(r)
	if !ok {
		return n.op.negative()
	}
	switch {
	case n.isNumber && v.Kind == otlp.KindInt:
		return n.op.holds(cmp.Compare(float64(v.Int()), n.number))
	case n.isNumber && v.Kind == otlp.KindDouble:
		return n.op.holds(cmp.Compare(v.Double(), n.number))
	case v.Kind == otlp.KindString:
		return n.textMatches(v.Bytes)
	case v.Kind == otlp.KindInt:
		return n.textMatches(strconv.AppendInt(nil, v.Int(), 10))
	}
	return n.textMatches(jsonline.AppendValue(nil, v))
}

func (n valueTest) textMatches(text []byte) bool {
	switch n.op {
	case opEqual:
		return bytes.Equal(text, n.text)
	case opUnequal:
		return !bytes.Equal(text, n.text)
	case opContains:
		return bytes.Contains(text, n.text)
	case opLacks:
		return !bytes.Contains(text, n.text)
	case opMatch:
		return n.re.Match(text)
	}
	f, ok := number(text)
	return ok && n.op.holds(cmp.Compare(f, n.number))
}

// maybe looks at what stands behind the name wherever it stands in the line. A quote within a text is escaped, so that no text
// looks like a name.
func (n valueTest) maybe(line []byte) bool {
	switch {
	case n.op.negative() || n.name.key == nil:
		return true
	case !bytes.Contains(line, n.needle):
		return false
	}
	if n.name.last != nil && bytes.Contains(line, n.name.last) {
		return true
	}
	for rest := line; ; {
		i := bytes.Index(rest, n.name.key)
		if i < 0 {
			return false
		}
		rest = rest[i+len(n.name.key):]
		if n.rawMatches(bytes.TrimLeft(rest, " ")) {
			return true
		}
	}
}

// rawMatches judges the value that raw begins with; true where that takes decoding.
func (n valueTest) rawMatches(raw []byte) bool {
	if len(raw) == 0 {
		return true
	}
	switch c := raw[0]; {
	case c == '"':
		i := bytes.IndexByte(raw[1:], '"')
		if i < 0 || bytes.IndexByte(raw[1:1+i], '\\') >= 0 {
			return true
		}
		return n.textMatches(raw[1 : 1+i])
	case n.isNumber && (c == '-' || c >= '0' && c <= '9'):
		i := bytes.IndexAny(raw, ",} ")
		if i < 0 {
			return true
		}
		f, ok := number(raw[:i])
		return !ok || n.op.holds(cmp.Compare(f, n.number))
	}
	return true
}

// severityTest asks for a severity from low to high.
type severityTest struct{ low, high uint8 }

func (n severityTest) match(r *otlp.Record) bool {
	return r.Severity != 0 && r.Severity >= n.low && r.Severity <= n.high
}

var levelKey = []byte(`"level":"`)

func (n severityTest) maybe(line []byte) bool {
	for rest := line; ; {
		i := bytes.Index(rest, levelKey)
		if i < 0 {
			return false
		}
		rest = rest[i+len(levelKey):]
		end := bytes.IndexByte(rest, '"')
		if end < 0 {
			return true
		}
		if s := jsonline.Severity(rest[:end]); s == 0 || s+levelWidth-1 >= n.low && s <= n.high { // severity_text may say more
			return true
		}
	}
}

// wholeSeconds is how a time of a line begins, in UTC. Such texts have the order of what they mean.
const wholeSeconds = "2006-01-02T15:04:05"

// timeTest compares the time of an event.
type timeTest struct {
	name  string
	op    op
	nanos int64
	text  []byte // as in a line, to the second
}

func (n timeTest) match(r *otlp.Record) bool {
	at := r.Time
	if n.name != "time" {
		at = r.Observed
	}
	if at == 0 {
		return n.op.negative()
	}
	return n.op.holds(cmp.Compare(int64(at), n.nanos))
}

var timeKey = []byte(`{"time":"`)

func (n timeTest) maybe(line []byte) bool {
	text, ok := bytes.CutPrefix(line, timeKey)
	if n.name != "time" || !ok || len(text) <= len(wholeSeconds) || text[len(wholeSeconds)] != 'Z' && text[len(wholeSeconds)] != '.' {
		return true
	}
	order := bytes.Compare(text[:len(wholeSeconds)], n.text)
	return order == 0 || n.op.holds(order)
}
