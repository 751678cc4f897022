// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

import (
	"cmp"
	"fmt"
	"slices"
)

// rankEnviron sorts variables behind the settings file (0) and its drop-ins (1 to maxDropIns).
const rankEnviron = maxDropIns + 1

// position is a place in the settings.
type position struct {
	rank int    // 0 the settings file, then the drop-ins in their order, then the environment
	name string // "hub.json", "hub.d/10-web.json", "HUB_CONFIG_SOURCE"
	line int    // from 1; 0: the whole of it
}

// String gives "hub.json:12", or the name where there is no line.
func (p position) String() string {
	if p.line == 0 {
		return p.name
	}
	return fmt.Sprintf("%s:%d", p.name, p.line)
}

// finding is a problem that still knows its place, to be sorted by.
type finding struct {
	at           position
	key, message string
}

// findings gathers what is wrong.
type findings struct {
	problems, warnings []finding
}

// problem adds what is wrong with key at a place.
func (f *findings) problem(at position, key, format string, args ...any) {
	f.problems = append(f.problems, finding{at, key, fmt.Sprintf(format, args...)})
}

// warn adds what deserves a look.
func (f *findings) warn(at position, key, format string, args ...any) {
	f.warnings = append(f.warnings, finding{at, key, fmt.Sprintf(format, args...)})
}

// has reports whether key has a problem already.
func (f *findings) has(key string) bool {
	return slices.ContainsFunc(f.problems, func(one finding) bool { return one.key == key })
}

// sorted gives what was gathered in the order of the files and their lines.
func (f *findings) sorted(all []finding) Problems {
	slices.SortStableFunc(all, func(a, b finding) int {
		return cmp.Or(
			cmp.Compare(a.at.rank, b.at.rank),
			cmp.Compare(a.at.name, b.at.name),
			cmp.Compare(a.at.line, b.at.line),
			cmp.Compare(a.key, b.key),
			cmp.Compare(a.message, b.message),
		)
	})
	var out Problems
	for _, one := range all {
		out = append(out, Problem{Origin: one.at.String(), Key: one.key, Message: one.message})
	}
	return out
}
