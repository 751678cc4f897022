// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"

	"cloud4.internal/hub/internal/otlp"
)

// Pattern is a user's regular expression (RE2, package regexp/syntax) with named groups:
//
//	^(?P<time>\S+ \S+) <(?P<level>\w+)> \[(?P<thread__name>[^]]*)\] (?P<took_float>\S+)ms (?P<message>.*)$
//
// The groups time, level, message, trace_id, span_id and traceparent fill the event's fields; every other is an attribute of its
// name, in which two underscores stand for a point. Values are text, but of a group ending in _int or _float, which its attribute's
// name leaves out, a number. What cannot be read so (a time that is none) is kept as an attribute app.<name>. Without a group
// message, or with an empty one, the body is the line; with one, what stands in no group is left out. A group that is empty or took
// no part makes nothing.
type Pattern struct {
	re     *regexp.Regexp
	prefix []byte // stands in every line that matches
	begins bool   // prefix is the beginning
	groups []group
}

// group is one group of a pattern; the zero group is unnamed.
type group struct {
	name string // of the attribute
	role role
	kind otlp.Kind
}

// NewPattern compiles the text of a pattern. An error says what to change.
func NewPattern(text string) (*Pattern, error) {
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, patternError(err)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, patternError(err)
	}
	pt := &Pattern{re: re}
	if pt.groups, err = groupsOf(re); err != nil {
		return nil, err
	}
	if re.MatchString("") {
		return nil, errors.New("matches the empty text, so it would take every line: begin it with ^ and what all its lines begin with")
	}
	pt.prefix, pt.begins = literal(tree.Simplify())
	if !pt.begins {
		prefix, _ := re.LiteralPrefix()
		pt.prefix = []byte(prefix)
	}
	return pt, nil
}

// patternError words what package regexp says for who wrote the pattern.
func patternError(err error) error {
	if e, ok := errors.AsType[*syntax.Error](err); ok {
		if e.Code == syntax.ErrInvalidNamedCapture {
			return fmt.Errorf("group %s: names are letters, digits and _", e.Expr)
		}
		return fmt.Errorf("is no regular expression: %s: %s", e.Code, strconv.Quote(e.Expr))
	}
	return err
}

func groupsOf(re *regexp.Regexp) ([]group, error) {
	groups := make([]group, re.NumSubexp()+1)
	seen := map[string]string{} // attribute → group
	for i, text := range re.SubexpNames() {
		if text == "" {
			continue
		}
		g, err := newGroup(text)
		if err != nil {
			return nil, err
		}
		if other, ok := seen[g.name]; ok && other == text {
			return nil, fmt.Errorf("group %s stands twice", text)
		} else if ok {
			return nil, fmt.Errorf("groups %s and %s are both %s", other, text, g.name)
		}
		seen[g.name], groups[i] = text, g
	}
	if len(seen) == 0 {
		return nil, errors.New("has no named group, so nothing would be read: write (?P<name>…)")
	}
	return groups, nil
}

func newGroup(text string) (group, error) {
	switch text {
	case "time":
		return group{text, roleTime, otlp.KindString}, nil
	case "level":
		return group{text, roleLevel, otlp.KindString}, nil
	case "message":
		return group{text, roleMessage, otlp.KindString}, nil
	case "trace_id":
		return group{text, roleTraceID, otlp.KindString}, nil
	case "span_id":
		return group{text, roleSpanID, otlp.KindString}, nil
	case "traceparent":
		return group{text, roleParent, otlp.KindString}, nil
	}
	g := group{name: text, kind: otlp.KindString}
	if name, ok := strings.CutSuffix(text, "_int"); ok {
		g.name, g.kind = name, otlp.KindInt
	} else if name, ok := strings.CutSuffix(text, "_float"); ok {
		g.name, g.kind = name, otlp.KindDouble
	}
	g.name = strings.ReplaceAll(g.name, "__", ".")
	if g.name == "" || reserved(g.name) {
		return g, fmt.Errorf("group %s would be %s, which no line may say: name it otherwise", text, strconv.Quote(g.name))
	}
	return g, nil
}

// literal is the text that an anchored pattern begins with.
func literal(tree *syntax.Regexp) (prefix []byte, begins bool) {
	if tree.Op != syntax.OpConcat || tree.Sub[0].Op != syntax.OpBeginText {
		return nil, false
	}
	if first := tree.Sub[1]; first.Op == syntax.OpLiteral && first.Flags&syntax.FoldCase == 0 {
		return []byte(string(first.Rune)), true
	}
	return nil, true
}

// may says whether the line can match, without trying.
func (pt *Pattern) may(line []byte) bool {
	if pt.begins {
		return bytes.HasPrefix(line, pt.prefix)
	}
	return bytes.Contains(line, pt.prefix)
}

// read fills rec if the line matches.
func (pt *Pattern) read(p *Parser, line []byte, rec *otlp.Record) bool {
	if !pt.may(line) {
		return false
	}
	at := pt.re.FindSubmatchIndex(line)
	if at == nil {
		return false
	}
	rec.Body = otlp.Text(line)
	for i, g := range pt.groups {
		if g.name == "" || at[2*i] < 0 || at[2*i] == at[2*i+1] {
			continue
		}
		if value := line[at[2*i]:at[2*i+1]]; !g.fill(p, rec, value) {
			p.add(rec, g.name, g.value(value))
		}
	}
	return true
}

func (g group) fill(p *Parser, rec *otlp.Record, b []byte) bool {
	switch g.role {
	case roleTime:
		rec.Time = p.wholeTime(b)
		return rec.Time != 0
	case roleLevel:
		if rec.Severity = levelWord(b); rec.Severity != 0 {
			rec.SeverityText = p.intern(b)
		}
		return rec.Severity != 0
	case roleMessage:
		rec.Body = otlp.Text(b)
		return true
	case roleTraceID:
		return p.setTraceID(rec, b)
	case roleSpanID:
		return p.setSpanID(rec, b)
	case roleParent:
		return p.setParent(rec, b)
	}
	return false
}

// value is the number a group promises, or else the text.
func (g group) value(b []byte) otlp.Value {
	switch g.kind {
	case otlp.KindInt:
		if n, err := strconv.ParseInt(string(b), 10, 64); err == nil {
			return otlp.Int(n)
		}
	case otlp.KindDouble:
		if f, err := strconv.ParseFloat(string(b), 64); err == nil {
			return otlp.Double(f)
		}
	}
	return otlp.Text(b)
}
