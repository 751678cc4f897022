// SPDX-License-Identifier: AGPL-3.0-or-later

package where

import (
	"math"
	"regexp"
	"strconv"
	"time"

	"cloud4.internal/hub/internal/moment"
	"cloud4.internal/hub/loghub/internal/parse"
)

// maxDepth bounds parentheses and nots within one another.
const maxDepth = 64

// parser makes nodes of tokens, by recursive descent.
type parser struct {
	lexer
	now   time.Time
	tok   token // the next one
	depth int
}

func (p *parser) advance() *Error {
	tok, err := p.next()
	p.tok = tok
	return err
}

func (p *parser) whole() (node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	n, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.tok.kind != end {
		return nil, p.errorf(p.tok.at, "and, or, or the end has to stand here, not %s; a value with blanks or parentheses stands in quotes",
			p.tok.shown())
	}
	return n, nil
}

func (p *parser) expression() (node, *Error) {
	return p.chain("or", p.term, func(a, b node) node { return either{a, b} })
}

func (p *parser) term() (node, *Error) {
	return p.chain("and", p.factor, func(a, b node) node { return both{a, b} })
}

// chain reads parts with a keyword between them.
func (p *parser) chain(keyword string, part func() (node, *Error), join func(a, b node) node) (node, *Error) {
	n, err := part()
	for err == nil && p.tok.is(keyword) {
		if err = p.advance(); err != nil {
			break
		}
		var m node
		m, err = part()
		n = join(n, m)
	}
	return n, err
}

func (p *parser) factor() (node, *Error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.errorf(p.tok.at, "more than %d parentheses and nots within one another", maxDepth)
	}
	defer func() { p.depth-- }()
	tok := p.tok
	switch {
	case tok.is("not"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		n, err := p.factor()
		return not{n}, err
	case tok.kind == open:
		if err := p.advance(); err != nil {
			return nil, err
		}
		n, err := p.expression()
		if err != nil {
			return nil, err
		}
		if p.tok.kind != shut {
			return nil, p.errorf(p.tok.at, "a ) has to stand here, not %s", p.tok.shown())
		}
		return n, p.advance()
	case tok.is("and"), tok.is("or"), tok.kind != word && tok.kind != quoted, tok.text == "":
		return nil, p.errorf(tok.at, "the name of an attribute, or message, severity or time has to stand here, not %s", tok.shown())
	}
	return p.test()
}

// test reads a name and what is asked of it.
func (p *parser) test() (node, *Error) {
	tok := p.tok
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.tok.kind != operator && isSeverity(tok.text) {
		return severityTest{1, math.MaxUint8}, nil
	}
	if p.tok.kind != operator {
		return exists{newName(tok.text)}, nil
	}
	opTok := p.tok
	o, ok := operators[opTok.text]
	if !ok {
		return nil, p.errorf(opTok.at, "there is no operator %s: = != < <= > >= ~ !~ =~", opTok.text)
	}
	value, err := p.value()
	if err != nil {
		return nil, err
	}
	n, err := p.compare(tok, opTok, o, value)
	if err != nil {
		return nil, err
	}
	return n, p.advance()
}

// compare makes the node of a comparison.
func (p *parser) compare(what, opTok token, o op, value token) (node, *Error) {
	switch {
	case isSeverity(what.text):
		return p.severity(opTok, o, value)
	case what.text == "time" || what.text == "observed_time":
		return p.time(what.text, opTok, o, value)
	}
	n := valueTest{name: newName(what.text), op: o, text: []byte(value.text)}
	switch o {
	case opMatch:
		re, err := regexp.Compile(value.text)
		if err != nil {
			return nil, p.errorf(value.at, "%v", err)
		}
		n.re = re
	case opContains:
		n.needle = needleOf(value.text)
	case opLess, opLessEqual, opGreater, opGreaterEqual, opEqual, opUnequal:
		n.number, n.isNumber = number(value.text)
		if !n.isNumber && o != opEqual && o != opUnequal {
			return nil, p.errorf(value.at, "%s wants a number, not %s", opTok.text, value.shown())
		}
		if o == opEqual {
			n.needle = needleOf(value.text)
		}
	}
	return n, nil
}

func isSeverity(name string) bool { return name == "severity" || name == "level" }

// number reads a decimal number.
func number[T string | []byte](text T) (f float64, ok bool) {
	if len(text) == 0 || len(text) > 64 || text[0] != '-' && text[0] != '.' && (text[0] < '0' || text[0] > '9') {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(text), 64)
	return f, err == nil && !math.IsInf(f, 0)
}

// levelWidth is how many severity numbers a level has.
const levelWidth = 4

// span gives the severity numbers that a level stands for: all of the six levels, whatever a program calls them (WARNING), and
// one of those between them (NOTICE); zero if it is none.
func span(text string) (low, high uint8) {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		if n > parse.Fatal+levelWidth-1 {
			return 0, 0
		}
		return uint8(n), uint8(n)
	}
	low = parse.Severity([]byte(text))
	if low%levelWidth == parse.Trace {
		return low, low + levelWidth - 1
	}
	return low, low
}

// severity compares with the numbers of a word, or with one number.
func (p *parser) severity(opTok token, o op, value token) (node, *Error) {
	low, high := span(value.text)
	if low == 0 {
		return nil, p.errorf(value.at, "%s is no level: trace, debug, info, notice, warn or warning, error or err, crit, alert or panic, "+
			"fatal or emerg, in small or capital letters, or a number from 1 to 24", value.shown())
	}
	const most = math.MaxUint8
	switch o {
	case opEqual:
		return severityTest{low, high}, nil
	case opUnequal:
		return not{severityTest{low, high}}, nil
	case opLess:
		return severityTest{1, low - 1}, nil
	case opLessEqual:
		return severityTest{1, high}, nil
	case opGreater:
		return severityTest{high + 1, most}, nil
	case opGreaterEqual:
		return severityTest{low, most}, nil
	}
	return nil, p.errorf(opTok.at, "levels are compared with = != < <= > >=, not %s", opTok.text)
}

func (p *parser) time(name string, opTok token, o op, value token) (node, *Error) {
	if o == opContains || o == opLacks || o == opMatch {
		return nil, p.errorf(opTok.at, "times are compared with = != < <= > >=, not %s", opTok.text)
	}
	at, err := moment.Parse(value.text, p.now)
	if err != nil {
		return nil, p.errorf(value.at, "%v", err)
	}
	return timeTest{name, o, at.UnixNano(), []byte(at.UTC().Format(wholeSeconds))}, nil
}
