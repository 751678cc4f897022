// SPDX-License-Identifier: AGPL-3.0-or-later

// Package lint finds what is likely wrong with a bundle, or with a tree for any of its containers, before a container
// gets it. Every finding has a rule:
//
//	bundle           a file is wrong, so that no container would take the bundle
//	render           a target does not render: what its templates ask for is not in the data, or not for this place
//	output           a target of a known format cannot be read as that
//	typo             a section's key stands nowhere in the data
//	unused-data      no template asks for a value
//	unused-template  no target needs a template or partial
//	unplaced         no host places a container that a layer of the tree is for
//	raw              a tag writes its value as it is, {{{ }}} or {{& }}
//	readable-secret  the mode of a target with a secret lets others read it
//	no-format        values go unescaped into a file whose format is known, but not by its name
//	missing-check    a file of a known program is put in place unchecked
//	owner            the user of the image cannot give files to the owner of a target
//	action           an action is not among those of the image's settings
//	target           a target is not among those that the image allows
//	input            a template names a secret or variable that the image's settings do not have
//
// Templates are rendered with the data of the bundle; what only the container has, secrets, environment and what is
// sealed, is made up. Values whose tags no rendering came by, as in a section that is off, count as used when their
// name is that of such a tag.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"cloud4.internal/hub/confighub/internal/apply"
	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/spiffe"
)

// Level is how bad a finding is.
type Level string

// Levels of findings.
const (
	Error   Level = "error"
	Warning Level = "warning"
)

// Finding is one thing that is likely wrong.
type Finding struct {
	Place
	Level   Level  `json:"level"`
	Rule    string `json:"rule"`
	Message string `json:"message"`
	// Fix is what to do about it; "" when the message says so.
	Fix string `json:"fix,omitempty"`
}

// Place is where a finding is.
type Place struct {
	// File is the path in the bundle's directory, or in the tree.
	File string `json:"file"`
	// Line and Column count from 1, columns in bytes; 0 when the whole file or line is meant.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`

	// key is the JSON key that is meant, for the column.
	key string
}

// String is web.conf:12:7.
func (p Place) String() string {
	text := p.File
	if p.Line > 0 {
		text += fmt.Sprintf(":%d", p.Line)
	}
	if p.Column > 0 {
		text += fmt.Sprintf(":%d", p.Column)
	}
	return text
}

// String is `web.conf:12:7: warning: what is wrong (what to do)`.
func (f Finding) String() string {
	text := fmt.Sprintf("%s: %s: %s", f.Place, f.Level, f.Message)
	if f.Fix != "" {
		text += " (" + f.Fix + ")"
	}
	return text
}

// Options say what is known of the image.
type Options struct {
	// User is the image's USER, a name or number, perhaps with ":group"; "" is unknown, which counts as root.
	User string
	// Image is what its settings say; nil when they are unknown.
	Image *Image
}

// Image is what the settings of an image say.
type Image struct {
	Policy apply.Policy
	// Secrets and Env are the names that templates may use.
	Secrets, Env []string
}

// DefaultTargets is what images allow unless their settings say otherwise.
var DefaultTargets = []string{"/etc", "/srv", "/opt", "/run"}

// Source gives the bytes of a file that findings name, for their columns.
type Source func(file string) ([]byte, error)

// One lints the bundle of one container.
func One(b *bundle.Bundle, id spiffe.ID, o Options, source Source) []Finding {
	l := newLinter(o)
	l.bundle(b, id)
	return l.findings(source)
}

// linter collects the findings of one bundle, or of all bundles of a tree.
type linter struct {
	options Options
	found   map[Finding]bool
	// data and templates: what is there, and whether any container uses it.
	data, templates map[part]bool
}

// part is one value or template.
type part struct {
	at   Place
	name string
}

func newLinter(o Options) *linter {
	return &linter{options: o, found: map[Finding]bool{}, data: map[part]bool{}, templates: map[part]bool{}}
}

// report notes a finding. Messages and fixes quote what others wrote, and are made fit to be shown.
func (l *linter) report(at Place, level Level, rule, fix, format string, args ...any) {
	l.found[Finding{Place: at, Level: level, Rule: rule, Message: health.CleanText(fmt.Sprintf(format, args...)), Fix: health.CleanText(fix)}] = true
}

// Broken is the findings of an error of reading a bundle or tree; false when it is an error of another kind.
func Broken(err error) ([]Finding, bool) {
	problems, ok := err.(bundle.Problems)
	if !ok {
		return nil, false
	}
	var list []Finding
	for _, p := range problems {
		f := Finding{Place: Place{File: p.File, Line: p.Line}, Level: Error, Rule: "bundle", Message: p.Message}
		if n, _ := fmt.Sscanf(p.Message, "column %d:", &f.Column); n == 1 { // an error of syntax
			_, f.Message, _ = strings.Cut(p.Message, ": ")
		}
		if p.Key != "" {
			f.Message = p.Key + ": " + f.Message
		}
		f.Message = health.CleanText(f.Message)
		list = append(list, f)
	}
	return list, true
}

// findings is everything, by place.
func (l *linter) findings(source Source) []Finding {
	for p, used := range l.data {
		if !used {
			l.report(p.at, Warning, "unused-data", "take it out, or correct the name that a template has for it", "%s: no template uses it", p.name)
		}
	}
	for p, used := range l.templates {
		if !used {
			l.report(p.at, Warning, "unused-template", "take it away, or name it in a target", "%s: no target needs it", p.name)
		}
	}
	list := make([]Finding, 0, len(l.found))
	for f := range l.found {
		list = append(list, f)
	}
	columns(list, source)
	slices.SortFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Message, b.Message))
	})
	return list
}

// columns finds those of JSON keys, of which only the lines are known.
func columns(list []Finding, source Source) {
	lines := map[string][]string{}
	for i := range list {
		p := &list[i].Place
		key := p.key
		p.key = ""
		if p.Line == 0 || p.Column > 0 || key == "" {
			continue
		}
		if _, read := lines[p.File]; !read {
			text, err := source(p.File)
			if err != nil {
				text = nil
			}
			lines[p.File] = strings.Split(string(text), "\n")
		}
		if p.Line > len(lines[p.File]) {
			continue
		}
		if at := strings.Index(lines[p.File][p.Line-1], `"`+key+`"`); at >= 0 {
			p.Column = at + 1
		}
	}
}
