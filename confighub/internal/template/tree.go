// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Limits of one template with its partials expanded.
const (
	maxPartialDepth = 64
	maxSectionDepth = 200
	maxExpanded     = 16 << 20
	// maxTags counts tags and the texts between them.
	maxTags       = 200_000
	maxExpansions = 10_000
)

// node is a token with its children. Partials are gone, but for those that include themselves.
type node struct {
	token
	children []*node
	// id numbers the variables, so that the output tells which tag wrote a value; texts have numbers of their own.
	id int
	// within is the template and the partials around the node.
	within []inclusion
	// of a partial that includes itself:
	recursion *recursion
}

// tree is one template with every partial put in its place.
type tree struct {
	roots []*node
	// variables and texts by id.
	variables, texts []*node
}

// expander builds a tree. The library expands partials at each rendering, with HTML escaping whatever was
// set, and without an end for a partial that includes itself; here they are expanded before it parses. One
// that includes itself within a section may end with the data: the walk expands it as deep as the data goes.
type expander struct {
	find     Find
	lenient  bool
	tree     *tree
	expanded int
	tags     int
	// expansions counts the partials that include themselves.
	expansions int
	problems   Problems
}

// open section while building.
type level struct {
	into *[]*node
	open *node
}

// inclusion is a file that is being expanded, the tag that includes it, and the number of sections around that.
type inclusion struct {
	file  string
	at    Position
	depth int
}

// recursion is what it takes to expand a partial that includes itself once more.
type recursion struct {
	file string
	src  []byte
	path []inclusion
	// depth is the number of sections around the tag.
	depth    int
	expanded bool
}

func chain(path []inclusion, file string) string {
	var names []string
	for i, in := range path {
		if i == 8 {
			return strings.Join(append(names, "…"), " > ")
		}
		names = append(names, in.file)
	}
	return strings.Join(append(names, file), " > ")
}

// expand expands a file, which is the last of path.
func (e *expander) expand(file string, src []byte, indent string, path []inclusion, depth int) []*node {
	if e.expanded += len(src) + len(indent)*(1+bytes.Count(src, []byte("\n"))); e.expanded > maxExpanded {
		e.problem(Position{file, 1, 1}, "", "partials expand to more than %d bytes", maxExpanded)
		return nil
	}
	tokens, problems := tokenize(file, src, indent)
	for _, p := range problems {
		e.problems.add(p)
	}
	if e.tags += len(tokens); e.tags > maxTags {
		e.problem(Position{file, 1, 1}, "", "holds more than %d tags, with its partials expanded", maxTags)
		return nil
	}
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
			*top.into = append(*top.into, e.partial(t, path, depth+len(stack)-1)...)
		case variable, raw:
			n := &node{token: t, id: len(e.tree.variables), within: path}
			e.tree.variables = append(e.tree.variables, n)
			*top.into = append(*top.into, n)
		default:
			n := &node{token: t, id: len(e.tree.texts), within: path}
			e.tree.texts = append(e.tree.texts, n)
			*top.into = append(*top.into, n)
		}
	}
	for _, l := range stack[1:] {
		e.problem(l.open.at, l.open.text, "is opened here and never closed")
	}
	return roots
}

func (e *expander) partial(t token, path []inclusion, depth int) []*node {
	file, src, ok := e.find(t.text)
	if !ok {
		if !e.lenient {
			e.problem(t.at, t.text, "no such partial: none of templates/%[1]s, templates/%[1]s.mustache is in the bundle", t.text)
		}
		return nil
	}
	path = path[:len(path):len(path)]
	before := slices.IndexFunc(path, func(in inclusion) bool { return in.file == file })
	switch {
	case before >= 0 && path[before].depth == depth:
		e.problem(t.at, t.text, "includes itself without an end: %s", chain(path, file))
		return nil
	case before >= 0:
		return []*node{{token: t, recursion: &recursion{file: file, src: src, path: path, depth: depth}}}
	case len(path) >= maxPartialDepth:
		e.problem(t.at, t.text, "partials are nested deeper than %d: %s", maxPartialDepth, chain(path, file))
		return nil
	}
	return e.expand(file, src, t.indent, append(path, inclusion{file, t.at, depth}), depth)
}

// again expands a partial that includes itself once more, and reports whether it did.
func (e *expander) again(n *node) bool {
	r := n.recursion
	if r.expanded {
		return true
	}
	if len(r.path) >= maxPartialDepth {
		e.problem(n.at, n.text, "includes itself deeper than %d, for this data perhaps without an end: %s", maxPartialDepth, chain(r.path, r.file))
		return false
	}
	if e.expansions++; e.expansions > maxExpansions {
		e.problem(n.at, n.text, "includes itself more than %d times: %s", maxExpansions, chain(r.path, r.file))
		return false
	}
	problems := len(e.problems)
	n.children = e.expand(r.file, r.src, n.indent, append(r.path, inclusion{r.file, n.at, r.depth}), r.depth)
	r.expanded = len(e.problems) == problems
	return r.expanded
}

func (e *expander) problem(at Position, name, format string, args ...any) {
	e.problems.add(Problem{At: at, Name: name, Message: fmt.Sprintf(format, args...)})
}

// Marks in the source handed to the library and in what it renders. A template holds no zero byte, so the
// delimiters cannot occur in its text.
const (
	openTag  = "\x00<"
	closeTag = ">\x00"
	// nothing keeps a tag from standing alone on its line, since lines are dealt with already.
	nothing = "\x00-"
	// tagMark is followed by the number of the tag and a colon, textMark, which stands in traced output only, by that
	// of the text.
	tagMark  = "\x00t"
	textMark = "\x00p"
)

// source writes the tree for the library: own delimiters, no partials, every variable unescaped behind the
// mark that says which tag it is.
func (t *tree) source(traced bool) string {
	var b strings.Builder
	b.WriteString("{{=" + openTag + " " + closeTag + "=}}" + nothing)
	writeNodes(&b, t.roots, traced)
	return b.String()
}

func writeNodes(b *strings.Builder, nodes []*node, traced bool) {
	for _, n := range nodes {
		switch n.kind {
		case text:
			if traced {
				b.WriteString(textMark + strconv.Itoa(n.id) + ":")
			}
			b.WriteString(n.text)
		case variable, raw:
			b.WriteString(tagMark + strconv.Itoa(n.id) + ":" + openTag + "&" + libraryName(n.text) + closeTag)
		case partial:
			writeNodes(b, n.children, traced)
		default:
			b.WriteString(openTag + string(rune(n.kind)) + libraryName(n.text) + closeTag + nothing)
			writeNodes(b, n.children, traced)
			b.WriteString(openTag + "/" + libraryName(n.text) + closeTag + nothing)
		}
	}
}
