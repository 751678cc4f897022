// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// specDir holds the JSON files of https://github.com/mustache/spec, beside the repository.
const specDir = "../../shared/mustache-spec"

type specTest struct {
	Name, Desc, Template, Expected string
	Data                           json.RawMessage
	Partials                       map[string]string
}

func specTests(t *testing.T, module string) []specTest {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(specDir, module+".json"))
	if os.IsNotExist(err) && os.Getenv("CI") != "true" {
		t.Skipf("left out: %s is not there; it holds the files of github.com/mustache/spec", specDir)
	}
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Tests []specTest }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	return file.Tests
}

// renders runs `confighub render` on a test's files.
func (s specTest) renders(t *testing.T) (string, error) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	template, data := write("main/template", s.Template), write("data.json", string(s.Data))
	for name, text := range s.Partials {
		write("partials/"+name+".mustache", text)
	}
	write("partials/.keep", "")
	stdout, _, err := runs(t, "render", template, "--data", data, "--partials", filepath.Join(dir, "partials"), "--escape", "html", "--missing", "empty")
	return stdout, err
}

func TestMustacheSpec(t *testing.T) {
	count := 0
	for _, module := range []string{"comments", "delimiters", "interpolation", "inverted", "partials", "sections"} {
		for _, test := range specTests(t, module) {
			count++
			t.Run(module+"/"+test.Name, func(t *testing.T) {
				got, err := test.renders(t)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.Expected, got); diff != "" {
					t.Errorf("%s\n%q with %s\n%s", test.Desc, test.Template, test.Data, diff)
				}
			})
		}
	}
	if count != 136 {
		t.Errorf("ran %d tests, the specification's core has 136", count)
	}
}

// What the optional modules ask for is right or refused with the place of the tag, and never dropped.
func TestMustacheSpecOptional(t *testing.T) {
	place := regexp.MustCompile(`(?m)^(template|\S+\.mustache):\d+:\d+: .*(inheritance \(.*\)|dynamic partial names \(.*\)|lambda).* not supported`)
	count, refused := 0, 0
	for _, module := range []string{"~dynamic-names", "~inheritance", "~lambdas"} {
		for _, test := range specTests(t, module) {
			count++
			t.Run(module+"/"+test.Name, func(t *testing.T) {
				got, err := test.renders(t)
				switch {
				case err == nil && got != test.Expected:
					t.Errorf("%q gave %q, want %q or an error", test.Template, got, test.Expected)
				case err != nil && !place.MatchString(err.Error()):
					t.Errorf("the error names neither tag nor place: %v", err)
				case err != nil:
					refused++
				}
			})
		}
	}
	if count != 58 {
		t.Errorf("ran %d tests, the optional modules have 58", count)
	}
	t.Logf("%d of %d refused", refused, count)
}

func TestRecursivePartials(t *testing.T) {
	deep := strings.Repeat(`{"v":1,"k":[`, 20) + strings.Repeat(`]}`, 20)
	tests := []struct{ name, template, partial, data, want string }{
		{"ends with the data", "{{>p}}", "({{v}}{{#k}}{{>p}}{{/k}})", deep, strings.Repeat("(1", 20) + strings.Repeat(")", 20)},
		{"ends by an inverted section", "{{#k}}{{>p}}{{/k}}", "{{v}}{{^v}}{{#k}}{{>p}}{{/k}}{{/v}}", `{"v":0,"k":{"v":0,"k":{"v":1}}}`, "01"},
		{"indents each level", "{{>p}}", "- {{v}}\n{{#k}}\n  {{>p}}\n{{/k}}\n", `{"v":1,"k":[{"v":2,"k":[{"v":3,"k":[]}]}]}`, "- 1\n  - 2\n    - 3\n"},
		{"without a section", "{{>p}}", "x{{>p}}", `{}`, "error: p.mustache:1:2: p: includes itself without an end: template > p.mustache > p.mustache"},
		{"the template itself", "{{>template}}", "", `{}`, "error: template:1:1: template: includes itself without an end: template > template"},
		{"within an inverted section", "{{>p}}", "{{^no}}{{>p}}{{/no}}", `{}`,
			"error: p.mustache:1:8: p: includes itself without an end: template > p.mustache > p.mustache > p.mustache"},
		{"within a section that is always on", "{{>p}}", "{{#on}}{{>p}}{{/on}}", `{"on":true}`,
			"error: p.mustache:1:8: p: includes itself deeper than 64, for this data perhaps without an end: template > " + strings.Repeat("p.mustache > ", 7) + "…"},
		{"twice at each level", "{{>p}}", "{{#on}}{{>p}}{{>p}}{{/on}}", `{"on":true}`,
			"error: p.mustache:1:8: p: includes itself deeper than 64, for this data perhaps without an end: template > " + strings.Repeat("p.mustache > ", 7) + "…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			test := specTest{Template: tt.template, Data: json.RawMessage(tt.data), Partials: map[string]string{"p": tt.partial}}
			got, err := test.renders(t)
			if err != nil {
				got = "error: " + strings.Split(err.Error(), "\n")[0]
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
