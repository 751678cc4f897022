// SPDX-License-Identifier: AGPL-3.0-or-later

package join_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloud4.internal/hub/loghub/internal/join"
)

// TestOrdinaryLines: of the lines that programs write, as the corpus of package parse has them one behind the other, none is joined to
// one of another event. prose.txt is left out: it holds pieces of traces apart.
func TestOrdinaryLines(t *testing.T) {
	files, err := filepath.Glob("../parse/testdata/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, path := range files {
		if filepath.Base(path) == "prose.txt" {
			continue
		}
		corpus, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var text []byte
		begins := map[int]bool{} // offsets at which an event does
		inEvent := false
		for line := range strings.Lines(string(corpus)) {
			of, is := strings.CutPrefix(line, "< ")
			if is {
				begins[len(text)] = begins[len(text)] || !inEvent
				text = append(text, of...)
			}
			inEvent = is
		}
		var j join.Joiner
		for at := 0; j.Take(text[at:], join.Over); {
			end := at + j.Group.Bytes
			for i := at + 1; i < end; i++ {
				if begins[i] {
					t.Errorf("%s: two events are joined:\n%s", path, j.Group.Text)
					break
				}
			}
			at = end
		}
	}
}
