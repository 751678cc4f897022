// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import "fmt"

// Shapes are what is hidden for how it looks, whosever it is: guesses, therefore only those that somebody asked for.
type Shapes uint8

// What there is to ask for.
const (
	Cards  Shapes = 1 << iota // numbers of payment cards, but for their last four digits
	Tokens                    // what lets its bearer in
)

// shapeNames are those of the setting log.mask_patterns.
var shapeNames = map[string]Shapes{"cards": Cards, "tokens": Tokens}

// ParseShapes reads the names of shapes: cards, tokens.
func ParseShapes(names []string) (s Shapes, err error) {
	for _, name := range names {
		one, ok := shapeNames[name]
		if !ok {
			return 0, fmt.Errorf("%q is no pattern: cards and tokens are", name)
		}
		s |= one
	}
	return s, nil
}

// Names is what ParseShapes reads.
func (s Shapes) Names() (names []string) {
	for _, name := range []string{"cards", "tokens"} {
		if s&shapeNames[name] != 0 {
			names = append(names, name)
		}
	}
	return names
}

// Labels of shapes; those of values are below them.
const (
	labelCard  = 1<<16 - 1
	labelToken = 1<<16 - 2
)

// label is what stands in the place of a span.
func (m *Matcher) label(n uint16) string {
	switch n {
	case labelCard:
		return "***card***"
	case labelToken:
		return "***token***"
	}
	return m.labels[n]
}

// find appends the spans of all that is to be hidden in line, in order.
func (m *Matcher) find(line []byte, spans []span) []span {
	if len(m.patterns) > 0 {
		spans = m.scan(line, spans)
	}
	if m.shapes != 0 {
		spans = m.shapes.find(line, spans)
	}
	return spans
}

// find adds the spans of shapes in line to those that are known, all of them in order.
func (s Shapes) find(line []byte, spans []span) []span {
	known := len(spans)
	if s&Cards != 0 {
		spans = cards(line, spans)
	}
	if s&Tokens != 0 {
		spans = tokens(line, spans)
	}
	if len(spans) > known {
		spans = merged(spans)
	}
	return spans
}

// begins finds what may be the beginning of a shape at the end of text.
func (s Shapes) begins(text []byte) (at int, label uint16, ok bool) {
	if s&Cards != 0 {
		if at, ok = cardBegins(text); ok {
			return at, labelCard, true
		}
	}
	if s&Tokens != 0 {
		if at, ok = tokenBegins(text); ok {
			return at, labelToken, true
		}
	}
	return 0, 0, false
}

// class is what a byte may be part of.
type class uint8

const (
	digit     class = 1 << iota
	letter          // of ASCII
	inCard          // digits, and what stands between their groups
	inToken         // RFC 6750, section 2.1: b64token without its padding
	leads           // between a name and its value
	separates       // that there is a name: of those that lead
	ends            // values of a name
)

// classes are those of all bytes.
var classes = func() (all [256]class) {
	mark := func(bytes string, c class) {
		for i := range len(bytes) {
			all[bytes[i]] |= c
		}
	}
	for c := range 256 {
		switch b := byte(c); {
		case b >= '0' && b <= '9':
			all[c] = digit | inCard | inToken
		case b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z':
			all[c] = letter | inToken
		case b < ' ' || b == 0x7f:
			all[c] = ends
		}
	}
	mark(" -+", inCard) // a plus is a space in the query of a URL
	mark("-._~+/", inToken)
	mark("=: \"'`\\[({>", leads) // a backslash is before the quote in JSON within JSON
	mark("=:", separates)
	mark(" \"'`\\&,;)]}<>#?", ends)
	return all
}()

func isDigit(c byte) bool { return classes[c]&digit != 0 }
