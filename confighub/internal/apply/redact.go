// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"slices"
	"strings"
	"unicode"
)

// hidden are the secrets of the last generation, and of the one before it, whose files may come back.
type hidden struct {
	texts, last []string
	// known: there was a generation since this process began.
	known bool
}

// add takes up the secrets of the next generation.
func (h *hidden) add(secrets []string) {
	h.texts, h.last, h.known = slices.Concat(secrets, h.last), secrets, true
	slices.SortFunc(h.texts, func(one, other string) int { return len(other) - len(one) })
}

func (h *hidden) redact(s string) string { return redact(s, h.texts) }

// Shorter texts than these are not taken for a secret, and for a line of one: they stand everywhere.
const (
	minSecret     = 4
	minSecretLine = 16
)

// redact takes the secrets out of s, also out of a command's output, where they stand without control characters
// and, of a key, maybe one line alone.
func redact(s string, secrets []string) string {
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, "***")
		if shown := plain(secret); len(shown) >= minSecret {
			s = strings.ReplaceAll(s, shown, "***")
		}
		if !strings.Contains(secret, "\n") {
			continue
		}
		for line := range strings.Lines(secret) {
			if line = strings.TrimSpace(line); len(line) >= minSecretLine && !strings.HasPrefix(line, "-----") {
				s = strings.ReplaceAll(s, line, "***")
			}
		}
	}
	return s
}

// plain leaves out what could move a terminal's cursor or turn its text around.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
