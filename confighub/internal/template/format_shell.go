// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"errors"
	"strings"
)

// shellFormat knows words, both kinds of quotes, here documents and comments of the POSIX shell (XCU 2.2, 2.3, 2.7.4).
// Within $( ), ${ }, backquotes and $' ' it takes only what needs no quoting anywhere; where it cannot tell for sure
// that one of these has ended, it stays so to the end of the file.
type shellFormat struct {
	// open holds what is open: " ' # (a comment), ( { and ` for substitutions, $ for $' '.
	open []byte
	// lost: an end may have been missed.
	lost    bool
	escaped bool
	last    byte
	// word is the bare word so far, to know a case from others.
	word string
	// dollar: the last text was $ and letters, so that what follows would be read as a parameter's name.
	dollar   bool
	heredocs heredocs
}

const shellSafe = "_./:@%+-"

func (f *shellFormat) literal(text string) error {
	var first error
	for i := 0; i < len(text); i++ {
		c := text[i]
		f.dollar = c == '$' && !f.escaped || f.dollar && (alphanumeric(rune(c)) || c == '_')
		escaped := f.escaped
		if err := f.step(c); err != nil && first == nil {
			first = err
		}
		if f.last = c; escaped {
			f.last = 'x'
		}
	}
	return first
}

func (f *shellFormat) top() byte {
	if len(f.open) == 0 {
		return 0
	}
	return f.open[len(f.open)-1]
}

func (f *shellFormat) push(c byte) { f.open, f.word = append(f.open, c), "" }

func (f *shellFormat) pop() { f.open, f.word = f.open[:len(f.open)-1], "" }

// substituted reports whether a substitution is open.
func (f *shellFormat) substituted() bool {
	return strings.ContainsAny(string(f.open), "({`$")
}

func (f *shellFormat) step(c byte) error {
	if f.heredocs.body() {
		return f.heredocs.step(c)
	}
	if done, err := f.heredocs.redirect(c, f); done || err != nil {
		return err
	}
	switch {
	case f.escaped:
		f.escaped = false
		f.word += "\\"
	case f.top() == '\'':
		f.closeAt(c, '\'')
	case f.top() == '#':
		f.closeAt(c, '\n')
		if c == '\n' {
			f.heredocs.newline()
		}
	case f.top() == '$':
		f.lost = f.lost || c == '\\'
		f.closeAt(c, '\'')
	case c == '\\':
		f.escaped = true
	case f.top() == '"' && c == '"', f.top() == '{' && c == '}', f.top() == '(' && c == ')':
		f.pop()
	case c == '`':
		if f.top() == '`' {
			f.pop()
		} else {
			f.lost = f.lost || strings.Contains(string(f.open), "`")
			f.push(c)
		}
	case f.last == '$' && (c == '(' || c == '{'), f.top() == '(' && c == '(':
		f.push(c)
	case f.top() == '"':
	default:
		f.bare(c)
	}
	return nil
}

func (f *shellFormat) closeAt(c, end byte) {
	if c == end {
		f.pop()
	}
}

// bare takes a byte outside of quotes.
func (f *shellFormat) bare(c byte) {
	inside := f.substituted()
	switch {
	case c == '"' || c == '\'':
		// What quotes mean in ${ } depends on the operator and on the quotes around it.
		f.lost = f.lost || f.top() == '{'
		if c == '\'' && f.last == '$' {
			c = '$'
		}
		f.push(c)
	case c == '#' && wordEnd(f.last) && f.top() != '{':
		f.lost = f.lost || inside
		f.push('#')
	case wordEnd(c):
		// The ) of its patterns is not the end of a substitution.
		f.lost = f.lost || inside && f.word == "case"
		f.word = ""
		if c == '\n' {
			f.heredocs.newline()
		}
	case len(f.word) < 64:
		f.word += string(rune(c))
	}
}

// wordEnd reports whether a word of the shell ends at c, or the file does.
func wordEnd(c byte) bool { return c == 0 || strings.IndexByte(" \t\n;&|()<>", c) >= 0 }

func (f *shellFormat) value(v value, at spot) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	last := f.last
	if word != "" {
		f.last = 'x'
	}
	switch {
	case f.heredocs.body():
		return f.heredocs.value(word)
	case f.heredocs.reading():
		return "", errors.New("stands in the delimiter of a here document")
	case f.escaped:
		return "", errEscaped
	case f.top() == '\'' && !f.lost && !f.substituted():
		return strings.ReplaceAll(word, "'", `'\''`), nil
	case f.dollar && word != "":
		return "", errors.New("stands behind a $, as a part of that parameter's name: write {{{name}}} if that is meant, or ${parameter} before it")
	case f.lost || f.substituted():
		return f.within(word)
	case f.top() == '#':
		if r, bad := firstRune(word, control); bad {
			return "", cannot(r, "a comment")
		}
		return word, nil
	case f.top() == '"':
		return shellEscaper.Replace(word), nil
	}
	return f.bareWord(word, last, at)
}

// within is a value in a substitution, or behind one whose end is not sure.
func (f *shellFormat) within(word string) (string, error) {
	const place = "a place in or behind backquotes, $( ), ${ } or $' ' (set a variable before, and use that)"
	_, named := firstRune(f.word, not(asciiOf("_")))
	switch r, needs := firstRune(word, not(onlyOf(shellSafe))); {
	case needs:
		return "", cannot(r, place)
	case word == "" || f.top() == '{' && !named:
		return "", errors.New("is empty, or a part of a name, in " + place)
	}
	f.word += word
	return word, nil
}

func (f *shellFormat) bareWord(word string, last byte, at spot) (string, error) {
	r, needs := firstRune(word, not(onlyOf(shellSafe)))
	whole := at.before != touching && (wordEnd(last) || last == '=') && wordEnd(at.after)
	// A number before < or > is a descriptor, and some words are not commands.
	redirect := (at.after == '<' || at.after == '>') && strings.Trim(word, "0123456789") == ""
	switch {
	case !needs && word != "" && !redirect && !(whole && strings.Contains(shellReserved, " "+word+" ")) && last != '~':
		f.word += word
		return word, nil
	case whole:
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'", nil
	case word == "":
		return "", nil
	}
	return "", cannot(r, "the middle of a word (put double quotes around the whole)")
}

const shellReserved = " if then else elif fi do done case esac while until for in function select time alias "

var shellEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`")
