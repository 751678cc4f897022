// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"fmt"
	"strconv"
	"strings"
)

// piece is literal text, or a value with the tag that wrote it.
type piece struct {
	literal string
	// texts of the template that literal is made of, when they are traced.
	texts []textStart
	tag   *node
	value value
}

// textStart is where a text of the template begins in a literal.
type textStart struct {
	offset int
	text   *node
}

// pieces splits the library's output at its marks. No two literals stand beside each other.
func pieces(t *tree, output string) ([]piece, error) {
	list := make([]piece, 0, 2*strings.Count(output, tagMark)+1)
	var literal stretch
	var texts []textStart
	flush := func() {
		if literal.len() > 0 {
			list = append(list, piece{literal: literal.String(), texts: texts})
			literal, texts = stretch{}, nil
		}
	}
	for output != "" {
		i := strings.IndexByte(output, 0)
		if i < 0 {
			i = len(output)
		}
		literal.add(output[:i])
		output = output[i:]
		if rest, ok := strings.CutPrefix(output, nothing); ok || output == "" {
			output = rest
			continue
		}
		if n, rest, ok := cutMark(output, textMark, t.texts); ok {
			texts = append(texts, textStart{literal.len(), n})
			output = rest
			continue
		}
		flush()
		n, rest, ok := cutMark(output, tagMark, t.variables)
		if !ok {
			return nil, fmt.Errorf("reading the rendered text: mark %q is broken", output[:min(8, len(output))])
		}
		p := piece{tag: n}
		p.value, output = cutValue(rest)
		list = append(list, p)
	}
	flush()
	return list, nil
}

// stretch is text put together of parts. Mostly there is one, which is not copied.
type stretch struct {
	first string
	all   strings.Builder // when there are more
}

func (s *stretch) add(part string) {
	switch {
	case part == "":
	case s.len() == 0:
		s.first = part
	default:
		if s.all.Len() == 0 {
			s.all.WriteString(s.first)
		}
		s.all.WriteString(part)
	}
}

func (s *stretch) len() int { return max(len(s.first), s.all.Len()) }

func (s *stretch) String() string {
	if s.all.Len() > 0 {
		return s.all.String()
	}
	return s.first
}

// cutMark takes a mark and the number of one of the nodes from the beginning of s.
func cutMark(s, mark string, nodes []*node) (n *node, rest string, ok bool) {
	if rest, ok = strings.CutPrefix(s, mark); !ok {
		return nil, s, false
	}
	digits, rest, ok := strings.Cut(rest, ":")
	id, err := strconv.Atoi(digits)
	if !ok || err != nil || id < 0 || id >= len(nodes) {
		return nil, s, false
	}
	return nodes[id], rest, true
}

// missingValue is the kind of a value that the library found nothing for.
const missingValue = '?'

func cutValue(s string) (value, string) {
	if len(s) < 2 || s[0] != 0 || strings.IndexByte("snb0ol", s[1]) < 0 {
		return value{kind: missingValue}, s
	}
	digits, rest, _ := strings.Cut(s[2:], ":")
	n, err := strconv.Atoi(digits)
	if err != nil || n > len(rest) {
		return value{kind: missingValue}, s
	}
	return value{kind: s[1], text: rest[:n]}, rest[n:]
}

// spot is what stands around a value.
type spot struct {
	// before and after are the neighbouring bytes; 0 at an end of the file, touching for another value.
	before, after byte
	// rest is the template text that follows, up to the next value.
	rest string
	// end: after rest the file ends.
	end bool
}

// touching is the neighbour of a value that stands right beside another one.
const touching = 1

func around(list []piece, i int) spot {
	at := spot{end: i+2 >= len(list)}
	if i > 0 {
		if p := list[i-1]; p.tag != nil {
			at.before = touching
		} else {
			at.before = p.literal[len(p.literal)-1]
		}
	}
	if i+1 < len(list) {
		if p := list[i+1]; p.tag != nil {
			at.after, at.end = touching, false
		} else {
			at.after, at.rest = p.literal[0], p.literal
		}
	}
	return at
}
