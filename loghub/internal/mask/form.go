// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"html"
	"strings"
	"unicode/utf8"
)

// maxHex is up to which length a value is looked for in hexadecimal: keys are, long texts are not.
const maxHex = 128

// forms calls yield with the forms in which a text of at least MinBytes is looked for. What JSON, URLs and backslashes
// make of it is not among them: see escape.go. yield must not keep the bytes.
func forms(text string, yield func(form []byte, e edge)) {
	raw := []byte(text)
	yield(raw, 0)
	inBase64(raw, yield)
	if len(raw) <= maxHex {
		low := hex.AppendEncode(nil, raw)
		yield(low, 0)
		if up := bytes.ToUpper(low); !bytes.Equal(up, low) {
			yield(up, 0)
		}
	}
	if !utf8.Valid(raw) {
		return
	}
	seen := map[string]bool{text: true}
	for _, other := range []string{
		strings.ReplaceAll(text, " ", "+"),    // the query of a URL
		strings.ReplaceAll(text, "'", "''"),   // SQL
		strings.ReplaceAll(text, `"`, `""`),   // CSV
		strings.ReplaceAll(text, "'", `'\''`), // a shell's trace
		strings.ReplaceAll(text, "'", `'"'"'`),
		html.EscapeString(text),
		xmlEscape(text),
	} {
		if !seen[other] {
			seen[other] = true
			yield([]byte(other), 0)
		}
	}
}

// xmlEscape writes the five predefined entities by name (XML 1.0, 4.6).
func xmlEscape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;").Replace(s)
}

// inBase64 yields the characters that the text alone decides, wherever it stands in a longer text: three bytes make four
// characters, so there are three ways to lie (RFC 4648, section 4 and, where it differs, 5). The characters at the ends
// that hold bits of the neighbours too are the edges.
func inBase64(raw []byte, yield func(form []byte, e edge)) {
	for before := range 3 {
		n := before + len(raw)
		padded := make([]byte, n, n+2)
		copy(padded[before:], raw)
		first, end := (8*before+5)/6, 8*n/6
		e := edgePadding
		if before > 0 {
			e |= edgeBefore
		}
		if n%3 != 0 {
			e |= edgeAfter
		}
		std := base64.RawStdEncoding.AppendEncode(nil, padded)[first:end]
		yield(std, e)
		if bytes.ContainsAny(std, "+/") {
			yield(base64.RawURLEncoding.AppendEncode(nil, padded)[first:end], e)
		}
	}
}
