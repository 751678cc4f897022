// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"slices"
	"strings"

	"cloud4.internal/hub/internal/secret"
)

// Why a value is not hidden.
const (
	whyShort  = "shorter than 8 bytes"
	whyKnown  = "also the value of "
	whyCommon = "a word that stands everywhere: change it"
	whyLarge  = "a file of more than 64 KiB"
	whyRoom   = "no room: too many or too long values"
)

// Left is a secret that is not hidden.
type Left struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Found is what is hidden and what is not, by name and without any value.
type Found struct {
	Hidden  []string `json:"hidden"`
	LeftOut []Left   `json:"left_out,omitempty"`
	// Patterns are those of log.mask_patterns, hidden besides.
	Patterns []string `json:"patterns,omitempty"`
}

// collection gathers values by the rules of this package.
type collection struct {
	values   []Value
	left     []Left
	harmless map[string]string // value → the variable that has it
	seen     map[string]bool   // texts in values
}

// newCollection knows the harmless values of an environment.
func newCollection(environ []string, host string) *collection {
	c := &collection{harmless: map[string]string{}, seen: map[string]bool{}}
	for _, kv := range environ {
		if name, value, _ := strings.Cut(kv, "="); !secret.Named(name) {
			c.harmless[value] = name
		}
	}
	if host != "" {
		c.harmless[host] = "the host's name"
	}
	return c
}

// environment takes the secrets among variables, but for those that name files.
func (c *collection) environment(environ []string, files map[string]string) {
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if _, isFile := files[name]; !isFile && secret.Named(name) && !isSwitch(value) && !isPublic(value) {
			c.take(name, value)
		}
		if password, ok := secret.InURL(value); ok {
			c.take(name, password)
		}
		for _, header := range secret.InHeaders(name, value) {
			c.take(name, header)
		}
	}
}

// take takes a value with all its pieces.
func (c *collection) take(name, text string) {
	if c.refused(name, text) {
		return
	}
	short, any := false, false
	pieces(text, func(piece string) {
		switch {
		case piece == "":
		case len(piece) < MinBytes:
			short = true
		case c.refused(name, piece):
			any = true
		default:
			any = true
			if !c.seen[piece] {
				c.seen[piece] = true
				c.values = append(c.values, Value{name, piece})
			}
		}
	})
	if short && !any {
		c.leave(name, whyShort)
	}
}

// refused leaves out a text that is no secret.
func (c *collection) refused(name, text string) bool {
	if owner, ok := c.harmless[text]; ok && len(text) >= MinBytes {
		c.leave(name, whyKnown+owner)
		return true
	}
	if slices.Contains(commonWords, strings.ToLower(text)) {
		c.leave(name, whyCommon)
		return true
	}
	return false
}

func (c *collection) leave(name, why string) {
	if l := (Left{name, why}); !slices.Contains(c.left, l) {
		c.left = append(c.left, l)
	}
}

// commonWords are values that people leave in place of a secret. Hiding them would hide half of a log.
var commonWords = []string{
	"password", "passw0rd", "changeme", "change-me", "change_me", "changeit", "postgres", "postgresql", "mysecretpassword", "localhost",
	"required", "optional", "disabled", "anonymous", "undefined", "username", "database", "internal", "external", "development", "production",
}

// isSwitch says whether a value is a setting rather than a secret.
func isSwitch(value string) bool {
	switch strings.ToLower(value) {
	case "", "0", "1", "true", "false", "yes", "no", "on", "off", "none", "null", "nil", "auto":
		return true
	}
	return false
}

// isPublic says whether a value is a public key or a certificate.
func isPublic(value string) bool {
	if strings.HasPrefix(value, "-----BEGIN ") {
		return strings.TrimSpace(private(value)) == ""
	}
	for _, begin := range []string{"ssh-rsa AAAA", "ssh-ed25519 AAAA", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"} {
		if strings.HasPrefix(value, begin) {
			return true
		}
	}
	return strings.HasPrefix(value, "age1") && len(value) == 62 // a recipient
}
