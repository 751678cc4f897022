// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"bytes"
	"encoding/base64"
)

// A token is a long run of the characters that tokens are made of. It is hidden for what stands before it (an
// Authorization header, its scheme, a name that means a token) or for how it begins (token_shape.go). Names of no value,
// words of a sentence, and numbers alone are left.

// Lengths of runs, in bytes.
const (
	minToken  = MinBytes // shorter ones are left alone
	minOpaque = 16       // under a name that means other things too
	minSigned = 32       // a signature; shorter ones are words
	sureToken = 24       // from which on a token need not have a digit
	maxLead   = 12       // between a name and its value
	maxName   = 64       // longer ones are compared by their ends
	valueHead = 64       // of a value, before the run
)

// tokens appends the spans of tokens. Bytes that cannot be within a run are passed over, eight at a time.
func tokens(line []byte, spans []span) []span {
	for i, done := minToken-1, 0; i < len(line); {
		if classes[line[i]]&inToken == 0 {
			i += minToken
			continue
		}
		from, to := i, i+1
		for from > done && classes[line[from-1]]&inToken != 0 {
			from--
		}
		for to < len(line) && classes[line[to]]&inToken != 0 {
			to++
		}
		if to-from >= minToken {
			spans = tokenIn(line, from, to, false, spans)
		}
		done, i = to, to+minToken
	}
	return spans
}

// tokenIn judges the run line[from:to]. open: it may go on behind it.
func tokenIn(line []byte, from, to int, open bool, spans []span) []span {
	if s, ok := credential(line, from, to, open); ok {
		return append(spans, s)
	}
	if to-from < minShaped && !open {
		return spans
	}
	for at := from; at < to; at++ {
		if shapedFirst[line[at]] && (at == from || classes[line[at-1]]&(letter|digit) == 0) {
			if end := shaped(line, from, at, to, open); end > at {
				spans = append(spans, span{at, end, labelToken})
				at = end - 1
			}
		}
	}
	return spans
}

// credential finds a token by what stands before it.
func credential(line []byte, from, to int, open bool) (span, bool) {
	start := from
	for start > 0 && from-start < valueHead && classes[line[start-1]]&(leads|ends) == 0 {
		start--
	}
	at, says := lead(line, start)
	if at == start || at == 0 {
		return span{}, false
	}
	if says {
		if to < len(line) && line[to] == ' ' && isAuthorization(line, at) { // the scheme
			return span{}, false
		}
		if !means(line[start:to], nameOf(line, at), open) {
			return span{}, false
		}
		for to < len(line) && classes[line[to]]&ends == 0 {
			to++
		}
		return span{start, to, labelToken}, true
	}
	if start == from && bears(line, at, from, to, open) {
		for n := 0; n < 2 && to < len(line) && line[to] == '='; n++ {
			to++
		}
		return span{from, to, labelToken}, true
	}
	return span{}, false
}

// lead goes back over what stands between a name, or a scheme, and its value. says: it was a name.
func lead(line []byte, from int) (at int, says bool) {
	for at = from; at > 0 && from-at < maxLead; at-- {
		c := classes[line[at-1]]
		if c&leads == 0 {
			break
		}
		says = says || c&separates != 0
	}
	return at, says
}

// nameOf is the word that ends at line[at].
func nameOf(line []byte, at int) []byte {
	from := at
	for from > 0 && at-from < maxName && (classes[line[from-1]]&(letter|digit) != 0 || line[from-1] == '_' || line[from-1] == '-') {
		from--
	}
	return line[from:at]
}

// bears says whether the word that ends at line[at] is a scheme (RFC 9110, section 11.4) whose credentials line[from:to] are.
func bears(line []byte, at, from, to int, open bool) bool {
	switch line[at-1] | 0x20 {
	case 'r', 'c', 'n', 'y', 'e':
	default:
		return false
	}
	scheme := nameOf(line, at)
	basic := foldEqual(scheme, "basic")
	bearer := !basic && foldEqual(scheme, "bearer")
	if !basic && !bearer && !foldEqual(scheme, "token") && !foldEqual(scheme, "apikey") && !foldEqual(scheme, "negotiate") {
		return false
	}
	if before, says := lead(line, at-len(scheme)); says && isAuthorization(line, before) {
		return true
	}
	value := line[from:to]
	return basic && isBasic(value) || bearer && (open || len(value) >= minOpaque) && isOpaque(value)
}

func isAuthorization(line []byte, at int) bool {
	const word = "authorization"
	return at >= len(word) && hasFold(line[at-len(word):], word)
}

func foldEqual(b []byte, word string) bool { return len(b) == len(word) && hasFold(b, word) }

// isOpaque says whether a value is no word.
func isOpaque(value []byte) bool {
	if len(value) >= sureToken {
		return true
	}
	for _, c := range value {
		if isDigit(c) {
			return true
		}
	}
	return false
}

// isBasic says whether a value is a name, a colon and a password in base64 (RFC 7617).
func isBasic(value []byte) bool {
	var text [96]byte
	value = value[:min(len(value)&^3, base64.StdEncoding.EncodedLen(len(text)))]
	n, err := base64.StdEncoding.Decode(text[:], value)
	if err != nil {
		return false
	}
	for _, c := range text[:n] {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return bytes.IndexByte(text[:n], ':') >= 0
}

// Ends of names, as they read without _ and -, in small letters.
var (
	sureNames = []string{
		"accesstoken", "refreshtoken", "idtoken", "authtoken", "apitoken", "privatetoken", "sessiontoken",
		"securitytoken", "bearertoken", "oauthtoken", "jobtoken", "vaulttoken", "apikey", "clientsecret",
		"appsecret", "apisecret", "secretkey", "secretaccesskey", "authorization",
	}
	otherTokens = []string{"pagetoken", "nexttoken", "continuationtoken", "synctoken"} // places in a list
)

// means says whether a name, with such a value, means a token.
func means(value, name []byte, open bool) bool {
	if len(name) == 0 {
		return false
	}
	switch name[len(name)-1] | 0x20 {
	case 'n', 'y', 't', 'e', 'g':
	default:
		return false
	}
	var buf [maxName]byte
	plain := buf[:0]
	for _, c := range name {
		if c != '_' && c != '-' {
			plain = append(plain, c|0x20)
		}
	}
	switch {
	case !open && !isOpaque(value):
		return false
	case endsWith(plain, sureNames):
		return true
	case bytes.HasSuffix(plain, []byte("token")):
		return (open || len(value) >= minOpaque) && !endsWith(plain, otherTokens)
	case bytes.HasSuffix(plain, []byte("signature")), string(plain) == "sig": // of a URL that lets everybody in
		return open || len(value) >= minSigned
	}
	return false
}

func endsWith(name []byte, words []string) bool {
	for _, w := range words {
		if len(name) >= len(w) && string(name[len(name)-len(w):]) == w {
			return true
		}
	}
	return false
}

// tokenBegins finds what may be the beginning of a token at the end of text.
func tokenBegins(text []byte) (at int, ok bool) {
	from := len(text)
	for from > 0 && classes[text[from-1]]&inToken != 0 {
		from--
	}
	if len(text)-from < minBegin {
		return 0, false
	}
	var one [1]span
	for _, s := range tokenIn(text, from, len(text), true, one[:0]) {
		if s.to == len(text) {
			return s.from, true
		}
	}
	return 0, false
}
