// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

// slip is how many letters a name may differ from a known one and still be taken for it.
const slip = 2

// nearest gives the known name that name is a slip of, the closest and among equals the first; "" if there is none.
// Names of up to two letters are a slip of everything short, so at least half of a name must be right.
func nearest(name string, known []string) string {
	best, least := "", slip+1
	for _, candidate := range known {
		if d := distance(name, candidate, least); d < least && 2*d <= len(candidate) {
			best, least = candidate, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their neighbour to make a into b (Damerau and
// Levenshtein, each letter moved at most once), as far as limit, which stands for everything above.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	// Three rows of the usual table: two lines ago (for swaps), one line ago, this line.
	var rows [3][]int
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
	}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row := rows[0], rows[1], rows[2]
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least >= limit {
			return limit
		}
		rows[0], rows[1], rows[2] = above, row, before
	}
	return min(rows[1][len(b)], limit)
}
