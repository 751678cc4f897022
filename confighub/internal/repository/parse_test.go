// SPDX-License-Identifier: AGPL-3.0-or-later

package repository

import (
	"io/fs"
	"strings"
	"testing"
)

// FuzzParseTree holds that what a tree object says can be a file's name, once each, whatever its bytes are.
func FuzzParseTree(f *testing.F) {
	object := strings.Repeat("\xab", 20)
	for _, seed := range []string{
		"", "100644 a\x00" + object, "40000 d\x00" + object + "160000 s\x00" + object, "100644 a\x00" + object + "100755 a\x00" + object,
		"100644 ..\x00" + object, "100644 a/b\x00" + object, "100644 \x00" + object, "100644\x00" + object, "100644 a\x00" + object[1:], "7777777 x\x00" + object,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		lines, err := parseTree(raw, 20)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, line := range lines {
			// A name that is not UTF-8 is a valid path for git, and for the disk; who reads the tree refuses it.
			if name := strings.ToValidUTF8(line.base, "x"); !fs.ValidPath(name) || strings.Contains(name, "/") || name == "." || seen[line.base] {
				t.Errorf("%q holds %q", raw, line.base)
			}
			if !isObjectName(line.object) {
				t.Errorf("%q names the object %q", raw, line.object)
			}
			seen[line.base] = true
		}
	})
}

func TestParseCommit(t *testing.T) {
	tree, parent := strings.Repeat("a", 40), strings.Repeat("b", 40)
	tests := []struct{ raw, tree, parent string }{
		{"tree " + tree + "\nauthor a\n\nparent " + parent + "\n", tree, ""},
		{"tree " + tree + "\nparent " + parent + "\nparent " + tree + "\nauthor a\n", tree, parent},
		{"tree " + tree + "\nparent x\n", "", ""},
		{"tree " + tree[1:] + "\n", "", ""},
		{"parent " + parent + "\n", "", ""},
		{"", "", ""},
	}
	for _, tt := range tests {
		tree, parent, err := parseCommit("c", []byte(tt.raw))
		if tree != tt.tree || parent != tt.parent || (err == nil) != (tt.tree != "") {
			t.Errorf("%q: %q %q %v", tt.raw, tree, parent, err)
		}
	}
}
