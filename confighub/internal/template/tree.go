// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Limits of one template with its partials expanded.
const (
	maxPartialDepth = 32
	maxSectionDepth = 100
	maxExpanded     = 16 << 20
)

// node is a token with its children; partials are gone.
type node struct {
	token
	children []*node
	// id numbers the variables, so that the output tells which tag wrote a value.
	id int
}

// tree is one template with every partial put in its place.
type tree struct {
	roots []*node
	// variables by id.
	variables []*node
}

// expander builds a tree. The library expands partials at each rendering, with HTML escaping whatever was
// set, and without an end for a partial that includes itself; here they are expanded once, before it parses.
type expander struct {
	find     func(name string) (file string, src []byte, ok bool)
	lenient  bool
	tree     *tree
	expanded int
	problems Problems
}

// open section while building.
type level struct {
	into *[]*node
	open *node
}

func (e *expander) expand(file string, src []byte, indent string, path []string, depth int) []*node {
	if e.expanded += len(src) + len(indent); e.expanded > maxExpanded {
		e.problem(Position{file, 1, 1}, "", "partials expand to more than %d bytes", maxExpanded)
		return nil
	}
	tokens, problems := tokenize(file, src, indent)
	e.problems = append(e.problems, problems...)
	var roots []*node
	stack := []level{{into: &roots}}
	for _, t := range tokens {
		top := &stack[len(stack)-1]
		switch t.kind {
		case closing:
			if top.open == nil {
				e.problem(t.at, t.text, "is closed here and was never opened")
			} else if top.open.text != t.text {
				e.problem(t.at, t.text, "is closed here, but open is %s of %s", top.open.text, top.open.at)
			} else {
				stack = stack[:len(stack)-1]
			}
		case section, inverted:
			n := &node{token: t}
			*top.into = append(*top.into, n)
			if depth+len(stack) > maxSectionDepth {
				e.problem(t.at, t.text, "sections are nested deeper than %d", maxSectionDepth)
				return roots
			}
			stack = append(stack, level{into: &n.children, open: n})
		case partial:
			*top.into = append(*top.into, e.partial(t, append(path, file), depth+len(stack)-1)...)
		case variable, raw:
			n := &node{token: t, id: len(e.tree.variables)}
			e.tree.variables = append(e.tree.variables, n)
			*top.into = append(*top.into, n)
		default:
			*top.into = append(*top.into, &node{token: t})
		}
	}
	for _, l := range stack[1:] {
		e.problem(l.open.at, l.open.text, "is opened here and never closed")
	}
	return roots
}

func (e *expander) partial(t token, path []string, depth int) []*node {
	file, src, ok := e.find(t.text)
	switch {
	case !ok && e.lenient:
		return nil
	case !ok:
		e.problem(t.at, t.text, "no such partial: none of templates/%[1]s, templates/%[1]s.mustache is in the bundle", t.text)
		return nil
	case slices.Contains(path, file):
		e.problem(t.at, t.text, "includes itself: %s", strings.Join(append(path, file), " > "))
		return nil
	case len(path) >= maxPartialDepth:
		e.problem(t.at, t.text, "partials are nested deeper than %d", maxPartialDepth)
		return nil
	}
	return e.expand(file, src, t.indent, path[:len(path):len(path)], depth)
}

func (e *expander) problem(at Position, name, format string, args ...any) {
	e.problems = append(e.problems, Problem{At: at, Name: name, Message: fmt.Sprintf(format, args...)})
}

// Marks in the source handed to the library and in what it renders. A template holds no zero byte, so the
// delimiters cannot occur in its text.
const (
	openTag  = "\x00<"
	closeTag = ">\x00"
	// nothing keeps a tag from standing alone on its line, since lines are dealt with already.
	nothing = "\x00-"
	// tagMark is followed by the number of the tag and a colon.
	tagMark = "\x00t"
)

// source writes the tree for the library: own delimiters, no partials, every variable unescaped behind the
// mark that says which tag it is.
func (t *tree) source() string {
	var b strings.Builder
	b.WriteString("{{=" + openTag + " " + closeTag + "=}}" + nothing)
	writeNodes(&b, t.roots)
	return b.String()
}

func writeNodes(b *strings.Builder, nodes []*node) {
	for _, n := range nodes {
		switch n.kind {
		case text:
			b.WriteString(n.text)
		case variable, raw:
			b.WriteString(tagMark + strconv.Itoa(n.id) + ":" + openTag + "&" + libraryName(n.text) + closeTag)
		default:
			b.WriteString(openTag + string(rune(n.kind)) + libraryName(n.text) + closeTag + nothing)
			writeNodes(b, n.children)
			b.WriteString(openTag + "/" + libraryName(n.text) + closeTag + nothing)
		}
	}
}
