// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing wrong with a bundle.
type Problem struct {
	// File is the path in the bundle, or in the tree of a fragment: "stacks/shop/bundle.json".
	File string
	// Line counts from 1; 0 when the whole file is meant.
	Line int
	// Key is the dotted path of the JSON value; "" for the document.
	Key     string
	Message string
}

// String is `bundle.json:3: targets./etc/x.mode: must be octal`.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(p.Line))
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key)
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems is every problem found, in order of file and line.
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

// err is nil for no problems, else ps sorted, the first hundred.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	if more := len(ps) - maxProblems; more > 0 {
		last := ps[maxProblems-1]
		ps = append(ps[:maxProblems:maxProblems], Problem{File: last.File, Line: last.Line, Message: fmt.Sprintf("and %d more problems from here on", more)})
	}
	return ps
}
