// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"cmp"
	"fmt"
	"slices"
)

// maxShown is how many paths stand in log.json one by one.
const maxShown = 100

// figures are those of the files that are followed, a path one by one: what a rotation renamed is read on beside the new file,
// and counts together with it, since nobody can tell them apart by their name.
type figures struct {
	shown []*tail         // in the order in which they were found
	past  map[string]Stat // path → what was counted of files that had it before; another one has it now
	gone  Stat            // losses of the files whose paths are not shown any more
}

func (g *figures) add(t *tail) { g.shown = append(g.shown, t) }

// remove keeps what was counted of a file as long as another one has its path.
func (g *figures) remove(t *tail) {
	at := slices.Index(g.shown, t)
	if at < 0 {
		return
	}
	g.shown = slices.Delete(g.shown, at, at+1)
	s := g.past[t.path]
	s.add(t.n.stat(t.path))
	if slices.ContainsFunc(g.shown, func(o *tail) bool { return o.path == t.path }) {
		if g.past == nil {
			g.past = make(map[string]Stat)
		}
		g.past[t.path] = s
		return
	}
	delete(g.past, t.path)
	g.gone.Lost += s.Lost
	g.gone.LostBytes += s.LostBytes
}

// stats are the figures of each path. The position and the format are those of the file that came last.
func (g *figures) stats() []Stat {
	stats := make([]Stat, 0, len(g.shown))
	at := make(map[string]int, len(g.shown))
	for _, t := range g.shown {
		i, known := at[t.path]
		if !known {
			i, at[t.path] = len(stats), len(stats)
			stats = append(stats, Stat{Name: t.path})
			stats[i].add(g.past[t.path])
		}
		s, now := &stats[i], t.n.stat(t.path)
		s.add(now)
		s.Position, s.Format = now.Position, cmp.Or(now.Format, s.Format)
	}
	return stats
}

// Stats returns the figures of the files that are followed now: the liveliest paths one by one, the others in one.
func (f *Files) Stats() []Stat {
	f.mu.Lock()
	stats, gone := f.figures.stats(), f.figures.gone
	f.mu.Unlock()
	if len(stats) > maxShown {
		slices.SortStableFunc(stats, func(a, b Stat) int {
			return cmp.Or(cmp.Compare(b.LostBytes, a.LostBytes), cmp.Compare(b.Lag, a.Lag), cmp.Compare(b.Records, a.Records))
		})
		others := Stat{Name: fmt.Sprintf("%d other files", len(stats)-maxShown)}
		for _, s := range stats[maxShown:] {
			others.add(s)
		}
		stats = append(stats[:maxShown:maxShown], others)
	}
	if gone.LostBytes > 0 {
		gone.Name = "files that are gone"
		stats = append(stats, gone)
	}
	slices.SortStableFunc(stats, func(a, b Stat) int { return cmp.Compare(a.Name, b.Name) })
	return stats
}
