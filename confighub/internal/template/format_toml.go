// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// tomlFormat follows TOML 1.0 (https://toml.io/en/v1.0.0): keys, headers, values in arrays and inline tables, the
// four kinds of strings, and comments.
type tomlFormat struct {
	place tomlPlace
	// quote is the quote of the string that is open; run counts the quotes just met.
	quote byte
	run   int
	// inKey: the string is a key's; header: the key is a table's.
	inKey, header bool
	escape        backslash
	// nest holds the brackets of open arrays and inline tables.
	nest []byte
	last byte
}

type tomlPlace byte

const (
	tomlKey    tomlPlace = iota
	tomlValue            // a value may begin
	tomlBare             // in a number, a date or a boolean
	tomlDone             // a value has ended
	tomlOpened           // behind the first quote of a string
	tomlTwice            // behind two: an empty string, or three are to come
	tomlString
	tomlText // a string of several lines
	tomlComment
)

func (f *tomlFormat) literal(text string) error {
	for i := 0; i < len(text); i++ {
		f.step(text[i])
		f.last = text[i]
	}
	return nil
}

func (f *tomlFormat) step(c byte) {
	switch f.place {
	case tomlOpened:
		if c == f.quote {
			f.place = tomlTwice
			return
		}
		f.place = tomlString
		f.inString(c)
	case tomlTwice:
		if c == f.quote && !f.inKey {
			f.place, f.run = tomlText, 0
			return
		}
		f.endString()
		f.step(c)
	case tomlString:
		f.inString(c)
	case tomlText:
		f.inText(c)
	case tomlComment:
		if c == '\n' {
			f.newline()
		}
	default:
		f.outside(c)
	}
}

func (f *tomlFormat) endString() {
	f.escape = backslash{}
	if f.place = tomlDone; f.inKey {
		f.place = tomlKey
	}
}

func (f *tomlFormat) inString(c byte) {
	switch {
	case c == '\n':
		f.endString()
		f.newline()
	case f.quote == '"' && f.escape.step(c):
	case c == f.quote:
		f.endString()
	}
}

func (f *tomlFormat) inText(c byte) {
	if f.quote == '"' && f.escape.step(c) {
		f.run = 0
		return
	}
	switch {
	case c == f.quote:
		f.run++
	case f.run >= 3:
		f.endString()
		f.step(c)
	default:
		f.run = 0
	}
}

func (f *tomlFormat) newline() {
	f.place, f.header = tomlKey, false
	if len(f.nest) > 0 {
		f.place = tomlValue
	}
}

func (f *tomlFormat) outside(c byte) {
	key := f.place == tomlKey
	switch {
	case c == '\n':
		f.newline()
	case c == '#':
		f.place = tomlComment
	case c == '"' || c == '\'':
		f.place, f.quote, f.inKey = tomlOpened, c, key
	case key && c == '[':
		f.header = true
	case key && c == ']':
		f.place, f.header = tomlDone, false
	case key && c == '=':
		f.place = tomlValue
	case c == '[' || c == '{':
		f.nest = append(f.nest, c)
		if c == '{' {
			f.place = tomlKey
		}
	case (c == ']' || c == '}') && len(f.nest) > 0:
		f.nest, f.place = f.nest[:len(f.nest)-1], tomlDone
	case c == ',' && len(f.nest) > 0:
		if f.place = tomlValue; f.nest[len(f.nest)-1] == '{' {
			f.place = tomlKey
		}
	case f.place == tomlValue && !blank(c):
		f.place = tomlBare
	}
}

func (f *tomlFormat) value(v value, at spot) (string, error) {
	last := f.last
	f.last = 'x'
	if f.place == tomlTwice || f.place == tomlText && f.run >= 3 {
		f.endString()
	}
	switch f.place {
	case tomlKey:
		return tomlBareKey(v, last)
	case tomlOpened, tomlString, tomlText:
		return f.quoted(v, last)
	case tomlComment:
		word, err := v.word()
		if r, bad := firstRune(word, control); bad && err == nil {
			err = cannot(r, "a comment")
		}
		return word, err
	}
	rest := strings.TrimLeft(at.rest, " \t")
	if f.place != tomlValue || rest == "" && !at.end || rest != "" && strings.IndexByte("\r\n#,]}", rest[0]) < 0 {
		return "", errors.New("is not all of the value it stands in, and TOML has no words without quotes: put quotes around the whole")
	}
	f.place = tomlDone
	return tomlValueOf(v)
}

func tomlBareKey(v value, last byte) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	if r, bad := firstRune(word, not(asciiOf("_-"))); bad || last == '"' || last == '\'' {
		return "", cannot(max(r, '"'), "a key of TOML without quotes (put quotes around the whole)")
	}
	if word == "" {
		return "", errors.New("is empty, which a key of TOML cannot be without quotes")
	}
	return word, nil
}

func (f *tomlFormat) quoted(v value, last byte) (string, error) {
	word, err := v.word()
	switch {
	case err != nil:
		return "", err
	case f.escape.open():
		return "", errEscaped
	case word == "" && f.run > 0:
		return "", errors.New("is empty between quotes")
	}
	if f.place == tomlOpened && word != "" {
		f.place = tomlString
	}
	if word != "" {
		f.run = 0
	}
	if f.quote == '"' {
		text := quoted(word, control)
		if rest, ok := strings.CutPrefix(text, " "); ok && f.place == tomlText {
			text = `\u0020` + rest // behind a backslash at a line's end white space is none
		}
		return text, nil
	}
	if r, bad := firstRune(word, func(r rune) bool { return r == '\'' || control(r) && r != '\t' }); bad {
		return "", cannot(r, "a string in single quotes (double quotes do)")
	}
	return word, nil
}

// tomlValueOf writes a value of JSON.
func tomlValueOf(v value) (string, error) {
	if v.kind == typeString {
		return tomlLiteral(v.text)
	}
	if v.kind == typeNull {
		return tomlLiteral(nil)
	}
	var decoded any
	dec := json.NewDecoder(strings.NewReader(v.text))
	dec.UseNumber()
	if err := dec.Decode(&decoded); err != nil {
		return "", fmt.Errorf("reading it again: %w", err)
	}
	return tomlLiteral(decoded)
}

func tomlLiteral(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", errors.New("is null, which TOML has no word for: put the line into a section")
	case string:
		return `"` + quoted(v, control) + `"`, nil
	case json.Number:
		return tomlNumber(string(v))
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			text, err := tomlLiteral(item)
			if err != nil {
				return "", err
			}
			items[i] = text
		}
		return "[" + strings.Join(items, ", ") + "]", nil
	case map[string]any:
		var items []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			text, err := tomlLiteral(v[key])
			if err != nil {
				return "", err
			}
			items = append(items, `"`+quoted(key, control)+`" = `+text)
		}
		return "{" + strings.Join(items, ", ") + "}", nil
	}
	return fmt.Sprint(v), nil // true or false
}

// tomlNumber refuses what a reader of TOML would: its integers have 64 bits, its floats are doubles.
func tomlNumber(text string) (string, error) {
	var err error
	if strings.ContainsAny(text, ".eE") {
		_, err = strconv.ParseFloat(text, 64)
	} else {
		_, err = strconv.ParseInt(text, 10, 64)
	}
	if err != nil {
		return "", errors.New("is a number beyond 64 bits, which TOML cannot carry: put quotes around the tag")
	}
	return text, nil
}
