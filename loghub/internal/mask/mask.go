// SPDX-License-Identifier: AGPL-3.0-or-later

// Package mask hides the container's own secrets in lines: their exact values, so there is nothing to tune and nothing
// hidden by a guess. Guesses are for those who ask for them.
//
// # What is a secret
//
// Values come, in this order, from the environment (package secret says which names mean one, and the password in a URL
// is one), from the files below /run/secrets and those that variables such as DB_PASSWORD_FILE name, and from what
// confighub opened (initctl.Secrets). Of a value with several lines each line is one, of PEM the private parts only; in
// a file of settings (KEY=VALUE, "key": "value", JSON) also what stands under a name that means a secret. Not hidden is
// what is shorter than 8 bytes, what also is the value of a variable with a harmless name or the host's name, what
// everybody knows ("changeme"), and what has no room: a file of more than 64 KiB, and all that would make the tables
// larger than 6 MiB (maxTables). Found says which, by name.
//
// A variable that holds the path of a file that is there, or a public key, is none.
//
// # Forms
//
// Each is looked for as it is, in base64 (both alphabets, at each of the three places where it can lie in a longer text,
// down to the last character that holds bits of it), in hexadecimal, as HTML, XML, SQL and CSV quote it, and as JSON, URLs,
// shells and most languages escape it, two layers deep; also across the pieces of a line that comes in pieces. Where
// values overlap or hold one another all of it is hidden. What stands there instead is the value's name: ***DB_PASSWORD***.
//
// # Cost
//
// One pass over the line (see Matcher) and one over each layer of escapes in it. Tables of some 11 kB for ten secrets.
//
// # Shapes
//
// Where somebody asked for it (Shapes), numbers of payment cards and tokens are hidden too, whosever they are, by how they
// look: see card.go, token.go and tokenshape.go. They are looked for in the same line, below the same escapes and across the
// same pieces, at some 0.1 to 0.3 µs a line; where nobody asked, it costs nothing.
//
// # Change
//
// Live looks, before each piece that a source reads, whether confighub handed over more, and once a second at the files.
// What left stays hidden, as far as there is room.
//
// Left out: a value that is printed in two lines; parts of a value; other encodings (UTF-16, base32, compressed, hashed,
// encrypted).
package mask

import "strings"

// MinBytes is the length from which on a value is hidden.
const MinBytes = 8

// Value is a text to hide, under a name that may be shown.
type Value struct{ Name, Text string }

// New finds the values; nil when there are none. Those of less than MinBytes are none.
func New(values []Value) *Matcher {
	m, _ := build(values, 0)
	return m
}

// pieces yields what is to be hidden of a value: its lines, without space and quotes around them, and of a long one
// pieces that the tables can take.
func pieces(text string, yield func(piece string)) {
	for line := range strings.Lines(private(text)) {
		line = unquoted(strings.TrimSpace(line))
		for len(line) > maxPiece {
			yield(line[:maxPiece])
			line = line[min(maxPiece, len(line)-MinBytes):]
		}
		yield(line)
	}
}

// maxPiece bounds a pattern in bytes.
const maxPiece = 4096

// unquoted takes off the quotes that an env_file leaves around a value.
func unquoted(s string) string {
	if n := len(s); n > 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		return s[1 : n-1]
	}
	return s
}

// private is a text without the lines of PEM (RFC 7468) that hide nothing: boundaries, certificates, public keys.
func private(text string) string {
	const begin, end = "-----BEGIN ", "-----END "
	if !strings.Contains(text, begin) {
		return text
	}
	var b strings.Builder
	public := false
	for line := range strings.Lines(text) {
		label, isBegin := strings.CutPrefix(strings.TrimSpace(line), begin)
		switch {
		case isBegin:
			public = strings.Contains(label, "CERTIFICATE") || strings.Contains(label, "PUBLIC") || strings.Contains(label, "PARAMETERS")
		case strings.HasPrefix(strings.TrimSpace(line), end):
			public = false
		case !public:
			b.WriteString(line)
		}
	}
	return b.String()
}
