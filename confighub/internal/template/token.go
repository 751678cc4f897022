// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"bytes"
	"fmt"
	"strings"
)

// kind of a token. Comments and delimiter changes leave no token.
type kind byte

const (
	text     kind = 't'
	variable kind = 'v'
	raw      kind = 'r'
	section  kind = '#'
	inverted kind = '^'
	closing  kind = '/'
	partial  kind = '>'
)

type token struct {
	kind kind
	// text is the literal of a text token, else the name in the tag.
	text string
	// at is where the tag, or the text, begins.
	at Position
	// indent is the white space before a partial that stands alone on its line.
	indent string
}

// tokenizer splits one template file. It has the positions that the library's parser lacks, and applies the
// rule for standalone lines (mustache.5, specs/*.yml "Standalone").
type tokenizer struct {
	file, src string
	// margin is the number of bytes that were put before each line that is not blank.
	margin      int
	pos         int
	open, close string
	line        int
	lineStart   int
	tokens      []token
	problems    Problems
}

// tokenize splits src. Indent is put before each line, as a partial's place asks for.
func tokenize(file string, src []byte, indent string) ([]token, Problems) {
	t := &tokenizer{file: file, src: indented(src, indent), margin: len(indent), open: "{{", close: "}}", line: 1}
	if i := strings.IndexByte(t.src, 0); i >= 0 {
		t.advance(i)
		t.problem(t.position(i), "", "holds a zero byte: a template is text")
		return nil, t.problems
	}
	for t.next() {
	}
	return t.tokens, t.problems
}

func indented(src []byte, indent string) string {
	if indent == "" {
		return string(src)
	}
	var b strings.Builder
	for line := range bytes.Lines(src) {
		if len(bytes.TrimRight(line, "\r\n")) > 0 {
			b.WriteString(indent)
		}
		b.Write(line)
	}
	return b.String()
}

func (t *tokenizer) problem(at Position, name, format string, args ...any) {
	t.problems.add(Problem{At: at, Name: name, Message: fmt.Sprintf(format, args...)})
}

// advance moves to offset to, counting lines.
func (t *tokenizer) advance(to int) {
	for i := t.pos; i < to; i++ {
		if t.src[i] == '\n' {
			t.line++
			t.lineStart = i + 1
		}
	}
	t.pos = to
}

// position of an offset on the current line.
func (t *tokenizer) position(offset int) Position {
	return Position{File: t.file, Line: t.line, Column: max(1, offset-t.lineStart+1-t.margin)}
}

func (t *tokenizer) addText(s string, at Position) {
	if s != "" {
		t.tokens = append(t.tokens, token{kind: text, text: s, at: at})
	}
}

// next takes the text up to the next tag, and the tag. It returns false at the end.
func (t *tokenizer) next() bool {
	n := strings.Index(t.src[t.pos:], t.open)
	from := t.position(t.pos)
	if n < 0 {
		t.addText(t.src[t.pos:], from)
		return false
	}
	before, start := t.pos, t.pos+n
	t.advance(start)
	at := t.position(start)
	body := start + len(t.open)
	stop := t.close
	triple := strings.HasPrefix(t.src[body:], "{")
	if triple {
		stop = "}" + t.close
	}
	length := strings.Index(t.src[body:], stop)
	if plain := strings.Index(t.src[body:], t.close); triple && plain >= 0 && (length < 0 || plain < length) {
		t.problem(at, "", "%s{ is closed by %s: it needs %s", t.open, t.close, stop)
		t.advance(body + plain + len(t.close))
		return true
	}
	if length < 0 {
		t.problem(at, "", "%s is not closed: no %s follows", t.open, stop)
		return false
	}
	content := t.src[body : body+length]
	if triple {
		content = "&" + content[1:]
	}
	end := body + length + len(stop)
	left, right := start, end
	if !triple && standsAlone(content) {
		left, right = t.standalone(start, end)
	}
	t.addText(t.src[before:max(before, left)], from)
	indent := t.src[left:start]
	t.advance(right)
	t.tag(content, at, indent)
	return len(t.tokens) <= maxTags
}

// standsAlone reports whether a tag of this content can have a line for itself.
func standsAlone(content string) bool {
	content = strings.TrimSpace(content)
	return content != "" && strings.IndexByte("#^/>!=", content[0]) >= 0
}

// standalone returns the span of the line when nothing but white space is beside the tag, else the tag's own.
func (t *tokenizer) standalone(start, end int) (int, int) {
	if strings.Trim(t.src[t.lineStart:start], " \t") != "" {
		return start, end
	}
	rest := t.src[end:]
	blank := len(rest) - len(strings.TrimLeft(rest, " \t"))
	switch tail := rest[blank:]; {
	case tail == "":
		return t.lineStart, len(t.src)
	case tail[0] == '\n':
		return t.lineStart, end + blank + 1
	case strings.HasPrefix(tail, "\r\n"):
		return t.lineStart, end + blank + 2
	}
	return start, end
}

func (t *tokenizer) tag(content string, at Position, indent string) {
	trimmed := strings.TrimSpace(content)
	if trimmed == "" {
		t.problem(at, "", "the tag is empty")
		return
	}
	k, name := variable, trimmed
	switch trimmed[0] {
	case '!':
		return
	case '=':
		t.delimiters(trimmed, at)
		return
	case '&':
		k, name = raw, trimmed[1:]
	case '#', '^', '/', '>':
		k, name = kind(trimmed[0]), trimmed[1:]
	case '<', '$':
		t.problem(at, "", "inheritance (%s%s%s) is not supported: use a partial", t.open, trimmed, t.close)
		return
	}
	name = strings.TrimSpace(name)
	switch {
	case name == "":
		t.problem(at, "", "the tag %s names nothing", trimmed)
		return
	case strings.ContainsAny(name, "\r\n"):
		t.problem(at, "", "the tag goes on over the end of its line: no %s closes it there", t.close)
		return
	case k == partial && name[0] == '*':
		t.problem(at, "", "dynamic partial names (%s) are not supported", name)
		return
	case k != partial && name != "." && (strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || strings.Contains(name, "..")):
		t.problem(at, name, "is not a data path: names are separated by one dot")
		return
	case strings.HasPrefix(name, "@") && atNames[name] == "":
		t.problem(at, name, "is unknown: list items have @index, @first and @last")
		return
	}
	t.tokens = append(t.tokens, token{kind: k, text: name, at: at, indent: indent})
}

// delimiters handles {{=<% %>=}}.
func (t *tokenizer) delimiters(tag string, at Position) {
	inner, ok := strings.CutSuffix(tag[1:], "=")
	parts := strings.Fields(inner)
	if !ok || len(parts) != 2 || strings.Contains(inner, "=") {
		t.problem(at, "", "must be two delimiters without =, such as {{=<%% %%>=}}")
		return
	}
	t.open, t.close = parts[0], parts[1]
}
