// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// value is one interpolated value.
type value struct {
	// kind is a type letter of the marks.
	kind byte
	text string
}

// word is a value's text as a scalar; an object or list is an error.
func (v value) word() (string, error) {
	switch v.kind {
	case typeObject:
		return "", fmt.Errorf("is an object: name one of its keys, or open it with a section")
	case typeList:
		return "", fmt.Errorf("is a list: go through it with a section")
	}
	return v.text, nil
}

// spot is what stands around a value.
type spot struct {
	// before and after are the neighbouring bytes; 0 at an end of the file, touching for another value.
	before, after byte
	// rest is the template text that follows, up to the next value.
	rest string
}

// touching is the neighbour of a value that stands right beside another one.
const touching = 1

// format escapes for one file format. It sees the file from the start: literal gets the text of the template
// (and raw values), value each value to escape, in order.
type format interface {
	literal(text string)
	// value returns the escaped text. An error says what the place cannot carry, never the value itself,
	// which may be a secret.
	value(v value, at spot) (string, error)
}

// formats by name; each rendering makes its own.
var formats = map[string]func() format{
	"":           func() format { return plain{} },
	"none":       func() format { return plain{} },
	"html":       func() format { return plain{html: true} },
	"json":       func() format { return &jsonFormat{} },
	"xml":        func() format { return &xmlFormat{} },
	"shell":      func() format { return &shellFormat{} },
	"env":        func() format { return &envFormat{} },
	"nginx":      func() format { return &nginxFormat{} },
	"yaml":       func() format { return &lineFormat{rules: yamlRules} },
	"toml":       func() format { return &lineFormat{rules: tomlRules} },
	"ini":        func() format { return &lineFormat{rules: iniRules} },
	"properties": func() format { return &lineFormat{rules: propertiesRules} },
}

// piece is literal text, or a value with the tag that wrote it.
type piece struct {
	literal string
	tag     *node
	value   value
}

// pieces splits the library's output at its marks.
func pieces(t *tree, output string) ([]piece, error) {
	var list []piece
	for output != "" {
		i := strings.IndexByte(output, 0)
		if i < 0 {
			return append(list, piece{literal: output}), nil
		}
		if i > 0 {
			list = append(list, piece{literal: output[:i]})
		}
		output = output[i:]
		if rest, ok := strings.CutPrefix(output, nothing); ok {
			output = rest
			continue
		}
		rest, ok := strings.CutPrefix(output, tagMark)
		digits, rest, ok2 := strings.Cut(rest, ":")
		id, err := strconv.Atoi(digits)
		if !ok || !ok2 || err != nil || id >= len(t.variables) {
			return nil, fmt.Errorf("reading the rendered text: mark %q is broken", output[:min(8, len(output))])
		}
		p := piece{tag: t.variables[id], value: value{kind: missingValue}}
		p.value, output = cutValue(rest)
		list = append(list, p)
	}
	return list, nil
}

// missingValue is the kind of a value that the library found nothing for.
const missingValue = '?'

func cutValue(s string) (value, string) {
	if len(s) < 2 || s[0] != 0 || strings.IndexByte("snb0ol", s[1]) < 0 {
		return value{kind: missingValue}, s
	}
	digits, rest, _ := strings.Cut(s[2:], ":")
	n, err := strconv.Atoi(digits)
	if err != nil || n > len(rest) {
		return value{kind: missingValue}, s
	}
	return value{kind: s[1], text: rest[:n]}, rest[n:]
}

// escape turns the library's output into the file.
func escape(t *tree, output string, f format, lenient bool) ([]byte, error) {
	list, err := pieces(t, output)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	var problems Problems
	for i, p := range list {
		if p.tag == nil {
			f.literal(p.literal)
			out.WriteString(p.literal)
			continue
		}
		text, err := one(f, p, around(list, i), lenient)
		if err != nil {
			problems = append(problems, Problem{At: p.tag.at, Name: p.tag.text, Message: err.Error()})
			continue
		}
		out.WriteString(text)
	}
	return out.Bytes(), problems.err()
}

func one(f format, p piece, at spot, lenient bool) (string, error) {
	switch {
	case p.value.kind == missingValue && lenient:
		p.value = value{kind: typeNull}
	case p.value.kind == missingValue:
		return "", fmt.Errorf("was found in the data and not by the renderer")
	}
	if strings.IndexByte(p.value.text, 0) >= 0 {
		return "", fmt.Errorf("holds a zero byte, which no file of text can carry")
	}
	if p.tag.kind == raw {
		f.literal(p.value.text)
		return p.value.text, nil
	}
	return f.value(p.value, at)
}

func around(list []piece, i int) spot {
	var at spot
	if i > 0 {
		if p := list[i-1]; p.tag != nil {
			at.before = touching
		} else {
			at.before = p.literal[len(p.literal)-1]
		}
	}
	if i+1 < len(list) {
		if p := list[i+1]; p.tag != nil {
			at.after = touching
		} else {
			at.after, at.rest = p.literal[0], p.literal
		}
	}
	return at
}

// cannot is the error of a value that holds what its place cannot carry.
func cannot(r rune, place string) error {
	return fmt.Errorf("holds %s, which %s cannot carry", nameRune(r), place)
}

func nameRune(r rune) string {
	switch {
	case r == '\n' || r == '\r':
		return "a line break"
	case r == '\t':
		return "a tab"
	case r == ' ':
		return "a space"
	case r == utf8.RuneError:
		return "bytes that are not UTF-8"
	case r < ' ' || r == 0x7f:
		return fmt.Sprintf("the control character U+%04X", r)
	}
	return "the character " + string(r)
}

// control reports whether r is a control character or a broken byte.
func control(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError || r == '\u2028' || r == '\u2029'
}

// firstRune returns the first rune of s that bad accepts.
func firstRune(s string, bad func(rune) bool) (rune, bool) {
	i := strings.IndexFunc(s, bad)
	if i < 0 {
		return 0, false
	}
	r, _ := utf8.DecodeRuneInString(s[i:])
	return r, true
}

func alphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// onlyOf accepts letters, digits and the runes of extra, and what is not ASCII.
func onlyOf(extra string) func(rune) bool {
	return func(r rune) bool {
		return alphanumeric(r) || strings.ContainsRune(extra, r) || r >= 0xa0 && !control(r)
	}
}

func not(f func(rune) bool) func(rune) bool { return func(r rune) bool { return !f(r) } }

// plain is none and html: it knows no places.
type plain struct{ html bool }

func (plain) literal(string) {}

func (p plain) value(v value, _ spot) (string, error) {
	word, err := v.word()
	if p.html {
		word = htmlEscaper.Replace(word)
	}
	return word, err
}

var htmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;")
