// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

import "testing"

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"interval", "interval", 0},
		{"intervall", "interval", 1},
		{"inteval", "interval", 1},
		{"intervel", "interval", 1},
		{"itnerval", "interval", 1}, // neighbours swapped
		{"itnervall", "interval", 2},
		{"", "ab", 2},
		{"ca", "abc", 3}, // a swap with an insertion between counts in full
		{"interval", "timeout", 3},
		{"a", "abcdef", 3},
	} {
		for _, pair := range [][2]string{{test.a, test.b}, {test.b, test.a}} {
			if got := distance(pair[0], pair[1], 3); got != test.want {
				t.Errorf("distance(%q, %q) = %d, want %d", pair[0], pair[1], got, test.want)
			}
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"url", "interval", "timeout", "internal"}
	for name, want := range map[string]string{
		"intervl":  "interval",
		"interal":  "interval", // as near to both: the first
		"internak": "internal",
		"ur":       "url",
		"x":        "", // two letters from "url", but not like it
		"colour":   "",
	} {
		if got := nearest(name, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}
