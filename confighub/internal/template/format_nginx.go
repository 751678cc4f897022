// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"errors"
	"strings"
)

// nginxFormat knows bare tokens, both kinds of quotes and comments of nginx's configuration, as ngx_conf_read_token
// reads them. nginx expands variables in quotes too and has no escape for $, so a value with one is an error.
type nginxFormat struct {
	place   nginxPlace
	escaped bool
	// dollar: the last text was $ and letters, so that what follows would be read as the name of a variable.
	dollar, brace bool
}

type nginxPlace byte

const (
	nginxBetween nginxPlace = iota // a token may begin
	nginxBare
	nginxDouble
	nginxSingle
	nginxDone // behind a closing quote
	nginxComment
)

var errNginxDollar = errors.New(`holds the character $, for which nginx has no escape: where a variable is meant write {{{name}}}; for the character itself write ${dollar} in the template and declare it at the http level: geo $dollar { default "$"; }`)

func (f *nginxFormat) literal(text string) error {
	for i := 0; i < len(text); i++ {
		c := text[i]
		f.brace = f.dollar && (f.brace || c == '{') && c != '}'
		f.dollar = c == '$' || f.dollar && (f.brace || alphanumeric(rune(c)) || c == '_')
		f.step(c)
	}
	return nil
}

func (f *nginxFormat) step(c byte) {
	switch {
	case f.place == nginxComment:
		if c == '\n' {
			f.place = nginxBetween
		}
	case f.escaped:
		f.escaped = false
	case c == '\\':
		f.escaped = true
		if f.place == nginxBetween || f.place == nginxDone {
			f.place = nginxBare
		}
	case f.place == nginxDouble || f.place == nginxSingle:
		if f.place == nginxDouble && c == '"' || f.place == nginxSingle && c == '\'' {
			f.place = nginxDone
		}
	case blank(c) || c == ';' || c == '{' && !f.brace:
		f.place = nginxBetween
	case f.place == nginxBare:
	case c == '"':
		f.place = nginxDouble
	case c == '\'':
		f.place = nginxSingle
	case c == '#':
		f.place = nginxComment
	case c != '}' && c != ')':
		f.place = nginxBare
	}
}

func (f *nginxFormat) value(v value, at spot) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	if r, bad := firstRune(word, func(r rune) bool {
		return control(r) && (f.place == nginxComment || r != '\n' && r != '\t' && r != '\r')
	}); bad {
		return "", cannot(r, "a token of nginx")
	}
	switch {
	case f.place == nginxComment:
		return word, nil
	case strings.Contains(word, "$"):
		return "", errNginxDollar
	case f.dollar:
		return "", errors.New("stands in the name of a variable: write {{{name}}} if that is meant, or ${variable} before it")
	case f.escaped:
		return "", errEscaped
	case f.place == nginxDone:
		return "", errors.New("stands behind a closing quote: put it inside")
	case f.place == nginxDouble || f.place == nginxSingle:
		return nginxEscaper.Replace(word), nil
	}
	return f.bare(word, at)
}

func (f *nginxFormat) bare(word string, at spot) (string, error) {
	r, needs := firstRune(word, not(onlyOf(`_./:@%+,-=~*^?&|!<>()[]`)))
	whole := f.place == nginxBetween && at.before != touching && (at.after == 0 || blank(at.after) || at.after == ';' || at.after == '{')
	switch {
	case word == "" && !whole:
		return "", nil
	case word != "" && !needs:
		f.place = nginxBare
		return word, nil
	case whole:
		f.place = nginxDone
		return `"` + nginxEscaper.Replace(word) + `"`, nil
	}
	return "", cannot(r, "the middle of a token (put double quotes around the whole)")
}

var nginxEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "'", `\'`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
