// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"errors"
	"strings"
)

// iniFormat writes what the many readers of INI files agree on (Python's configparser, PHP, Go's ini.v1, git, MySQL,
// systemd), and refuses the rest: they differ in escapes, in where a comment begins, in what quotes do and in
// what % and $ mean. Nothing is quoted or escaped unasked. In """ and in backquotes, which only some know, anything may
// stand but these quotes and line breaks.
type iniFormat struct {
	place iniPlace
	// quote is the quote of the value: ', ", ` or t for """.
	quote byte
	// run counts the double quotes that a value begins with.
	run int
	// valued: a value is in the quotes.
	valued bool
}

type iniPlace byte

const (
	iniStart iniPlace = iota
	iniSection
	iniHeader // behind a section's ], of which some readers take the last, or in the line of a quoted key
	iniKey
	iniBegin // of a value
	iniValue
	iniQuoted
	iniDone
	iniComment
)

func (f *iniFormat) literal(text string) error {
	var err error
	for i := 0; i < len(text); i++ {
		if text[i] == '\n' && f.place == iniQuoted && f.run != 2 && f.valued {
			err, f.valued = errors.New("stands behind a quote that is not closed on its line"), false
		}
		f.step(text[i])
	}
	return err
}

func (f *iniFormat) step(c byte) {
	if c == '\n' && f.quote != 't' {
		f.place, f.quote, f.run = iniStart, 0, 0
		return
	}
	white := c == ' ' || c == '\t' || c == '\r'
	switch f.place {
	case iniStart:
		switch {
		case c == '[':
			f.place = iniSection
		case c == ';' || c == '#':
			f.place = iniComment
		case c == '"' || c == '`':
			f.place = iniHeader // some readers have quoted keys
		case c == '=' || c == ':':
			f.place = iniBegin
		case !white:
			f.place = iniKey
		}
	case iniKey:
		if c == '=' || c == ':' {
			f.place = iniBegin
		}
	case iniSection:
		if c == ']' {
			f.place = iniHeader
		}
	case iniBegin:
		f.begin(c, white)
	case iniQuoted:
		f.inQuotes(c)
	case iniValue, iniDone:
		if c == ';' || c == '#' {
			f.place = iniComment
		}
	}
}

func (f *iniFormat) begin(c byte, white bool) {
	switch {
	case c == ';' || c == '#':
		f.place = iniComment
	case c == '"' || c == '\'' || c == '`':
		f.place, f.quote, f.run, f.valued = iniQuoted, c, 1, false
	case !white:
		f.place = iniValue
	}
}

func (f *iniFormat) inQuotes(c byte) {
	switch {
	case f.quote == 't' && c == '"':
		if f.run++; f.run == 3 {
			f.place, f.quote = iniDone, 0
		}
	case f.quote == 't':
		f.run = 0
	case c == '"' && f.quote == '"' && f.run == 1:
		f.run = 2 // an empty value, or the second of three
	case c == '"' && f.quote == '"' && f.run == 2:
		f.quote, f.run = 't', 0
	case f.run == 2:
		f.place, f.quote, f.run = iniDone, 0, 0
		f.step(c)
	case c == f.quote:
		f.place, f.quote, f.run = iniDone, 0, 0
	default:
		f.run = 0
	}
}

func (f *iniFormat) value(v value, at spot) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	if r, bad := firstRune(word, control); bad {
		return "", cannot(r, "an INI file")
	}
	switch f.place {
	case iniComment:
		return word, nil
	case iniSection:
		return iniName(word, "_.-/")
	case iniStart, iniKey:
		f.place = iniKey
		return iniName(word, "_.")
	case iniHeader:
		return "", errors.New("stands behind the name of a section or a quoted key")
	case iniDone:
		return "", errors.New("stands behind a value's closing quote")
	case iniQuoted:
		return f.quoted(word)
	}
	return f.bare(word, at)
}

func iniName(word, extra string) (string, error) {
	if r, bad := firstRune(word, not(asciiOf(extra))); bad {
		return "", cannot(r, "a name in an INI file")
	}
	if word == "" {
		return "", errors.New("is empty, which a name in an INI file cannot be")
	}
	return word, nil
}

func (f *iniFormat) quoted(word string) (string, error) {
	if f.run == 2 {
		return "", errors.New("stands behind a value's closing quote")
	}
	bad := "\"'`;#\\%$"
	switch f.quote {
	case 't':
		bad = `"%$`
	case '`':
		bad = "`%$"
	}
	if r, is := firstRune(word, func(r rune) bool { return strings.ContainsRune(bad, r) }); is {
		return "", cannot(r, `an INI file in these quotes for all of its readers (where """ or backquotes are known they carry more, and {{{name}}} writes anything)`)
	}
	if f.valued = true; word != "" {
		f.run = 0
	}
	return word, nil
}

func (f *iniFormat) bare(word string, at spot) (string, error) {
	begins := f.place == iniBegin
	if word == "" {
		return "", nil
	}
	if r, bad := firstRune(word, not(onlyOf("_./:@+,-= "))); bad {
		return "", cannot(r, "an INI file outside of quotes")
	}
	if begins && word[0] == ' ' || strings.HasSuffix(word, " ") && !alphanumeric(rune(at.after)) {
		return "", cannot(' ', "the end of a value outside of quotes")
	}
	f.place = iniValue
	return word, nil
}
