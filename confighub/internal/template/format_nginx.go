// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"errors"
	"strings"
)

// nginxFormat knows bare tokens, both kinds of quotes and comments of nginx's configuration. nginx has no way
// to write a literal $ where it expands variables, so a value with one is an error: {{{name}}} writes it.
type nginxFormat struct {
	// quote: 0 bare, '\'' or '"', '#' a comment.
	quote   byte
	escaped bool
	last    byte
}

func (f *nginxFormat) literal(text string) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case f.escaped:
			f.escaped = false
		case f.quote == '#':
			if c == '\n' {
				f.quote = 0
			}
		case c == '\\':
			f.escaped = true
		case f.quote != 0:
			if c == f.quote {
				f.quote = 0
			}
		case tokenEnd(f.last) && (c == '"' || c == '\'' || c == '#'):
			f.quote = c
		}
		f.last = c
	}
}

// tokenEnd reports whether a token of nginx ends at c, or the file does.
func tokenEnd(c byte) bool { return c == 0 || strings.IndexByte(" \t\r\n;{}", c) >= 0 }

func (f *nginxFormat) value(v value, at spot) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	last := f.last
	f.last = 'x'
	if strings.Contains(word, "$") && f.quote != '#' {
		return "", errors.New("holds the character $, which nginx takes for a variable: write {{{name}}} if that is meant")
	}
	if r, bad := firstRune(word, func(r rune) bool {
		return control(r) && r != '\n' && r != '\t' && r != '\r' || control(r) && f.quote == '#'
	}); bad {
		return "", cannot(r, "a token of nginx")
	}
	switch {
	case f.escaped:
		return "", errors.New("stands behind a backslash")
	case f.quote == '#':
		return word, nil
	case f.quote == '"':
		return nginxDouble.Replace(word), nil
	case f.quote == '\'':
		return nginxSingle.Replace(word), nil
	}
	needs, quoting := firstRune(word, not(onlyOf(`_./:@%+,-=~*^?&|!<>()[]`)))
	whole := at.before != touching && tokenEnd(last) && tokenEnd(at.after)
	switch {
	case !quoting && word != "":
		return word, nil
	case whole:
		return `"` + nginxDouble.Replace(word) + `"`, nil
	case quoting:
		return "", cannot(needs, "the middle of a token (put double quotes around the whole)")
	}
	return "", nil
}

var (
	nginxDouble = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
	nginxSingle = strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
)
