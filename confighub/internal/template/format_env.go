// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"errors"
	"strings"
)

// envFormat writes KEY=VALUE lines as package render reads them for the service's environment, and as
// systemd's EnvironmentFile= and compose read .env files: bare where nothing needs quoting, in single quotes
// while the value fits, else in double quotes with backslashes.
type envFormat struct {
	place   envPlace
	escaped bool
}

type envPlace byte

const (
	envStart envPlace = iota
	envKey
	envBegin // of a value
	envBare
	envSingle
	envDouble
	envDone
	envComment
)

func (f *envFormat) literal(text string) error {
	for i := 0; i < len(text); i++ {
		f.step(text[i])
	}
	return nil
}

func (f *envFormat) step(c byte) {
	switch {
	case c == '\n':
		f.place, f.escaped = envStart, false
	case f.escaped:
		f.escaped = false
	case f.place == envDouble && c == '\\':
		f.escaped = true
	case f.place == envDouble && c == '"', f.place == envSingle && c == '\'':
		f.place = envDone
	case f.place == envStart && c == '#':
		f.place = envComment
	case f.place == envStart && !blank(c):
		f.place = envKey
	case f.place == envKey && c == '=':
		f.place = envBegin
	case f.place == envBegin && c == '"':
		f.place = envDouble
	case f.place == envBegin && c == '\'':
		f.place = envSingle
	case f.place == envBegin:
		f.place = envBare
	}
}

func (f *envFormat) value(v value, at spot) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	if r, bad := firstRune(word, func(r rune) bool { return r != '\n' && r != '\t' && control(r) }); bad {
		return "", cannot(r, "an environment file")
	}
	breaks := strings.Contains(word, "\n")
	switch {
	case f.escaped:
		return "", errEscaped
	case f.place == envDone:
		return "", errors.New("stands behind a value's closing quote")
	case f.place == envDouble:
		return envEscaper.Replace(word), nil
	case f.place == envSingle && (breaks || strings.Contains(word, "'")):
		return "", errors.New("holds a single quote or a line break: use double quotes here")
	case f.place == envComment && breaks:
		return "", cannot('\n', "a comment")
	case f.place == envSingle, f.place == envComment:
		return word, nil
	case f.place == envStart || f.place == envKey:
		if r, bad := firstRune(word, not(asciiOf("_"))); bad {
			return "", cannot(r, "the name of a variable")
		}
		if f.place == envStart && word != "" && word[0] <= '9' {
			return "", cannot(rune(word[0]), "the start of a variable's name")
		}
		f.place = envKey
		return word, nil
	}
	return f.bare(word, at)
}

func (f *envFormat) bare(word string, at spot) (string, error) {
	r, needs := firstRune(word, not(onlyOf("_./:@%+,-=")))
	whole := f.place == envBegin && (at.after == 0 || at.after == '\n' || strings.HasPrefix(at.rest, "\r\n"))
	switch {
	case word == "":
		return "", nil
	case !needs:
		f.place = envBare
		return word, nil
	case !whole:
		return "", cannot(r, "a part of a value (put double quotes around the whole)")
	}
	f.place = envDone
	if strings.ContainsAny(word, "'\n\\") {
		return `"` + envEscaper.Replace(word) + `"`, nil
	}
	return "'" + word + "'", nil
}

var envEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`", "\n", `\n`)
