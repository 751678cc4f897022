// SPDX-License-Identifier: AGPL-3.0-or-later

// Package explain says of each line of a rendered target where it comes from: which template and tag, within which
// sections, which value of the data, and which layer of the tree wrote that.
//
//	explained, err := explain.Target(bundle, inputs, "/etc/nginx/nginx.conf")
//	explained.WriteLine(os.Stdout, 12)   one line, with everything that is known of it
//	explained.Write(os.Stdout)           all lines, each behind its place
//
// Secrets are shown as ***. What is known of layers is what the bundle brings along (bundle.Origins).
package explain

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/confighub/internal/template"
)

// Explained is one target, line by line.
type Explained struct {
	Target string `json:"target"`
	Lines  []Line `json:"lines"`
}

// Line is one line of the output.
type Line struct {
	// Number counts from 1.
	Number int `json:"line"`
	// Text is without the line's end, and with *** for secrets.
	Text  string `json:"text"`
	Parts []Part `json:"parts"`
	// Within are the sections and partials around the parts, innermost first: `{{#servers}} at web.conf:1:1, item 1 of 2`.
	Within []string `json:"within,omitempty"`
}

// Part is text of a template, or a value.
type Part struct {
	Text string `json:"text"`
	// At is where the text or the tag stands, web.conf:12:7 with the directories of its layer.
	At string `json:"at"`
	// Tag as it is written, {{upstream.port}}; "" for text.
	Tag string `json:"tag,omitempty"`
	// Path in the data, upstreams[0].port; From is what wrote it, and Over what that prevailed over, the nearest first.
	Path string   `json:"path,omitempty"`
	From string   `json:"from,omitempty"`
	Over []string `json:"over,omitempty"`
}

// Target renders one target of the bundle and explains it. Of an env target these are the lines before they are read.
func Target(b *bundle.Bundle, in render.Inputs, name string) (*Explained, error) {
	result, err := render.Trace(b, in, name)
	if err != nil {
		return nil, err
	}
	e := explainer{bundle: b, output: string(result.Output), spans: result.Trace.Spans}
	x := &Explained{Target: name, Lines: []Line{}}
	start := 0
	for number := 1; start < len(e.output); number++ {
		end := start + len(e.output[start:])
		if i := strings.IndexByte(e.output[start:], '\n'); i >= 0 {
			end = start + i + 1
		}
		x.Lines = append(x.Lines, e.line(number, start, end))
		start = end
	}
	return x, nil
}

type explainer struct {
	bundle *bundle.Bundle
	output string
	// spans that are not wholly before the line.
	spans []template.Span
}

// line explains the output from start to end, which is behind the line's newline.
func (e *explainer) line(number, start, end int) Line {
	l := Line{Number: number}
	for len(e.spans) > 0 && e.spans[0].End <= start && e.spans[0].Start < start {
		e.spans = e.spans[1:]
	}
	seen := map[string]bool{}
	for _, s := range e.spans {
		if s.Start > end {
			break
		}
		if !e.stands(s, start, end) {
			continue
		}
		p := e.part(s, max(s.Start, start), min(s.End, end))
		l.Text += p.Text
		if p.Text == "" && s.Tag == "" && (len(l.Parts) > 0 || s.Start > start) {
			continue // no more than the end of the line
		}
		l.Parts = append(l.Parts, p)
		for _, words := range e.around(s) {
			if !seen[words] {
				seen[words] = true
				l.Within = append(l.Within, words)
			}
		}
	}
	return l
}

// stands reports whether a span, or some of it, is from start to end. An empty value belongs to the line it begins.
func (e *explainer) stands(s template.Span, start, end int) bool {
	if s.Start < s.End {
		return s.Start < end && start < s.End
	}
	atEnd := end == len(e.output) && e.output[end-1] != '\n'
	return start <= s.Start && (s.Start < end || s.Start == end && atEnd)
}

// part explains what of a span stands between two offsets of one line.
func (e *explainer) part(s template.Span, from, to int) Part {
	p := Part{Text: strings.TrimRight(e.output[from:to], "\r\n"), At: e.place(textPlace(s, e.output[s.Start:from]))}
	if s.Secret {
		p.Text = "***"
	}
	if s.Tag == "" {
		return p
	}
	p.Tag, p.Path = "{{"+s.Tag+"}}", s.Path
	if s.Raw {
		p.Tag = "{{{" + s.Tag + "}}}"
	}
	p.From, p.Over = e.origin(s.Path)
	return p
}

// textPlace is where a text goes on after before, which ends with a line. A value is its tag's, however many lines it has.
func textPlace(s template.Span, before string) template.Position {
	at := s.At
	if s.Tag == "" && before != "" {
		at.Line += strings.Count(before, "\n")
		at.Column = 1
	}
	return at
}

// place names a template's file by its layer.
func (e *explainer) place(at template.Position) string {
	if origin, ok := e.bundle.Origins.Template(at.File); ok {
		at.File = origin.File
	}
	return at.String()
}

// builtIn says where the objects come from that no bundle holds.
var builtIn = map[string]string{
	"hub":     "built in: who this container is",
	"env":     "the container's environment (config.env)",
	"secrets": "a file of the container (config.secrets)",
}

// origin says who wrote the value at a path.
func (e *explainer) origin(path string) (from string, over []string) {
	if strings.HasPrefix(path, "@") {
		return "built in: the place in the list", nil
	}
	name, _, _ := strings.Cut(path, ".")
	if words := builtIn[name]; words != "" {
		return words, nil
	}
	origin, ok := e.bundle.Origins.Value(Pointer(path))
	if !ok {
		return "", nil
	}
	for i := len(origin.Replaced) - 1; i >= 0; i-- {
		over = append(over, origin.Replaced[i].String())
	}
	return origin.String(), over
}

var pathItem = regexp.MustCompile(`\[(\d+)\]`)

// Pointer is the JSON pointer (RFC 6901) of a dotted path, list[0].name.
func Pointer(path string) string {
	if path == "" {
		return ""
	}
	return bundle.JSONPointer(strings.Split(pathItem.ReplaceAllString(path, ".$1"), ".")...)
}

// around is what a span was written within, innermost first.
func (e *explainer) around(s template.Span) (within []string) {
	for scope := s.Scope; scope != nil; scope = scope.Outer {
		words := fmt.Sprintf("{{%s%s}} at %s", kindOf(scope), scope.Tag, e.place(scope.At))
		switch {
		case scope.Count > 0:
			words += fmt.Sprintf(", item %d of %d", scope.Index+1, scope.Count)
		case scope.Inverted:
			words += ", which is false or not there"
		}
		if from, _ := e.origin(scope.Path); from != "" {
			words += ": " + scope.Path + ", " + from
		}
		within = append(within, words)
	}
	for i := len(s.Partials) - 1; i >= 0; i-- {
		within = append(within, "a partial, included at "+e.place(s.Partials[i]))
	}
	return within
}

func kindOf(s *template.Scope) string {
	if s.Inverted {
		return "^"
	}
	return "#"
}

// Split takes a line's number from the end of TARGET:LINE; 0 when there is none.
func Split(argument string) (target string, line int) {
	at := strings.LastIndexByte(argument, ':')
	if at < 0 {
		return argument, 0
	}
	n, err := strconv.Atoi(argument[at+1:])
	if err != nil || n < 1 {
		return argument, 0
	}
	return argument[:at], n
}

// Only is the one line of this number.
func (x *Explained) Only(number int) ([]Line, error) {
	if number < 1 || number > len(x.Lines) {
		return nil, fmt.Errorf("%s has %d lines, and no line %d", x.Target, len(x.Lines), number)
	}
	return x.Lines[number-1 : number], nil
}
