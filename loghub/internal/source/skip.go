// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"cmp"
	"slices"
)

// maxSkipped is how many files that are not read are named; the others are counted.
const maxSkipped = 100

// Skip is a file that matches a pattern and is not read, or a pattern that no file matches.
type Skip struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// skips are the files that the last look left out.
type skips struct {
	all   []Skip // of the last look that ended
	more  int    // that all has no room for
	next  []Skip
	extra int
}

func (s *skips) begin() { s.next, s.extra = nil, 0 }

func (s *skips) add(path, reason string) {
	if len(s.next) < maxSkipped {
		s.next = append(s.next, Skip{path, reason})
	} else {
		s.extra++
	}
}

func (s *skips) end() {
	slices.SortFunc(s.next, func(a, b Skip) int { return cmp.Compare(a.Path, b.Path) })
	s.all, s.more = s.next, s.extra
}

func (f *Files) skip(path, reason string) { f.skipped.add(path, reason) }

// Skipped lists files that match a pattern and are not read, and patterns without files, and says how many there are besides.
func (f *Files) Skipped() (list []Skip, more int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.skipped.all), f.skipped.more
}
