// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// setFiles finds templates by their names.
func setFiles(texts map[string]string) Find {
	return func(name string) (string, []byte, bool) {
		text, ok := texts[name]
		return name, []byte(text), ok
	}
}

// What one rendering may cost, several of a set may cost together.
func TestSetSharesLimits(t *testing.T) {
	list := make([]any, 1200)
	for i := range list {
		list[i] = "x"
	}
	data := map[string]any{"l": list, "big": strings.Repeat("x", 20_000)}
	find := setFiles(map[string]string{
		"output": "{{#l}}{{big}}{{/l}}", "steps": "{{#l}}{{#l}}{{/l}}{{/l}}", "source": strings.Repeat("x", 15<<20),
	})
	for name, want := range map[string]string{
		"output": "rendering output: the output, with that of the templates before it, is larger than 64 MiB",
		"steps":  "steps:1:1: visits more than 2000000 tags: nested sections multiply",
		"source": "source:1:1: makes all templates together expand to more than 67108864 bytes",
	} {
		t.Run(name, func(t *testing.T) {
			set := NewSet(data)
			for n := range 5 {
				_, err := Render(find, name, data, Options{Set: set})
				if err != nil {
					if n == 0 || err.Error() != want {
						t.Errorf("rendering %d: %v", n, err)
					}
					return
				}
			}
			t.Error("nothing ends it")
		})
	}
}

func TestBombs(t *testing.T) {
	wide := map[string]any{}
	for i := range 2000 {
		wide[fmt.Sprintf("some_long_name_%04d", i)] = "x"
	}
	var misspelt, sections strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&misspelt, "{{sone_long_nane_%05d}}\n", i)
		fmt.Fprintf(&sections, "{{#sone_long_nane_%05[1]d}}x{{/sone_long_nane_%05[1]d}}\n", i)
	}
	lines := func(what string) string { return strings.Repeat(what, 50_000) }
	for name, tt := range map[string]struct {
		files map[string]string
		count int
		last  string
	}{
		"misspelt":      {map[string]string{"t": misspelt.String()}, maxProblems + 1, "t:101:1: and more from here on"},
		"misspelt keys": {map[string]string{"t": sections.String()}, maxProblems + 1, "t:101:1: and more from here on"},
		"no tags":       {map[string]string{"t": lines("{{}}\n")}, maxProblems + 1, "t:101:1: and more from here on"},
		"tags":          {map[string]string{"t": strings.Repeat("{{a}}", maxTags+2)}, 1, "t:1:1: holds more than 200000 tags, with its partials expanded"},
		"indentation":   {map[string]string{"t": strings.Repeat(" ", 1<<20) + "{{>p}}\n", "p": lines("a\n")}, 1, "p:1:1: partials expand to more than 16777216 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			_, err := Render(setFiles(tt.files), "t", wide, Options{Strict: true})
			problems, ok := err.(Problems)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff(tt.last, problems[len(problems)-1].String()); diff != "" || len(problems) != tt.count {
				t.Errorf("%d problems, the last %s", len(problems), diff)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}
