// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// Kinds of a node: those of hujson (the first byte of the value, 0 for numbers), except that both truth values are kindBool.
const (
	kindNull   = 'n'
	kindBool   = 't'
	kindString = '"'
	kindNumber = '0'
	kindObject = '{'
	kindList   = '['
	kindText   = 'e' // the value of an environment variable, whose type is whatever is expected
	kindSecret = 's' // the same from a file that a variable names: it may be a secret and is never shown
)

// node is a JSON value that knows its place. Nodes are never changed once they are parsed, except by merge, which makes new ones.
type node struct {
	kind    byte
	at      position // of its name in an object, else of the value
	text    string   // string and text: the content; number and bool: as written
	members []member // object, in the order written
	items   []*node  // list
}

// member is a name in an object and its value.
type member struct {
	name  string
	value *node
}

// member finds a value by name; nil when n is nil, no object, has no such name, or has null there.
func (n *node) member(name string) *node {
	if n == nil {
		return nil
	}
	for _, m := range n.members {
		if m.name == name && m.value.kind != kindNull {
			return m.value
		}
	}
	return nil
}

// longest is how many characters of a value a message shows.
const longest = 60

// oneLine shortens a text that came from outside to what fits into a message, without control characters.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > 2*longest {
		return string(runes[:2*longest]) + "…"
	}
	return text
}

// shown is the value as an error message shows it, no longer than a line can bear.
func (n *node) shown() string {
	switch n.kind {
	case kindSecret:
		return "something else"
	case kindObject:
		return "an object"
	case kindList:
		return "a list"
	case kindString, kindText:
		if text := []rune(n.text); len(text) > longest {
			return strconv.Quote(string(text[:longest])) + "…"
		}
		return strconv.Quote(n.text)
	case kindNull:
		return "null"
	}
	if len(n.text) > longest {
		return n.text[:longest] + "…"
	}
	return n.text
}

// plain gives the value as encoding/json would decode it into any, but with json.Number for numbers.
func (n *node) plain() any {
	switch n.kind {
	case kindNull:
		return nil
	case kindBool:
		return n.text == "true"
	case kindNumber:
		return json.Number(n.text)
	case kindObject:
		out := make(map[string]any, len(n.members))
		for _, m := range n.members {
			out[m.name] = m.value.plain()
		}
		return out
	case kindList:
		out := make([]any, len(n.items))
		for i, item := range n.items {
			out[i] = item.plain()
		}
		return out
	}
	return n.text
}

// parser turns the bytes of one file into nodes.
type parser struct {
	found *findings
	file  position // rank and name
	ends  []int    // offsets of the newlines
}

// parse reads one file. An empty one, or one of comments alone, is an empty object. It returns nil after a problem
// that leaves nothing to be judged; a key that is given twice is a problem, but the second value stands.
func parse(data []byte, rank int, name string, found *findings) *node {
	p := &parser{found: found, file: position{rank: rank, name: name}}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // RFC 8259 §8.1: a parser may ignore the mark that some editors put
	for i, c := range data {
		if c == '\n' {
			p.ends = append(p.ends, i)
		}
	}
	if at := invalidUTF8(data); at >= 0 {
		found.problem(p.position(at), "", "not valid UTF-8")
		return nil
	}
	if at := tooDeep(data); at >= 0 {
		found.problem(p.position(at), "", "nested deeper than %d levels", maxDepth)
		return nil
	}
	if blank(data) {
		return &node{kind: kindObject, at: p.file}
	}
	if !bytes.HasSuffix(data, []byte("\n")) {
		data = append(slices.Clip(data), '\n') // hujson wants every comment to end, the last one too
	}
	value, err := hujson.Parse(data)
	if err != nil {
		line, message := syntaxError(err)
		at := p.file
		at.line = line
		found.problem(at, "", "%s", message)
		return nil
	}
	root := p.node(value, p.position(value.StartOffset), "")
	if root.kind != kindObject {
		found.problem(root.at, "", "must be an object, got %s", root.shown())
		return nil
	}
	return root
}

// position is the place of an offset in the file.
func (p *parser) position(offset int) position {
	line := 1
	for low, high := 0, len(p.ends); low < high; { // the number of newlines before offset
		middle := (low + high) / 2
		if p.ends[middle] < offset {
			low, line = middle+1, middle+2
		} else {
			high = middle
		}
	}
	return position{rank: p.file.rank, name: p.file.name, line: line}
}

// node converts a value; at is the place of its name, or its own.
func (p *parser) node(value hujson.Value, at position, key string) *node {
	switch v := value.Value.(type) {
	case *hujson.Object:
		n := &node{kind: kindObject, at: at}
		first := map[string]int{} // name → index in n.members
		for _, m := range v.Members {
			name := m.Name.Value.(hujson.Literal).String()
			at := p.position(m.Name.StartOffset)
			value := p.node(m.Value, at, Join(key, name))
			if i, ok := first[name]; ok {
				p.found.problem(at, Join(key, name), "is given twice, first in line %d", n.members[i].value.at.line)
				n.members[i].value = value
				continue
			}
			first[name] = len(n.members)
			n.members = append(n.members, member{name, value})
		}
		return n
	case *hujson.Array:
		n := &node{kind: kindList, at: at}
		for i, item := range v.Elements {
			n.items = append(n.items, p.node(item, p.position(item.StartOffset), index(key, i)))
		}
		return n
	}
	literal := value.Value.(hujson.Literal)
	n := &node{kind: byte(literal.Kind()), at: at, text: literal.String()}
	if n.kind == 'f' {
		n.kind = kindBool
	}
	return n
}

// Join is the key of a member, as a [Checker] reports it: "a.b", or "a["b.c"]" for a name that would be misread.
func Join(key, name string) string {
	odd := func(r rune) bool {
		return strings.ContainsRune(`.[]"\`, r) || !unicode.IsGraphic(r) || unicode.IsSpace(r)
	}
	if name == "" || strings.ContainsFunc(name, odd) {
		return key + "[" + strconv.Quote(name) + "]"
	}
	if key == "" {
		return name
	}
	return key + "." + name
}

// index is the key of an item of a list.
func index(key string, i int) string { return key + "[" + strconv.Itoa(i) + "]" }

// invalidUTF8 is the offset of the first byte that is no part of a character, or -1.
func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// blank reports whether data holds white space and comments alone.
func blank(data []byte) bool {
	value, err := hujson.Parse(append(slices.Clip(data), "\n0"...))
	return err == nil && value.StartOffset > len(data)
}

// tooDeep gives the offset of the first bracket that nests deeper than maxDepth, or -1. It goes before the real parser,
// which recurses, and need not be exact on input that is no JWCC: that is refused next.
func tooDeep(data []byte) int {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case bytes.HasPrefix(data[i:], []byte("//")):
			i += endOf(data[i:], "\n")
		case bytes.HasPrefix(data[i:], []byte("/*")):
			i += 2 + endOf(data[i+2:], "*/")
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return i
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return -1
}

// endOf is the offset of the last byte of mark in data, or of data when it has no mark.
func endOf(data []byte, mark string) int {
	if i := bytes.Index(data, []byte(mark)); i >= 0 {
		return i + len(mark) - 1
	}
	return len(data)
}

// syntaxError takes line and message out of an error of hujson, "hujson: line 3, column 5: invalid …".
func syntaxError(err error) (line int, message string) {
	message = oneLine(strings.TrimPrefix(err.Error(), "hujson: "))
	message = strings.ReplaceAll(message, io.ErrUnexpectedEOF.Error(), "the file ends too early")
	rest, ok := strings.CutPrefix(message, "line ")
	if !ok {
		return 1, message
	}
	number, rest, _ := strings.Cut(rest, ", ")
	if line, err = strconv.Atoi(number); err != nil {
		return 1, message
	}
	return line, rest
}
