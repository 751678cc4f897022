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
	// quote: 0 bare, '\'' or '"', '#' a comment.
	quote   byte
	escaped bool
	last    byte
}

const envSafe = "_./:@%+,-="

func (f *envFormat) literal(text string) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case f.escaped:
			f.escaped = false
		case f.quote == '#':
			if c == '\n' {
				f.quote = 0
			}
		case f.quote == '"' && c == '\\':
			f.escaped = true
		case f.quote != 0:
			if c == f.quote {
				f.quote = 0
			}
		case (c == '"' || c == '\'') && f.last == '=':
			f.quote = c
		case c == '#' && (f.last == 0 || f.last == '\n'):
			f.quote = c
		}
		f.last = c
	}
}

func (f *envFormat) value(v value, at spot) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	last := f.last
	f.last = 'x'
	bad, control := firstRune(word, func(r rune) bool { return r != '\n' && control(r) })
	switch {
	case f.escaped:
		return "", errors.New("stands behind a backslash")
	case control:
		return "", cannot(bad, "an environment file")
	case f.quote == '"':
		return envDouble.Replace(word), nil
	case f.quote == '\'' && strings.ContainsAny(word, "'\n"):
		return "", errors.New("holds a single quote or a line break: use double quotes here")
	case f.quote == '\'':
		return word, nil
	case f.quote == '#' && strings.Contains(word, "\n"):
		return "", cannot('\n', "a comment")
	case f.quote == '#':
		return word, nil
	}
	needs, quoting := firstRune(word, not(onlyOf(envSafe)))
	lineEnd := at.after == 0 || at.after == '\n' || at.after == '\r'
	switch {
	case !quoting:
		return word, nil
	case last != '=' || at.before == touching || !lineEnd:
		return "", cannot(needs, "a part of a value (put double quotes around the whole)")
	case !strings.ContainsAny(word, "'\n\\"):
		return "'" + word + "'", nil
	}
	return `"` + envDouble.Replace(word) + `"`, nil
}

var envDouble = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`", "\n", `\n`)
