// SPDX-License-Identifier: AGPL-3.0-or-later

package render

import (
	"fmt"
	"regexp"
	"strings"

	"cloud4.internal/hub/internal/initctl"
)

var envKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// What execve(2) takes: a variable of less than 32 pages (MAX_ARG_STRLEN), and hubinit a megabyte of them.
const (
	maxVariable    = 128<<10 - 1
	maxEnvironment = 1 << 20
)

// ParseEnv reads KEY=VALUE lines. Empty lines and lines that begin with # are skipped; HUB_ variables are
// refused, since they would steer the hubs of the service's children. So is what no process can be given: zero
// bytes, and variables of 128 KiB.
func ParseEnv(text string) ([]string, error) {
	var lines []string
	for number, rest := 1, text; rest != ""; number++ {
		line, tail, _ := strings.Cut(rest, "\n")
		rest = tail
		line = strings.TrimRight(line, "\r")
		if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		switch {
		case !ok || !envKey.MatchString(key):
			return nil, fmt.Errorf("line %d of the rendered text: must be KEY=VALUE", number)
		case strings.HasPrefix(key, "HUB_"):
			return nil, fmt.Errorf("line %d of the rendered text: %s: the HUB_ variables belong to the hubs", number, key)
		case initctl.Steering(key):
			return nil, fmt.Errorf("line %d of the rendered text: %s decides which programs and libraries run: set it in the image or in compose", number, key)
		}
		value, err := unquote(value)
		if err != nil {
			return nil, fmt.Errorf("line %d of the rendered text: %s: %w", number, key, err)
		}
		switch {
		case strings.Contains(value, "\x00"):
			return nil, fmt.Errorf("line %d of the rendered text: %s: holds a zero byte", number, key)
		case len(key)+len("=")+len(value) > maxVariable:
			return nil, fmt.Errorf("line %d of the rendered text: %s: is longer than %d bytes, which no process can be given", number, key, maxVariable)
		}
		lines = append(lines, key+"="+value)
	}
	return lines, nil
}

func unquote(value string) (string, error) {
	if value == "" || value[0] != '\'' && value[0] != '"' {
		return value, nil
	}
	quote := value[0]
	var b strings.Builder
	for i := 1; i < len(value); i++ {
		c := value[i]
		switch {
		case c == quote:
			if strings.TrimSpace(value[i+1:]) != "" {
				return "", fmt.Errorf("text stands after the closing quote")
			}
			return b.String(), nil
		case quote == '"' && c == '\\' && i+1 < len(value):
			i++
			if value[i] == 'n' {
				b.WriteByte('\n')
			} else {
				b.WriteByte(value[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", fmt.Errorf("the quote is not closed")
}
