// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"errors"
	"strings"
)

// htmlFormat knows the places of HTML's tokenizer (https://html.spec.whatwg.org/#tokenization): text, quoted and
// unquoted attribute values, names, comments, and elements whose text knows no escapes, such as script, where a number
// or a boolean may stand and nothing else.
type htmlFormat struct {
	place htmlPlace
	quote byte
	// name is the tag's that is open or was last; closing: it is an end tag.
	name            string
	naming, closing bool
	// equals: a = was last, so that a value begins.
	equals bool
	// raw is the element whose text is not markup.
	raw  string
	tail tail
	// reference: in a character reference of the template's own, such as &am.
	reference bool
}

type htmlPlace byte

const (
	htmlText htmlPlace = iota
	htmlOpen           // behind a <
	htmlTag
	htmlAttribute
	htmlUnquoted
	htmlComment
	htmlBogus // <! and <?, to the next >
)

// htmlRaw elements hold text without escapes; htmlNoTags text with escapes and without tags.
const (
	htmlRaw    = " script style xmp iframe noembed noframes noscript plaintext "
	htmlNoTags = " title textarea "
)

func (f *htmlFormat) literal(text string) error {
	for i := 0; i < len(text); i++ {
		c := text[i]
		f.reference = c == '&' || f.reference && (alphanumeric(rune(c)) || c == '#')
		f.step(c)
	}
	return nil
}

func (f *htmlFormat) step(c byte) {
	f.tail.add(c)
	switch f.place {
	case htmlText:
		f.inText(c)
	case htmlOpen:
		f.opened(c)
	case htmlTag:
		f.inTag(c)
	case htmlAttribute:
		if c == f.quote {
			f.place = htmlTag
		}
	case htmlUnquoted:
		if blank(c) || c == '>' {
			f.place = htmlTag
			f.inTag(c)
		}
	case htmlComment:
		// A browser ends a comment at <!--> and <!---> too.
		if f.tail.ends("-->") || f.tail.ends("--!>") {
			f.place = htmlText
		}
	case htmlBogus:
		if f.tail.ends("<!--") {
			f.place = htmlComment
		} else if c == '>' {
			f.place = htmlText
		}
	}
}

func (f *htmlFormat) inText(c byte) {
	switch {
	case f.raw == "" && c == '<':
		f.place = htmlOpen
	case f.raw == "script" && f.tail.ends("<!--"):
		f.raw = "plaintext" // from here on </script> ends it or does not, and no page should depend on it
	case f.raw != "" && f.raw != "plaintext" && (blank(c) || c == '\f' || c == '/' || c == '>') &&
		strings.HasSuffix(strings.ToLower(string(f.tail[:len(f.tail)-1])), "</"+f.raw):
		f.place, f.name, f.raw = htmlTag, f.raw, ""
		f.closing, f.naming = true, false
		f.inTag(c)
	}
}

func (f *htmlFormat) opened(c byte) {
	letter := c|0x20 >= 'a' && c|0x20 <= 'z'
	switch {
	case letter:
		f.place, f.name, f.naming = htmlTag, strings.ToLower(string(c)), true
		return
	case c == '/' && f.tail.ends("</"):
		f.closing = true
		return
	case (c == '!' || c == '?') && !f.closing, f.closing && c != '>':
		f.place = htmlBogus
	default:
		f.place = htmlText
		if c == '<' {
			f.place = htmlOpen
		}
	}
	f.closing = false
}

func (f *htmlFormat) inTag(c byte) {
	switch {
	case c == '>':
		f.endTag()
	case blank(c) || c == '\f' || c == '/' && !f.equals:
		f.naming = false
		return // white space may stand between = and the value
	case f.naming:
		if len(f.name) < 32 {
			f.name += strings.ToLower(string(rune(c)))
		}
	case (c == '"' || c == '\'') && f.equals:
		f.place, f.quote = htmlAttribute, c
	case f.equals:
		f.place = htmlUnquoted
	}
	f.equals = c == '=' && !f.naming && !f.equals
}

func (f *htmlFormat) endTag() {
	f.place, f.naming, f.equals = htmlText, false, false
	if !f.closing && strings.Contains(htmlRaw+htmlNoTags, " "+f.name+" ") {
		f.raw = f.name
	}
	f.closing = false
}

func (f *htmlFormat) value(v value, _ spot) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	if r, bad := firstRune(word, func(r rune) bool {
		return control(r) && r < 0xa0 && r != '\n' && r != '\t' && r != '\r' || r&0xfffe == 0xfffe
	}); bad {
		return "", cannot(r, "HTML")
	}
	if f.place == htmlText && strings.Contains(htmlRaw, " "+f.raw+" ") && v.kind != typeNumber && v.kind != typeBoolean {
		return "", errors.New("stands in <" + f.raw + ">, whose text has no escapes: put it into an attribute, data-…, and read it from there")
	}
	if word == "" {
		return "", nil
	}
	last := f.tail.last()
	f.tail.add('x')
	switch {
	case f.reference:
		return "", errReference
	case f.place == htmlText && last == '>' && strings.ContainsAny(word[:1], "\r\n") && strings.Contains(" pre textarea listing ", " "+f.name+" "):
		return "", cannot('\n', "the start of <"+f.name+">")
	case f.place == htmlText, f.place == htmlAttribute:
		return afterReturn(last, word, htmlEscaper.Replace(word)), nil
	}
	return f.unquoted(word, last)
}

// unquoted is a value in a name, an attribute without quotes or a comment.
func (f *htmlFormat) unquoted(word string, last byte) (string, error) {
	place := "a tag of HTML outside of quotes"
	if f.place == htmlComment || f.place == htmlBogus {
		place = "a comment of HTML"
	}
	safe := asciiOf("_.:-")
	if f.place == htmlComment || f.place == htmlBogus {
		safe = onlyOf("_.: ")
	}
	if r, bad := firstRune(word, not(safe)); bad {
		return "", cannot(r, place)
	}
	switch f.place {
	case htmlOpen:
		if word[0] < 'A' || word[0] == '_' {
			return "", cannot(rune(word[0]), "the start of a tag's name")
		}
		for i := range len(word) {
			if f.place != htmlOpen && f.place != htmlTag {
				break
			}
			f.step(word[i])
		}
	case htmlTag:
		if f.naming && len(f.name) < 32 {
			f.name += strings.ToLower(word)
		} else if f.equals {
			f.place, f.equals = htmlUnquoted, false
		}
	}
	return word, nil
}

var htmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;", "\r", "&#13;")
