// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"errors"
	"strings"
)

// xmlFormat knows character data, quoted attribute values, comments and CDATA sections (XML 1.0, §2 and §3).
type xmlFormat struct {
	// inside: 0 character data, '<' a tag, '"' or '\'' an attribute value, '!' a comment, '[' a CDATA section,
	// '?' a processing instruction.
	inside byte
	tail   string
}

func (f *xmlFormat) literal(text string) {
	for i := 0; i < len(text); i++ {
		f.step(text[i])
	}
}

func (f *xmlFormat) step(c byte) {
	f.tail += string(rune(c))
	if len(f.tail) > 32 {
		f.tail = f.tail[len(f.tail)-16:]
	}
	ends := func(s string) bool { return strings.HasSuffix(f.tail, s) }
	switch f.inside {
	case 0:
		if c == '<' {
			f.inside, f.tail = '<', "<"
		}
	case '<':
		switch {
		case f.tail == "<!--":
			f.inside = '!'
		case f.tail == "<![CDATA[":
			f.inside = '['
		case f.tail == "<?":
			f.inside = '?'
		case c == '"' || c == '\'':
			f.inside = c
		case c == '>':
			f.inside = 0
		}
	case '"', '\'':
		if c == f.inside {
			f.inside = '<'
		}
	case '!':
		if ends("-->") {
			f.inside = 0
		}
	case '[':
		if ends("]]>") {
			f.inside = 0
		}
	case '?':
		if ends("?>") {
			f.inside = 0
		}
	}
}

func (f *xmlFormat) value(v value, _ spot) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	// XML 1.0 §2.2: these cannot stand in a document, not even as references.
	if r, bad := firstRune(word, func(r rune) bool {
		return r != '\n' && r != '\t' && r != '\r' && control(r) && r < 0x7f || r == 0xfffe || r == 0xffff || r == '\uFFFD'
	}); bad {
		return "", cannot(r, "XML")
	}
	f.tail += "x"
	switch f.inside {
	case '"', '\'':
		return xmlAttribute.Replace(word), nil
	case 0:
		return xmlText.Replace(word), nil
	case '!', '?', '[':
		if r, bad := firstRune(word, func(r rune) bool { return r == '-' || r == '>' || r == '?' || r == '\r' }); bad {
			return "", cannot(r, "a comment, a CDATA section or an instruction")
		}
		return word, nil
	}
	if r, bad := firstRune(word, not(onlyOf("-._:"))); bad || word == "" {
		if word == "" {
			return "", errors.New("is empty, and stands in a tag outside of quotes")
		}
		return "", cannot(r, "a tag outside of quotes")
	}
	return word, nil
}

var (
	xmlText      = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#13;")
	xmlAttribute = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;", "\r", "&#13;", "\n", "&#10;", "\t", "&#9;")
)
