// SPDX-License-Identifier: AGPL-3.0-or-later

package where

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error is what is wrong with an expression.
type Error struct {
	Text   string // the expression
	Column int    // in characters, from 1
	Words  string
}

// Error shows the place below the expression.
func (e *Error) Error() string {
	return fmt.Sprintf("column %d: %s\n  %s\n  %s^", e.Column, e.Words, e.Text, strings.Repeat(" ", e.Column-1))
}

// kind of a token.
type kind uint8

const (
	end kind = iota
	word
	quoted
	operator
	open
	shut
)

// token is a piece of an expression; at is its offset in bytes.
type token struct {
	kind kind
	text string
	at   int
}

// is says whether the token is a keyword, in small or capital letters.
func (t token) is(keyword string) bool { return t.kind == word && strings.EqualFold(t.text, keyword) }

// shown is the token as an error names it.
func (t token) shown() string {
	if t.kind == end {
		return "the end"
	}
	return fmt.Sprintf("%q", t.text)
}

// lexer cuts an expression into tokens.
type lexer struct {
	text string
	at   int
}

func (l *lexer) errorf(at int, format string, args ...any) *Error {
	return &Error{Text: l.text, Column: utf8.RuneCountInString(l.text[:at]) + 1, Words: fmt.Sprintf(format, args...)}
}

func (l *lexer) space() {
	for l.at < len(l.text) && strings.IndexByte(" \t\n", l.text[l.at]) >= 0 {
		l.at++
	}
}

const operatorBytes = "=!<>~"

// next takes a token where a name, a keyword or an operator may stand.
func (l *lexer) next() (token, *Error) {
	l.space()
	start := l.at
	if start == len(l.text) {
		return token{end, "", start}, nil
	}
	switch c := l.text[start]; {
	case c == '(':
		l.at++
		return token{open, "(", start}, nil
	case c == ')':
		l.at++
		return token{shut, ")", start}, nil
	case c == '"' || c == '\'':
		return l.quote()
	case strings.IndexByte(operatorBytes, c) >= 0:
		for l.at < len(l.text) && strings.IndexByte(operatorBytes, l.text[l.at]) >= 0 {
			l.at++
		}
		return token{operator, l.text[start:l.at], start}, nil
	}
	l.at += strings.IndexAny(l.text[start:]+" ", " \t\n()\"'"+operatorBytes)
	return token{word, l.text[start:l.at], start}, nil
}

// value takes a token where a value has to stand.
func (l *lexer) value() (token, *Error) {
	l.space()
	start := l.at
	if start < len(l.text) && (l.text[start] == '"' || l.text[start] == '\'') {
		return l.quote()
	}
	l.at += strings.IndexAny(l.text[start:]+" ", " \t\n()")
	if l.at == start {
		return token{}, l.errorf(start, "a value is missing; an empty one is \"\"")
	}
	return token{word, l.text[start:l.at], start}, nil
}

// quote takes a token in quotes.
func (l *lexer) quote() (token, *Error) {
	start, mark := l.at, l.text[l.at]
	var b strings.Builder
	for l.at++; l.at < len(l.text); l.at++ {
		switch c := l.text[l.at]; {
		case c == mark:
			l.at++
			return token{quoted, b.String(), start}, nil
		case c == '\\' && mark == '"':
			l.at++
			i := strings.IndexByte(`"\nt`, (l.text + "!")[l.at])
			if i < 0 {
				return token{}, l.errorf(l.at-1, `in quotes there are \" \\ \n and \t; a regular expression is written in '…'`)
			}
			b.WriteByte("\"\\\n\t"[i])
		default:
			b.WriteByte(c)
		}
	}
	return token{}, l.errorf(start, "the quote has no end")
}
