// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"errors"
	"strings"
)

// xmlFormat knows character data, quoted attribute values, names, comments, CDATA sections, instructions and
// declarations (XML 1.0, §2 to §4).
type xmlFormat struct {
	place xmlPlace
	// quote of the attribute value, or of a literal in a declaration.
	quote byte
	// depth counts the < of a declaration that are open.
	depth int
	tail  tail
	// reference: in a reference of the template's own, such as &am.
	reference bool
}

type xmlPlace byte

const (
	xmlText xmlPlace = iota
	xmlTag
	xmlAttribute
	xmlComment
	xmlCData
	xmlInstruction
	xmlDeclaration
)

// tail is the last few bytes of the text.
type tail string

func (t *tail) add(c byte) {
	if *t += tail([]byte{c}); len(*t) > 32 {
		*t = (*t)[len(*t)-16:]
	}
}

func (t tail) ends(s string) bool { return strings.HasSuffix(string(t), s) }

func (t tail) last() byte {
	if t == "" {
		return 0
	}
	return t[len(t)-1]
}

func (f *xmlFormat) literal(text string) error {
	for i := 0; i < len(text); i++ {
		c := text[i]
		f.reference = c == '&' || f.reference && (alphanumeric(rune(c)) || c == '#' || c == '_')
		f.step(c)
	}
	return nil
}

func (f *xmlFormat) step(c byte) {
	f.tail.add(c)
	switch f.place {
	case xmlText:
		if c == '<' {
			f.place, f.tail = xmlTag, "<"
		}
	case xmlTag:
		f.inTag(c)
	case xmlAttribute:
		if c == f.quote {
			f.place = xmlTag
		}
	case xmlDeclaration:
		f.inDeclaration(c)
	default:
		if f.place == xmlComment && f.tail.ends("-->") || f.place == xmlCData && f.tail.ends("]]>") || f.place == xmlInstruction && f.tail.ends("?>") {
			f.place = xmlText
		}
	}
}

func (f *xmlFormat) inTag(c byte) {
	switch {
	case f.tail == "<!--":
		f.place, f.tail = xmlComment, ""
	case f.tail == "<![CDATA[":
		f.place, f.tail = xmlCData, ""
	case f.tail == "<?":
		f.place, f.tail = xmlInstruction, ""
	case strings.HasPrefix("<!--", string(f.tail)) || strings.HasPrefix("<![CDATA[", string(f.tail)):
	case strings.HasPrefix(string(f.tail), "<!"):
		f.place, f.depth, f.quote = xmlDeclaration, 1, 0
		if c != '>' { // <!> is none: what follows is not sure
			f.inDeclaration(c)
		}
	case c == '"' || c == '\'':
		f.place, f.quote = xmlAttribute, c
	case c == '>':
		f.place = xmlText
	}
}

func (f *xmlFormat) inDeclaration(c byte) {
	switch {
	case f.quote != 0:
		if c == f.quote {
			f.quote = 0
		}
	case c == '"' || c == '\'':
		f.quote = c
	case c == '<':
		f.depth++
	case c == '>':
		if f.depth--; f.depth == 0 {
			f.place = xmlText
		}
	}
}

func (f *xmlFormat) value(v value, at spot) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	// XML 1.0 §2.2: these cannot stand in a document, not even as references.
	if r, bad := firstRune(word, func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\t' && r != '\r' || r&0xfffe == 0xfffe
	}); bad {
		return "", cannot(r, "XML")
	}
	last := f.tail.last()
	declares := f.place == xmlDeclaration || f.place == xmlTag && strings.HasPrefix(string(f.tail), "<!")
	if word != "" {
		f.tail.add('x')
	}
	switch {
	case f.reference && word != "":
		return "", errReference
	case f.place == xmlAttribute:
		return xmlAttributeEscaper.Replace(word), nil
	case f.place == xmlText:
		if strings.HasSuffix(word, "]") && (at.after == ']' || at.after == '>' || at.after == touching) {
			return afterReturn(last, word, xmlTextEscaper.Replace(word[:len(word)-1])) + "&#93;", nil
		}
		return afterReturn(last, word, xmlTextEscaper.Replace(word)), nil
	case declares:
		return "", errors.New("stands in a declaration of XML: write it in the template, or {{{name}}}")
	case f.place == xmlTag:
		return xmlName(word, last)
	}
	if r, bad := firstRune(word, func(r rune) bool { return strings.ContainsRune("-]>?\r", r) }); bad {
		return "", cannot(r, "a comment, a CDATA section or an instruction")
	}
	return word, nil
}

// afterReturn keeps a line feed at a value's start from being one line break with a carriage return before it.
func afterReturn(last byte, word, escaped string) string {
	if last == '\r' && word[:min(1, len(word))] == "\n" {
		return "&#10;" + escaped[1:]
	}
	return escaped
}

var errReference = errors.New("stands behind an &, as a part of that reference")

// xmlName is a value in a tag outside of quotes.
func xmlName(word string, last byte) (string, error) {
	r, bad := firstRune(word, not(asciiOf("-._")))
	begins := last == '<' || last == '/' || blank(last)
	switch {
	case word == "":
		return "", errors.New("is empty, and stands in a tag outside of quotes")
	case last == '=' || last == '"' || last == '\'':
		return "", errors.New("is an attribute's value outside of quotes: put double quotes around the whole")
	case bad:
		return "", cannot(r, "a tag outside of quotes")
	case begins && !(word[0] == '_' || word[0] > '9'):
		return "", cannot(rune(word[0]), "the start of a name")
	}
	return word, nil
}

var (
	xmlTextEscaper      = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#13;")
	xmlAttributeEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;", "\r", "&#13;", "\n", "&#10;", "\t", "&#9;")
)
