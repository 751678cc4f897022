// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzTokenize holds that the tokens are the text: in order, at the places they say they are, and nothing of
// it left out but tags and the lines they stand alone on.
func FuzzTokenize(f *testing.F) {
	for _, text := range []string{"a {{b}} c\n", "{{#s}}\n x {{{y}}}\r\n{{/s}}", "{{=<% %>=}}<%&a%>\n  <%>p%>\n", "{{!c\n}}\n{{^n}}{{/n}}", "{{{a}}", "{{", "{{>*x}}{{<y}}"} {
		f.Add(text, "")
		f.Add(text, "\t ")
	}
	f.Fuzz(func(t *testing.T, src, indent string) {
		if strings.Trim(indent, " \t") != "" {
			return
		}
		tokens, problems := tokenize("t", []byte(src), indent)
		lines := strings.Split(src, "\n")
		rest := indented([]byte(src), indent)
		last := Position{}
		for _, token := range tokens {
			if token.kind == text {
				i := strings.Index(rest, token.text)
				if token.text == "" || i < 0 {
					t.Fatalf("text %q is not in %q", token.text, rest)
				}
				rest = rest[i+len(token.text):]
				continue
			}
			at := token.at
			if at.Line < 1 || at.Line > len(lines) || at.Column < 1 || at.Column > len(lines[at.Line-1]) {
				t.Fatalf("%s: no such place in %q", at, src)
			}
			if at.Line < last.Line || at.Line == last.Line && at.Column <= last.Column {
				t.Fatalf("%s comes behind %s", at, last)
			}
			last = at
			if !strings.Contains(src, token.text) || token.text == "" {
				t.Fatalf("%s: %q is not in %q", at, token.text, src)
			}
		}
		for _, p := range problems {
			if p.At.Line < 1 || p.At.Line > len(lines) || p.At.Column < 1 || p.Message == "" {
				t.Fatalf("%s: no such place", p)
			}
		}
	})
}

func TestTags(t *testing.T) {
	var got strings.Builder
	for _, tag := range Tags("t", []byte("{{a}} {{! no }}\n{{#b}}\n {{^c.d}}{{{e}}}{{/c.d}}{{&f}}{{>p}}\n{{/b}}\n{{=<% %>=}}<%g%>{{/b}}")) {
		fmt.Fprintf(&got, "%c %s %s %v\n", tag.Kind, tag.Name, tag.At, tag.Within)
	}
	want := "v a t:1:1 []\n# b t:2:1 []\n^ c.d t:3:2 [b]\nr e t:3:10 [b c.d]\nr f t:3:25 [b]\n> p t:3:31 [b]\nv g t:5:12 []\n"
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}
