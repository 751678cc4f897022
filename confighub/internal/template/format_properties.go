// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"errors"
	"fmt"
	"strings"
)

// propertiesFormat follows java.util.Properties.load: keys, values and comments; \uXXXX for what is not ASCII, since
// readers differ in the encoding.
type propertiesFormat struct {
	place  propertiesPlace
	escape backslash
	// dollar: the last text was a $, which some readers take with { for a reference.
	dollar bool
}

type propertiesPlace byte

const (
	propertiesStart     propertiesPlace = iota
	propertiesKey                       // also at its start on a continued line
	propertiesSeparator                 // white space behind a key
	propertiesBegin                     // behind the = or :, before the value
	propertiesValue
	propertiesComment
)

func (f *propertiesFormat) literal(text string) error {
	for i := 0; i < len(text); i++ {
		c := text[i]
		f.dollar = c == '$'
		if f.place != propertiesComment && f.escape.step(c) {
			if f.place == propertiesStart {
				f.place = propertiesKey
			} else if f.place == propertiesSeparator || f.place == propertiesBegin {
				f.place = propertiesValue
			}
			continue
		}
		f.step(c)
	}
	return nil
}

func (f *propertiesFormat) step(c byte) {
	white := c == ' ' || c == '\t' || c == '\f'
	switch {
	case c == '\n' || c == '\r':
		f.place = propertiesStart
	case f.place == propertiesStart && (c == '#' || c == '!'):
		f.place = propertiesComment
	case f.place == propertiesStart && !white:
		f.place = propertiesKey
		f.step(c)
	case f.place == propertiesKey && white:
		f.place = propertiesSeparator
	case (f.place == propertiesKey || f.place == propertiesSeparator) && (c == '=' || c == ':'):
		f.place = propertiesBegin
	case (f.place == propertiesSeparator || f.place == propertiesBegin) && !white:
		f.place = propertiesValue
	}
}

func (f *propertiesFormat) value(v value, at spot) (string, error) {
	word, err := v.word()
	switch {
	case err != nil:
		return "", err
	case f.escape.open():
		return "", errEscaped
	}
	if f.place == propertiesComment {
		if r, bad := firstRune(word, control); bad {
			return "", cannot(r, "a comment")
		}
		return word, nil
	}
	if strings.Contains(word, "${") || f.dollar && strings.HasPrefix(word, "{") ||
		strings.HasSuffix(word, "$") && (at.after == '{' || at.after == touching) {
		return "", errors.New("holds ${, which readers of properties files take for a reference")
	}
	inKey := f.place == propertiesStart || f.place == propertiesKey
	if word == "" {
		if inKey {
			return "", errors.New("is empty in a key")
		}
		return "", nil
	}
	f.dollar = false
	if f.place == propertiesStart {
		f.place = propertiesKey
	} else if !inKey {
		f.place = propertiesValue
	}
	return propertiesEscaped(word, inKey)
}

func propertiesEscaped(word string, inKey bool) (string, error) {
	var b strings.Builder
	for i, r := range word {
		edge := i == 0 || i == len(word)-1
		switch {
		case r > 0xffff:
			return "", cannot(r, "a properties file for all of its readers")
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\\':
			b.WriteString(`\\`)
		case r == ' ' && (inKey || edge), strings.ContainsRune("=:#!", r) && (inKey || i == 0):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r >= 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String(), nil
}
