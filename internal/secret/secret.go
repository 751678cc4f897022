// SPDX-License-Identifier: AGPL-3.0-or-later

// Package secret says what in a container is secret, by the names that people give: one rule for loghub, which hides
// such values, and for confighub, which tells it of those that it adds to the service's environment.
//
// A name means a secret when it holds PASSWORD, PASSWD, PASSPHRASE, SECRET, TOKEN or CREDENTIAL in whatever case, when
// PWD stands in it as a word, or PASS or KEY as the end of one (DBPASS, API_KEY, apiKey, KEYS, KEY_2; not KEYMAP, KEYCLOAK_URL).
// Not when it says that the value is public, or names a property or the place of a secret: TOKEN_TTL, SECRET_NAME,
// TLS_KEY_FILE. The password in a URL is one whatever the variable is called (DATABASE_URL), and so are the headers that
// OpenTelemetry's exporters are given (OTEL_EXPORTER_OTLP_HEADERS).
//
// Standard library only. Left out: guessing by the looks of a value.
package secret

import (
	"net/url"
	"slices"
	"strings"
)

const minHeader = 8 // bytes

// Named says whether a value of this name (of a variable, or of a key in a file) is a secret.
func Named(name string) bool {
	words := split(name)
	if Place(name) || property(words) || slices.ContainsFunc(words, meansPublic) {
		return false
	}
	for i, word := range words {
		if meansSecret(word) || (word == "PWD" && i > 0) {
			return true
		}
	}
	return false
}

// Place says whether the name means a file or directory: the value is no secret, what is in the file may be.
func Place(name string) bool {
	words := split(name)
	return len(words) > 1 && slices.Contains([]string{"FILE", "PATH", "DIR"}, words[len(words)-1])
}

// InURL is the password in a value that is a URL, as it is when it is not escaped.
func InURL(value string) (password string, ok bool) {
	scheme, rest, found := strings.Cut(value, "://")
	if !found || scheme == "" || !strings.Contains(rest, "@") {
		return "", false
	}
	if u, err := url.Parse(value); err == nil && u.User != nil {
		return u.User.Password()
	}
	// What net/url refuses, as a password that should have been escaped: up to the last @ before the path.
	authority := rest
	if end := strings.IndexAny(rest, "?#"); end >= 0 {
		authority = rest[:end]
	}
	at := strings.LastIndexByte(authority, '@')
	if at < 0 {
		return "", false
	}
	_, password, ok = strings.Cut(authority[:at], ":")
	return password, ok && password != ""
}

// InHeaders are the values in a variable such as OTEL_EXPORTER_OTLP_HEADERS, authorization=Bearer%20x,api-key=y: as they
// stand there, unescaped, and without the scheme of Authorization; none for any other variable. (OpenTelemetry, Protocol
// Exporter: Specifying headers via environment variables.) Names are left out: in a list with a mistake they may be secret. So
// are values of less than 8 bytes, which name a tenant rather than being a token.
func InHeaders(name, value string) (values []string) {
	if !strings.HasPrefix(name, "OTEL_EXPORTER_OTLP_") || !strings.HasSuffix(name, "_HEADERS") {
		return nil
	}
	for pair := range strings.SplitSeq(value, ",") {
		_, raw, _ := strings.Cut(pair, "=")
		raw = strings.TrimSpace(raw)
		plain, err := url.PathUnescape(raw)
		if err != nil {
			plain = raw
		}
		_, credentials, _ := strings.Cut(plain, " ")
		for _, form := range []string{raw, plain, strings.TrimSpace(credentials)} {
			if len(form) >= minHeader && !slices.Contains(values, form) {
				values = append(values, form)
			}
		}
	}
	return values
}

func meansPublic(word string) bool {
	switch word {
	case "PUBLIC", "PUB", "PUBKEY", "TRUSTED", "AUTHORIZED": // config.trusted_keys, authorized_keys
		return true
	}
	return false
}

func meansSecret(word string) bool {
	for _, part := range []string{"PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL"} {
		if strings.Contains(word, part) && !strings.HasPrefix(word, "TOKENIZE") {
			return true
		}
	}
	word = strings.TrimRight(word, "0123456789")
	return strings.HasSuffix(word, "PASS") && word != "COMPASS" && word != "BYPASS" ||
		strings.HasSuffix(word, "KEY") || strings.HasSuffix(word, "KEYS")
}

// property says whether the last word names something about a secret.
func property(words []string) bool {
	if len(words) < 2 {
		return false
	}
	switch words[len(words)-1] {
	case "NAME", "TYPE", "ALG", "ALGORITHM", "TTL", "LIFETIME", "EXPIRY", "EXPIRES", "EXPIRATION", "TIMEOUT", "INTERVAL",
		"LENGTH", "SIZE", "HEADER", "PREFIX", "ISSUER", "AUDIENCE", "HOST", "PORT", "USER", "USERNAME", "EMAIL", "ENABLED", "MODE":
		return true
	case "URL", "URI", "ENDPOINT": // of where tokens are given out; a SECRET_HOOK_URL is one itself
		return slices.Contains([]string{"TOKEN", "TOKENS", "KEY", "KEYS", "PASSWORD"}, words[len(words)-2])
	}
	return false
}

// split takes a name apart at what is no letter or digit, and at the humps of apiKey, in upper case.
func split(name string) (words []string) {
	start, before := -1, byte(0)
	flush := func(end int) {
		if start >= 0 && end > start {
			words = append(words, strings.ToUpper(name[start:end]))
		}
		start = -1
	}
	for i := range len(name) {
		c := name[i]
		lower, upper := c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z'
		switch {
		case !lower && !upper && (c < '0' || c > '9'):
			flush(i)
		case start < 0:
			start = i
		case upper && before >= 'a' && before <= 'z':
			flush(i)
			start = i
		}
		before = c
	}
	flush(len(name))
	return words
}
