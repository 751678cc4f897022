// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"fmt"
	"regexp"
	"slices"
)

// Trace says of every byte of an output where it came from.
type Trace struct {
	// Spans follow each other from the first byte of the output to the last. A value that is empty has an empty one.
	Spans []Span
	// Used are the tags that were visited and the paths in the data they led to, "" for what was not there; in the
	// order of the first visit, each pair once.
	Used []Use
}

// Span is a part of the output: text of a template, or a value.
type Span struct {
	// Start and End are offsets in the output.
	Start, End int
	// At is where the text begins, or the tag.
	At Position
	// Tag is the name in the tag; "" for text.
	Tag string
	// Raw: the tag writes the value as it is.
	Raw bool
	// Path is where the value stands in the data: upstreams[0].port.
	Path string
	// Secret: the output from Start to End must not be shown.
	Secret bool
	// Scope is the innermost section around it; nil for none.
	Scope *Scope
	// Partials are the {{>tags}} that led to At.File, outermost first.
	Partials []Position
}

// Scope is a section that the output was written in.
type Scope struct {
	Outer *Scope
	// At is the tag that opens it.
	At       Position
	Tag      string
	Inverted bool
	// Path of the value in the data; of a list, of the item: upstreams[0].
	Path string
	// Index and Count are the item's place in its list; Count is 0 outside of lists.
	Index, Count int
}

// Use is a tag that was visited, with the path that it led to.
type Use struct {
	At Position
	// Path names no items: upstreams[].port.
	Path string
	// Whole: the tag wrote the value, and with it everything below Path.
	Whole bool
}

// mask stands for a secret.
const mask = "***"

// Masked is the output of a traced rendering with *** for every secret.
func (t *Trace) Masked(output []byte) []byte {
	var masked []byte
	for _, s := range t.Spans {
		if s.Secret {
			masked = append(masked, mask...)
		} else {
			masked = append(masked, output[s.Start:s.End]...)
		}
	}
	return masked
}

var itemNumber = regexp.MustCompile(`\[\d+\]`)

// tracer follows a rendering twice: the walk tells it what it comes by, and the escaper, which gets the same in the
// same order, what became of it. A nil tracer does nothing.
type tracer struct {
	scope  *Scope
	passed []Span
	used   map[Use]bool
	result Trace
}

func newTracer() *tracer { return &tracer{used: map[Use]bool{}} }

// pass notes that the walk came by a text or a variable.
func (t *tracer) pass(n *node, path string, secret bool) {
	if t == nil {
		return
	}
	s := Span{At: n.at, Path: path, Secret: secret, Raw: n.kind == raw, Scope: t.scope}
	for _, in := range n.within[1:] {
		s.Partials = append(s.Partials, in.at)
	}
	if n.kind != text {
		s.Tag = n.text
		t.note(Use{At: n.at, Path: path, Whole: true})
	}
	t.passed = append(t.passed, s)
}

// use notes that the walk came by a section.
func (t *tracer) use(n *node, path string) {
	if t != nil {
		t.note(Use{At: n.at, Path: path})
	}
}

func (t *tracer) note(u Use) {
	u.Path = itemNumber.ReplaceAllString(u.Path, "[]")
	if !t.used[u] {
		t.used[u] = true
		t.result.Used = append(t.result.Used, u)
	}
}

// enter notes that the walk goes into a section, until leave is called.
func (t *tracer) enter(n *node, f frame) (leave func()) {
	if t == nil {
		return func() {}
	}
	outer := t.scope
	t.scope = &Scope{Outer: outer, At: n.at, Tag: n.text, Inverted: n.kind == inverted, Path: f.path}
	if f.inList {
		t.scope.Index, t.scope.Count = f.item.index, f.item.count
	}
	return func() { t.scope = outer }
}

// wrote notes that a piece became the output from start to end. Text is written as it is, so its parts keep their places.
func (t *tracer) wrote(p piece, start, end int) error {
	if t == nil {
		return nil
	}
	if p.tag != nil {
		return t.claim(p.tag.at, start, end)
	}
	for i, s := range p.texts {
		stop := end
		if i+1 < len(p.texts) {
			stop = start + p.texts[i+1].offset
		}
		if err := t.claim(s.text.at, start+s.offset, stop); err != nil {
			return err
		}
	}
	return nil
}

// claim gives a part of the output to the next that the walk came by.
func (t *tracer) claim(at Position, start, end int) error {
	next := len(t.result.Spans)
	if next >= len(t.passed) || t.passed[next].At != at {
		return fmt.Errorf("tracing: %s was not expected to be written here", at)
	}
	s := t.passed[next]
	s.Start, s.End = start, end
	t.result.Spans = append(t.result.Spans, s)
	return nil
}

func (t *tracer) trace() *Trace {
	if t == nil {
		return nil
	}
	return &Trace{Spans: slices.Clip(t.result.Spans), Used: t.result.Used}
}
