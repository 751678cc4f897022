// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a template file. Lines and columns count from 1, columns in bytes.
type Position struct {
	File         string
	Line, Column int
}

// String is nginx.conf.mustache:12:7.
func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Problem is one thing wrong with a template, or with the data for it.
type Problem struct {
	At Position
	// Name is the data path the tag names, or the partial; "" for syntax.
	Name    string
	Message string
}

// String is `nginx.conf.mustache:12:7: upstream.port: not in the data`.
func (p Problem) String() string {
	if p.Name == "" {
		return p.At.String() + ": " + p.Message
	}
	return p.At.String() + ": " + p.Name + ": " + p.Message
}

// Problems is every problem found, by place.
type Problems []Problem

// Error is one problem a line.
func (ps Problems) Error() string { return strings.Join(ps.Lines(), "\n") }

// Lines is each problem as a string.
func (ps Problems) Lines() []string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return lines
}

// maxProblems bounds what people are told at once.
const maxProblems = 100

// add appends p while there are not more than are told.
func (ps *Problems) add(p Problem) {
	if len(*ps) <= maxProblems {
		*ps = append(*ps, p)
	}
}

// sorted is by place and without doubles, the first hundred.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.At.File, b.At.File), cmp.Compare(a.At.Line, b.At.Line),
			cmp.Compare(a.At.Column, b.At.Column), cmp.Compare(a.Name, b.Name))
	})
	ps = slices.CompactFunc(ps, func(a, b Problem) bool { return a == b })
	if len(ps) > maxProblems {
		ps[maxProblems] = Problem{At: ps[maxProblems].At, Message: "and more from here on"}
		ps = ps[:maxProblems+1]
	}
	return ps
}

// err is nil for no problems.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps.sorted()
}
