// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"bytes"
	"errors"
	"fmt"
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

// format escapes for one file format. It sees the file from the start: literal gets the text of the template
// (and raw values), value each value to escape, in order.
type format interface {
	// literal returns an error when it shows that the value before stood where none can, as in a key.
	literal(text string) error
	// value returns the escaped text. An error says what the place cannot carry, never the value itself,
	// which may be a secret.
	value(v value, at spot) (string, error)
}

// formats by name; each rendering makes its own.
var formats = map[string]func() format{
	"":           func() format { return plain{} },
	"none":       func() format { return plain{} },
	"html":       func() format { return &htmlFormat{} },
	"json":       func() format { return &jsonFormat{} },
	"xml":        func() format { return &xmlFormat{} },
	"shell":      func() format { return &shellFormat{} },
	"env":        func() format { return &envFormat{} },
	"nginx":      func() format { return &nginxFormat{} },
	"yaml":       func() format { return &yamlFormat{parent: -1, fresh: true} },
	"toml":       func() format { return &tomlFormat{} },
	"ini":        func() format { return &iniFormat{} },
	"properties": func() format { return &propertiesFormat{} },
}

// escape turns the library's output into the file.
func escape(t *tree, output string, f format, lenient bool, tr *tracer) ([]byte, error) {
	list, err := pieces(t, output)
	if err != nil {
		return nil, err
	}
	e := escaper{format: f, lenient: lenient}
	for i, p := range list {
		start := e.out.Len()
		if p.tag == nil {
			e.literal(p.literal)
		} else {
			e.value(p, around(list, i))
		}
		if err := tr.wrote(p, start, e.out.Len()); err != nil {
			return nil, err
		}
	}
	// What has begun ends with the file as with a line.
	e.blame(f.literal("\n"))
	return e.out.Bytes(), e.problems.err()
}

type escaper struct {
	format   format
	lenient  bool
	out      bytes.Buffer
	problems Problems
	// last is the tag of the last value.
	last *node
}

func (e *escaper) literal(text string) {
	e.blame(e.format.literal(text))
	e.out.WriteString(text)
}

// blame reports what the text behind a value said about it.
func (e *escaper) blame(err error) {
	if err != nil && e.last != nil {
		e.problems = append(e.problems, Problem{At: e.last.at, Name: e.last.text, Message: err.Error()})
	}
}

func (e *escaper) value(p piece, at spot) {
	if p.value.kind == missingValue && e.lenient {
		p.value = value{kind: typeNull}
	}
	if p.tag.kind == raw && p.value.kind != missingValue && strings.IndexByte(p.value.text, 0) < 0 {
		e.literal(p.value.text)
		return
	}
	text, err := e.one(p.value, at)
	e.last = p.tag
	e.blame(err)
	e.out.WriteString(text)
}

func (e *escaper) one(v value, at spot) (string, error) {
	_, isPlain := e.format.(plain)
	switch {
	case v.kind == missingValue:
		return "", errors.New("was found in the data and not by the renderer")
	case strings.IndexByte(v.text, 0) >= 0:
		return "", errors.New("holds a zero byte, which no file of text can carry")
	case !isPlain && (!utf8.ValidString(v.text) || (v.kind == typeObject || v.kind == typeList) && brokenJSON(v.text)):
		return "", errors.New("holds bytes that are not UTF-8")
	}
	return e.format.value(v, at)
}

// plain is none: it knows no places and changes nothing.
type plain struct{}

func (plain) literal(string) error { return nil }

func (plain) value(v value, _ spot) (string, error) { return v.word() }
