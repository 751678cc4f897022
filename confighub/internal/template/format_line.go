// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"errors"
	"regexp"
	"strings"
)

// lineFormat is for formats whose places are told by the line alone here. It writes a value as it is, or
// refuses it: whatever would need quoting, or would be read as another type than it has.
type lineFormat struct {
	rules lineRules
	line  string
}

type lineRules struct {
	name string
	// bare holds the characters that may stand outside of quotes, beside letters and digits.
	bare string
	// quotes that the format has, and which of them take JSON's escapes.
	quotes, escaping string
	// typed formats read a bare true or 1.10 as something else than a string.
	typed bool
	// alwaysQuoted formats have no bare strings at all.
	alwaysQuoted bool
}

var (
	yamlRules       = lineRules{name: "YAML", bare: "_./+-=@~ ", quotes: `'"`, escaping: `"`, typed: true}
	tomlRules       = lineRules{name: "TOML", quotes: `'"`, escaping: `"`, bare: "_.+-", typed: true, alwaysQuoted: true}
	iniRules        = lineRules{name: "an INI file", bare: "_./:@%+,-=~*^?&|!<>()[]{}$ "}
	propertiesRules = lineRules{name: "a properties file", bare: "_./@%+,-~*^?&|<>()[]{}$ "}
)

func (f *lineFormat) literal(text string) {
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		f.line, text = "", text[i+1:]
	}
	f.line += text
}

// quote is the quote that is open at the end of the line so far, or 0.
func (f *lineFormat) quote() byte {
	var open byte
	for i := 0; i < len(f.line); i++ {
		c := f.line[i]
		switch {
		case open != 0 && c == '\\' && strings.IndexByte(f.rules.escaping, open) >= 0:
			i++
		case open != 0 && c == open:
			open = 0
		case open == 0 && strings.IndexByte(f.rules.quotes, c) >= 0 && (i == 0 || strings.IndexByte(" \t:=[{,(", f.line[i-1]) >= 0):
			open = c
		}
	}
	return open
}

var otherType = regexp.MustCompile(`(?i)^([-+]?[0-9.][-+0-9a-fx_.:eto]*|true|false|yes|no|on|off|y|n|null|~|[-+]?\.?(inf|nan)|[0-9]{4}-.*|)$`)

func (f *lineFormat) value(v value, at spot) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	if r, bad := firstRune(word, control); bad {
		return "", cannot(r, f.rules.name+" here")
	}
	quote, line := f.quote(), f.line
	f.line += "x"
	if quote != 0 {
		return f.quoted(word, quote)
	}
	if v.kind == typeNumber || v.kind == typeBoolean {
		return word, nil
	}
	bad, needs := firstRune(word, not(onlyOf(f.rules.bare)))
	edge := strings.TrimSpace(word) != word
	atStart := line == "" || strings.IndexByte(" \t=[{,", line[len(line)-1]) >= 0
	atEnd := at.after == 0 || strings.IndexByte(" \t\r\n,]}", at.after) >= 0
	switch {
	case needs:
		return "", cannot(bad, f.rules.name+" outside of quotes")
	case edge:
		return "", errors.New("begins or ends with a space, which " + f.rules.name + " drops outside of quotes")
	case !f.rules.typed:
		return word, nil
	case atStart && atEnd && at.before != touching && (f.rules.alwaysQuoted || otherType.MatchString(word)):
		return "", errors.New("is a string that " + f.rules.name + " would not read as one here: put quotes around the tag")
	case atStart && word != "" && strings.ContainsRune("-=@~", rune(word[0])):
		return "", cannot(rune(word[0]), "the start of a bare word of "+f.rules.name)
	}
	return word, nil
}

func (f *lineFormat) quoted(word string, quote byte) (string, error) {
	if strings.IndexByte(f.rules.escaping, quote) < 0 {
		if strings.IndexByte(word, quote) >= 0 {
			return "", cannot(rune(quote), "a word in these quotes")
		}
		return word, nil
	}
	plain := jsonText(word)
	return plain[1 : len(plain)-1], nil
}
