// SPDX-License-Identifier: AGPL-3.0-or-later

package explain_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/explain"
	"cloud4.internal/hub/confighub/internal/render"
)

// brief is each line with its parts, one line each.
func brief(t *testing.T, template, data string, in render.Inputs) string {
	t.Helper()
	b, err := bundle.Read(fstest.MapFS{
		"bundle.json": {Data: []byte(`{"targets": {"/etc/a": {"template": "a"}}}`)}, "data/d.json": {Data: []byte(data)}, "templates/a": {Data: []byte(template)},
	})
	if err != nil {
		t.Fatal(err)
	}
	x, err := explain.Target(b, in, "/etc/a")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, l := range x.Lines {
		fmt.Fprintf(&text, "%d %q\n", l.Number, l.Text)
		for _, p := range l.Parts {
			fmt.Fprintf(&text, "  %q %s %s\n", p.Text, strings.TrimPrefix(p.At, "templates/"), p.Path)
		}
	}
	return text.String()
}

func TestTarget(t *testing.T) {
	secrets := render.Inputs{Secrets: map[string]string{"k": "one\ntwo\nthree"}}
	for _, tt := range []struct{ name, template, data, want string }{
		{"texts of several lines", "a\n\n b {{v}}", `{"v": 1}`,
			"1 \"a\"\n  \"a\" a:1:1 \n2 \"\"\n  \"\" a:2:1 \n3 \" b 1\"\n  \" b \" a:3:1 \n  \"1\" a:3:4 v\n"},
		{"a value of several lines", "x{{{v}}}y\nz", `{"v": "1\n2"}`,
			"1 \"x1\"\n  \"x\" a:1:1 \n  \"1\" a:1:2 v\n2 \"2y\"\n  \"2\" a:1:2 v\n  \"y\" a:1:9 \n3 \"z\"\n  \"z\" a:2:1 \n"},
		{"a secret of several lines", "x{{secrets.k}}\n", `{}`,
			"1 \"x***\"\n  \"x\" a:1:1 \n  \"***\" a:1:2 secrets.k\n2 \"***\"\n  \"***\" a:1:2 secrets.k\n3 \"***\"\n  \"***\" a:1:2 secrets.k\n"},
		{"empty values", "{{v}}\n{{v}}x{{v}}\n{{v}}", `{"v": ""}`,
			"1 \"\"\n  \"\" a:1:1 v\n2 \"x\"\n  \"\" a:2:1 v\n  \"x\" a:2:6 \n  \"\" a:2:7 v\n"},
		{"an empty value at the end", "x{{v}}", `{"v": ""}`, "1 \"x\"\n  \"x\" a:1:1 \n  \"\" a:1:2 v\n"},
		{"other line ends", "a\r\n{{v}}\r\n", `{"v": 1}`, "1 \"a\"\n  \"a\" a:1:1 \n2 \"1\"\n  \"1\" a:2:1 v\n"},
		{"nothing", "", `{}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, brief(t, tt.template, tt.data, secrets)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSplit(t *testing.T) {
	for argument, want := range map[string]string{"/etc/a:12": "/etc/a 12", "/etc/a": "/etc/a 0", "/etc/a:b": "/etc/a:b 0", "/etc/a:0": "/etc/a:0 0", "/etc/a:1:2": "/etc/a:1 2"} {
		if target, line := explain.Split(argument); fmt.Sprint(target, " ", line) != want {
			t.Errorf("%s: %s %d", argument, target, line)
		}
	}
	if got := explain.Pointer("a[0].b/c[12][3]"); got != "/a/0/b~1c/12/3" {
		t.Error(got)
	}
}

// FuzzTarget holds that the parts of the lines are the output, each at a place that is there.
func FuzzTarget(f *testing.F) {
	for _, text := range []string{"a\n\n{{v}}{{e}}\n", "{{#l}}{{.}}\n{{/l}}{{^no}}{{{m}}}x{{/no}}", "{{e}}", "\n{{e}}\n{{m}}", "{{#l}}\n  {{v}}{{@index}}\n\n{{/l}}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := bundle.Read(fstest.MapFS{
			"bundle.json": {Data: []byte(`{"targets": {"/etc/a": {"template": "a"}}}`)}, "templates/a": {Data: []byte(text)},
			"data/d.json": {Data: []byte(`{"v": "x y", "e": "", "m": "one\ntwo\n", "l": [1, 2]}`)},
		})
		if err != nil {
			t.Fatal(err)
		}
		x, err := explain.Target(b, render.Inputs{}, "/etc/a")
		if err != nil {
			return
		}
		out, err := render.Render(b, render.Inputs{})
		if err != nil {
			t.Fatal(err)
		}
		if out.Files[0].Secret {
			return // {{.}} is all data, with the secrets
		}
		lines := strings.SplitAfter(string(out.Files[0].Bytes), "\n")
		if lines[len(lines)-1] == "" {
			lines = lines[:len(lines)-1]
		}
		if len(lines) != len(x.Lines) {
			t.Fatalf("%d lines of %q", len(x.Lines), lines)
		}
		for i, l := range x.Lines {
			parts := ""
			for _, p := range l.Parts {
				parts += p.Text
			}
			if want := strings.TrimRight(lines[i], "\r\n"); l.Number != i+1 || strings.TrimRight(l.Text, "\r") != want || strings.TrimRight(parts, "\r") != want || len(l.Parts) == 0 {
				t.Fatalf("line %d is %q, of %q, want %q", l.Number, l.Text, l.Parts, want)
			}
		}
	})
}
