// SPDX-License-Identifier: AGPL-3.0-or-later

package manifest

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
)

// environment gives the value of a variable, as compose files are interpolated with.
type environment func(name string) (value string, set bool)

// interpolate replaces what a compose file may say of variables (compose-spec, "Interpolation"): $X and ${X}; ${X:-d}
// and ${X-d}, a default when it is empty or unset; ${X:?e} and ${X?e}, an error then; ${X:+r} and ${X+r}, a
// replacement when it is not; $$ is a dollar. Defaults and replacements may hold variables again.
func (env environment) interpolate(text string) (string, error) {
	var b strings.Builder
	for {
		at := strings.IndexByte(text, '$')
		if at < 0 || at == len(text)-1 {
			return b.String() + text, nil
		}
		b.WriteString(text[:at])
		text = text[at+1:]
		switch {
		case text[0] == '$':
			b.WriteByte('$')
			text = text[1:]
		case text[0] == '{':
			end := closing(text)
			if end < 0 {
				return "", fmt.Errorf("${ without its }")
			}
			value, err := env.braced(text[1:end])
			if err != nil {
				return "", err
			}
			b.WriteString(value)
			text = text[end+1:]
		default:
			name := text[:nameLength(text)]
			if name == "" {
				b.WriteByte('$') // no variable: as it stands
				continue
			}
			value, _ := env(name)
			b.WriteString(value)
			text = text[len(name):]
		}
	}
}

// braced is the value of what stands between ${ and }.
func (env environment) braced(text string) (string, error) {
	name := text[:nameLength(text)]
	rest := text[len(name):]
	if name == "" {
		return "", fmt.Errorf("${%s}: no name of a variable", text)
	}
	value, set := env(name)
	if rest == "" {
		return value, nil
	}
	operator, word := rest[:1], rest[1:]
	if operator == ":" && word != "" { // an empty value counts as none
		operator, word, set = word[:1], word[1:], set && value != ""
	}
	switch operator {
	case "-":
		if set {
			return value, nil
		}
		return env.interpolate(word)
	case "+":
		if !set {
			return "", nil
		}
		return env.interpolate(word)
	case "?":
		if set {
			return value, nil
		}
		return "", fmt.Errorf("variable %s is not set: %s", name, word)
	}
	return "", fmt.Errorf("${%s}: after the name must come }, :-, -, :?, ?, :+ or +", text)
}

// closing is where the brace that begins text is closed, or -1.
func closing(text string) int {
	depth := 0
	for i := range len(text) {
		switch {
		case text[i] == '{' && (i == 0 || text[i-1] == '$'):
			depth++
		case text[i] == '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func nameLength(text string) int {
	for i := range len(text) {
		c := text[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(text)
}

// dotenv reads a file of variables as compose reads .env: NAME=VALUE, export and comments, single quotes as they
// stand, double quotes with \n, \t, \" and \\; in those without quotes, and in double ones, variables are replaced.
func dotenv(name string, raw []byte, outer environment) (map[string]string, error) {
	values := map[string]string{}
	env := environment(func(name string) (string, bool) {
		if value, ok := outer(name); ok {
			return value, true
		}
		value, ok := values[name]
		return value, ok
	})
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, maxFileBytes)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		line = strings.TrimSpace(strings.TrimPrefix(line, "export "))
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		if key == "" || nameLength(key) != len(key) {
			return nil, fmt.Errorf("%s:%d: must be NAME=VALUE", name, n)
		}
		if !ok { // NAME alone is that of the environment around
			continue
		}
		value, err := unquote(strings.TrimSpace(value), env)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", name, n, key, err)
		}
		values[key] = value
	}
	return values, lines.Err()
}

func unquote(value string, env environment) (string, error) {
	if value == "" {
		return "", nil
	}
	switch quote := value[0]; quote {
	case '\'':
		end := strings.IndexByte(value[1:], quote)
		if end < 0 {
			return "", fmt.Errorf("the quote is not closed on its line")
		}
		return value[1 : 1+end], nil
	case '"':
		end := 1
		for end < len(value) && value[end] != quote {
			if value[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(value) {
			return "", fmt.Errorf("the quote is not closed on its line")
		}
		return env.interpolate(strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\t`, "\t", `\"`, `"`, `\$`, "$$").Replace(value[1:end]))
	}
	if at := strings.Index(value, " #"); at >= 0 {
		value = strings.TrimSpace(value[:at])
	}
	return env.interpolate(value)
}
