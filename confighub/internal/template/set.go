// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import "fmt"

// maxSetSource bounds the templates of a set with their partials expanded, in bytes.
const maxSetSource = 64 << 20

// Set is what several renderings with the same data have in common: the limits of visited tags and of output, which
// hold for all of them together, and what is made of the data. It is not for several goroutines at once.
type Set struct {
	data    any
	secrecy secrecy
	// wrapped is the data for the library, by whether a tag writes a whole object.
	wrapped map[bool]any
	keys    map[string]bool
	paths   []string
	// source, steps and output are what was used; suggested is how many names were compared with the data's.
	source, steps, output, suggested int
}

// NewSet begins a set of renderings with data. The values at these paths (db.password, users[0].key) are secret, as is all
// below a key "secrets".
func NewSet(data any, secret ...string) *Set {
	return &Set{data: data, secrecy: newSecrecy(data, secret)}
}

// take counts a parsed template.
func (s *Set) take(e *expander, file string) {
	if s.source += e.expanded; s.source > maxSetSource && len(e.problems) == 0 {
		e.problem(Position{file, 1, 1}, "", "makes all templates together expand to more than %d bytes", maxSetSource)
	}
}

// wrap is the data for the library; written says whether a tag of the template writes a whole object.
func (s *Set) wrap(written bool) any {
	if s.wrapped == nil {
		s.wrapped = map[bool]any{}
	}
	if s.wrapped[written] == nil {
		s.wrapped[written] = wrapper{written}.wrap(s.data)
	}
	return s.wrapped[written]
}

// has reports whether a key stands anywhere in the data.
func (s *Set) has(key string) bool {
	if s.keys == nil {
		s.keys = map[string]bool{}
		addKeys(s.keys, s.data)
	}
	return s.keys[key]
}

// maxSuggested is for how many names it is said what may have been meant: each is compared with thousands.
const maxSuggested = 20

// paths to compare a misspelt name with; none when that was done often enough.
func (s *Set) suggestions() []string {
	if s.suggested++; s.suggested > maxSuggested {
		return nil
	}
	if s.paths == nil {
		s.paths = dataPaths(s.data, s.secrecy)
	}
	return s.paths
}

// tooManySteps is the problem of a rendering that visits too many tags.
func tooManySteps(file string) Problem {
	return Problem{At: Position{file, 1, 1}, Message: fmt.Sprintf("visits more than %d tags: nested sections multiply", maxSteps)}
}
