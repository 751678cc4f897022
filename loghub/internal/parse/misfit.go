// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"

	"cloud4.internal/hub/internal/otlp"
)

// Misfit says why a line is not of a format or pattern.
type Misfit struct {
	Name string // of the format, or "pattern"
	At   int    // how many bytes of the line are as they should be; -1: that is not known
	Want string // what should stand there, in words; "": that is not known
}

// Misfits explains why the first line of a text is not of the pattern and the format that the options set; none if it is, or
// if they set none. It is for people: it takes its time.
func Misfits(o Options, text []byte) (all []Misfit) {
	p := New(o)
	line, below, _ := cutByte(text, '\n')
	is := func(f *format) bool {
		p.reuse()
		p.below, p.memo.asked, p.console.asked = below, false, false
		return f.read(p, line, &otlp.Record{})
	}
	if p.pattern != nil && !is(p.pattern) {
		at, want := o.Pattern.reach(line)
		all = append(all, Misfit{p.pattern.name, at, want})
	}
	if p.fixed != nil && p.fixed != fallback() && !is(p.fixed) {
		at, want := p.reach(p.fixed, line)
		all = append(all, Misfit{p.fixed.name, at, want})
	}
	return all
}

// reach says how far a line is of a format.
func (p *Parser) reach(f *format, line []byte) (at int, want string) {
	if f.begins != 0 && f.begins&begin(line) == 0 {
		return 0, f.begins.words()
	}
	if f.name == "json" {
		s := scan{p: p, b: line, i: 1}
		if s.members(func([]byte, otlp.Value) {}) {
			s.space()
			return s.i, "the end"
		}
		return s.i, "JSON"
	}
	at = -1
	for i := range layouts {
		l := &layouts[i]
		if l.format != f.name || l.begins&begin(line) == 0 {
			continue
		}
		if n, next := p.reachOf(l, line); n > at {
			at, want = n, next.words()
		}
	}
	return at, want
}

// reachOf finds the longest beginning of a layout that a line has, and the step behind it.
func (p *Parser) reachOf(l *layout, line []byte) (at int, next *step) {
	for n := len(l.steps) - 1; n >= 0; n-- {
		p.memo.asked = false
		p.reuse()
		part := layout{steps: append(append([]step{}, l.steps[:n]...), step{part: partMessage})}
		var rec otlp.Record
		if part.match(p, line, &rec) {
			return len(line) - len(rec.Body.Bytes), &l.steps[n]
		}
	}
	return 0, &l.steps[0]
}

// words says what a part of a layout is.
func (s *step) words() string {
	switch s.part {
	case partText:
		return strconv.Quote(s.text)
	case partBlanks:
		return "a blank"
	case partTime, partISOTime, partSQLTime, partDaytime:
		return "a date and time"
	case partClock, partKitchen:
		return "a time of day"
	case partLevel, partCapitals, partThree, partFour, partLetter:
		return "a level"
	case partNumber:
		return "a number"
	case partCaller:
		return "a file and line"
	case partName, partModule, partWord:
		return "a name"
	case partUntil, partTrace:
		return "something and " + strconv.Quote(string(s.stop))
	}
	return "the end"
}

// words says how lines may begin.
func (b shape) words() string {
	names := map[shape]string{
		brace: `"{"`, angle: `"<"`, bracket: `"["`, isoDate: "a date like 2026-11-21", slashDate: "a date like 2026/11/21",
		digit: "a digit", month: "a month like Nov", word: "a letter", other: "another character",
	}
	var all []string
	for s := range shapes {
		if b&(1<<s) != 0 {
			all = append(all, names[1<<s])
		}
	}
	return strings.Join(all, " or ")
}

// reach says how far a line is as the pattern wants it: the longest beginning of the expression that matches.
func (pt *Pattern) reach(line []byte) (at int, want string) {
	tree, err := syntax.Parse(pt.re.String(), syntax.Perl)
	if err != nil || tree.Op != syntax.OpConcat {
		return -1, ""
	}
	parts := pieces(tree.Sub)
	for n := len(parts) - 1; n > 0; n-- {
		re, err := regexp.Compile((&syntax.Regexp{Op: syntax.OpConcat, Sub: parts[:n]}).String())
		if err != nil {
			return -1, ""
		}
		if at := re.FindIndex(line); at != nil {
			return at[1], described(parts[n])
		}
	}
	return 0, described(parts[0])
}

func described(part *syntax.Regexp) string {
	if part.Op == syntax.OpLiteral {
		return strconv.Quote(string(part.Rune))
	}
	return "what matches " + part.String()
}

// pieces parts literal texts into their characters.
func pieces(parts []*syntax.Regexp) (out []*syntax.Regexp) {
	for _, part := range parts {
		if part.Op != syntax.OpLiteral {
			out = append(out, part)
			continue
		}
		for _, r := range part.Rune {
			out = append(out, &syntax.Regexp{Op: syntax.OpLiteral, Flags: part.Flags, Rune: []rune{r}})
		}
	}
	return out
}
