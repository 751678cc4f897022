// SPDX-License-Identifier: AGPL-3.0-or-later

// Package template renders one mustache template with data into the text of a configuration file.
//
// The language is mustache (https://mustache.github.io/mustache.5.html, the core modules of
// https://github.com/mustache/spec v1.4.2) as github.com/cbroglie/mustache renders it, with what a
// configuration file needs more:
//
//   - values are escaped for the format of the file and for the place they stand at, never as HTML by default:
//     inside quotes for those quotes; as a literal of the format where a whole value stands; in the middle of a
//     word only what needs no quoting. A value that its place cannot carry is an error, and so is a place that the
//     scanner of the format is not sure of. {{{name}}} and {{&name}} write a value as it is;
//   - a missing variable or partial is an error, and all errors come at once, with file, line and column;
//   - partials come from the templates handed in and from nowhere else;
//   - items of a list know @index, @first and @last;
//   - numbers print as they were written, null as nothing;
//   - on request a Trace says of every byte of the output which tag or text it came from, and which path of the data.
//
// The library is given a source of our own making: partials expanded (a partial that includes itself as deep as
// the data goes, which makes one without an end an error instead of the end of the process), lines that hold only a tag already removed, every
// variable raw behind a mark. The output, still with its marks, then passes the escaper of the format, which
// so knows of each value its tag, its type and what stands around it. Missing variables are found by a walk
// over the same tree before; the library's own global for that stays as it is, since it can be neither
// lenient for one template nor name a line.
//
// Left out, and refused with the place of the tag: inheritance, dynamic names and lambdas. Limits: partials
// 64 deep, 10,000 of them including themselves, 16 MiB and 200,000 tags expanded, sections 200 deep; two million
// visited tags and 64 MiB of output, for all templates of a Set together. The first 100 problems are told.
package template

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/cbroglie/mustache"
)

// maxOutput bounds what a set renders, in bytes.
const maxOutput = 64 << 20

// Options say how to render.
type Options struct {
	// Format is one of the escape formats, "" for none.
	Format string
	// Lenient takes missing variables and partials for empty, as the mustache specification does.
	Lenient bool
	// Strict makes warnings errors.
	Strict bool
	// Set is of renderings with the same data that share the limits; nil: this one is alone.
	Set *Set
	// Trace asks for the Trace of the result.
	Trace bool
}

// Result is what a template became.
type Result struct {
	Output []byte
	// Secret is true when a secret value stands in Output, or decides what does.
	Secret bool
	// Warnings are sections whose key stands nowhere in the data.
	Warnings Problems
	// Trace says where Output came from; nil unless it was asked for.
	Trace *Trace
}

// Find returns the file name and the text of a template or partial.
type Find func(name string) (file string, src []byte, ok bool)

// Render renders the named template. Data, an object as a rule, is made of map[string]any, []any, string, bool, json.Number and nil. The
// error is Problems unless the template cannot be found.
func Render(find Find, name string, data any, opts Options) (Result, error) {
	newFormat, ok := formats[opts.Format]
	if !ok {
		return Result{}, fmt.Errorf("rendering %s: unknown escape format %q", name, opts.Format)
	}
	file, src, ok := find(name)
	if !ok {
		return Result{}, fmt.Errorf("rendering %s: no such template", name)
	}
	set := opts.Set
	if set == nil {
		set = NewSet(data)
	}
	e := &expander{find: find, lenient: opts.Lenient, tree: &tree{}}
	t := e.parse(file, src)
	set.take(e, file)
	if err := e.problems.err(); err != nil {
		return Result{}, err
	}
	w := &walker{expander: e, set: set, strict: opts.Strict, lenient: opts.Lenient, frames: []frame{{value: data}}, missing: map[int]bool{}}
	if opts.Trace {
		w.tracer = newTracer()
	}
	w.walk(t.roots)
	w.lintSections(t.roots)
	w.problems = append(w.problems, e.problems...)
	if set.steps > maxSteps {
		w.problems.add(tooManySteps(file))
	}
	if err := w.problems.err(); err != nil {
		return Result{}, err
	}
	output, err := t.execute(file, set.wrap(w.object), set, opts.Trace)
	if err != nil {
		return Result{}, err
	}
	finished, err := escape(t, output, newFormat(), opts.Lenient, w.tracer)
	if err != nil {
		return Result{}, err
	}
	return Result{Output: finished, Secret: w.secret, Warnings: w.warnings.sorted(), Trace: w.tracer.trace()}, nil
}

// Lint reports what is wrong with a template whatever the data: syntax, sections, partials.
func Lint(find Find, name string) error {
	file, src, ok := find(name)
	if !ok {
		return fmt.Errorf("reading %s: no such template", name)
	}
	e := &expander{find: find, tree: &tree{}}
	e.parse(file, src)
	return e.problems.err()
}

func (e *expander) parse(file string, src []byte) *tree {
	e.tree.roots = e.expand(file, src, "", []inclusion{{file: file}}, 0)
	return e.tree
}

// execute lets the library render the tree with the wrapped data, marks included.
func (t *tree) execute(file string, data any, set *Set, traced bool) (string, error) {
	compiled, err := mustache.ParseStringPartialsRaw(t.source(traced), noPartials{}, true)
	if err != nil {
		return "", fmt.Errorf("compiling %s: %w", file, err)
	}
	out := &limited{left: maxOutput - set.output}
	err = compiled.FRender(out, data)
	set.output = maxOutput - out.left
	if err != nil {
		return "", fmt.Errorf("rendering %s: %w", file, err)
	}
	if out.left < 0 {
		return "", fmt.Errorf("rendering %s: %w", file, errTooLarge)
	}
	return out.String(), nil
}

var errTooLarge = errors.New("the output, with that of the templates before it, is larger than 64 MiB")

// limited takes what is written until the limit, and counts on.
type limited struct {
	bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errTooLarge
	}
	return l.Buffer.Write(p)
}

// noPartials ends a rendering that asks for a partial: all were expanded before.
type noPartials struct{}

func (noPartials) Get(name string) (string, error) {
	return "", fmt.Errorf("partial %s was not expanded", name)
}

// FormatOf returns the escape format that goes with a file's extension: "none" unless it is known.
func FormatOf(file string) string {
	switch strings.ToLower(path.Ext(file)) {
	case ".json":
		return "json"
	case ".yaml", ".yml":
		return "yaml"
	case ".toml":
		return "toml"
	case ".ini":
		return "ini"
	case ".sh", ".bash":
		return "shell"
	case ".nginx":
		return "nginx"
	case ".xml", ".svg":
		return "xml"
	case ".html", ".htm":
		return "html"
	case ".properties":
		return "properties"
	case ".env":
		return "env"
	}
	return "none"
}
