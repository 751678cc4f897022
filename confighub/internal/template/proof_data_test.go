// SPDX-License-Identifier: AGPL-3.0-or-later

package template_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"
)

func parse(t *testing.T, text string) any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

var jsonPlaces = []place{
	{`[{{v}}]`, under(same, "[]")},
	{`["{{v}}"]`, under(same, "[]")},
	{`["x{{v}}y"]`, under(beside("x", "y"), "[]")},
	{`["{{v}}{{v}}"]`, under(func(v string) any { return v + v }, "[]")},
	{`["\u0041{{v}}"]`, under(beside("A", ""), "[]")},
	{`{"a":{"b":{{v}} } }`, under(same, "a", "b")},
	{`{"a": [ {{v}} ]}`, under(same, "a", "[]")},
	{`{ {{v}} : 1}`, func(v string) any { return map[string]any{v: 1.0} }},
	{`{"x{{v}}": 1}`, func(v string) any { return map[string]any{"x" + v: 1.0} }},
	{`["\{{v}}"]`, nil},
	{`["\u00{{v}}"]`, nil},
	{`[1{{v}}]`, nil},
	{`[{{v}}{{v}}]`, nil},
}

func readJSON(out []byte) (v any, err error) { return v, json.Unmarshal(out, &v) }

func TestJSON(t *testing.T) {
	prove(t, "json", jsonPlaces, readJSON)
	literals := map[string]string{"1000000": "1000000", "12345678901234567890": "12345678901234567890", "1e3": "1e3", "1.50": "1.50", "-0": "-0",
		"true": "true", "null": "null", `[1,"a",null]`: `[1,"a",null]`, `{"b":{"c":1e3}}`: `{"b":{"c":1e3}}`}
	typed(t, "json", `[{{v}}]`, literals)
	typed(t, "yaml", `a: [{{v}}]`, literals)
	typed(t, "yaml", "a:\n  - {{v}}\n", literals)
}

var yamlPlaces = []place{
	{"a: {{v}}\n", under(same, "a")},
	{"a: {{v}}", under(same, "a")},
	{"a: {{v}}   # c\nb: 1\n", func(v string) any { return map[string]any{"a": v, "b": 1} }},
	{"a: {{v}}\r\nb: 1\r\n", func(v string) any { return map[string]any{"a": v, "b": 1} }},
	{"a:\n  {{v}}\nb: 1\n", func(v string) any { return map[string]any{"a": v, "b": 1} }},
	{"{{v}}\n", same},
	{"--- {{v}}\n", same},
	{"- {{v}}\n", under(same, "[]")},
	{"- - {{v}}\n", under(same, "[]", "[]")},
	{"a:\n- b: {{v}}\n  c: 1\n", func(v string) any { return map[string]any{"a": []any{map[string]any{"b": v, "c": 1}}} }},
	{"a: !!str {{v}}\n", under(same, "a")},
	{"a: &x {{v}}\nb: *x\n", func(v string) any { return map[string]any{"a": v, "b": v} }},
	{"a: |\n  x: {{y}}\n\nb: {{v}}\n", nil},
	{"a: |\n  x\n\nb: {{v}}\n", func(v string) any { return map[string]any{"a": "x\n", "b": v} }},
	{"a: [{{v}}]\n", under(same, "a", "[]")},
	{"a: [\n  {{v}},\n]\n", under(same, "a", "[]")},
	{"a: {b: {{v}} }\n", under(same, "a", "b")},
	{`{"a": {"b":{{v}} }}`, under(same, "a", "b")},
	{"a: \"{{v}}\"\n", under(same, "a")},
	{"a: \"x{{v}}y\"\n", under(beside("x", "y"), "a")},
	{"a: \"x\n  {{v}}\n  y\"\n", under(beside("x ", " y"), "a")},
	{"a: \"\\x41{{v}}\"\n", under(beside("A", ""), "a")},
	{"a: [\"{{v}}\"]\n", under(same, "a", "[]")},
	{"a: '{{v}}'\n", under(same, "a")},
	{"a: 'x{{v}}y'\n", under(beside("x", "y"), "a")},
	{"a: '''{{v}}'''\n", under(beside("'", "'"), "a")},
	{"a: 'x\n  {{v}}\n  y'\n", under(beside("x ", " y"), "a")},
	{"a: x{{v}}y\n", under(beside("x", "y"), "a")},
	{"a: /{{v}}/{{v}}\n", under(func(v string) any { return "/" + v + "/" + v }, "a")},
	{"a: {{v}}/x\n", under(beside("", "/x"), "a")},
	{"a: x:{{v}}\n", under(beside("x:", ""), "a")},
	{"a: -{{v}}\n", under(beside("-", ""), "a")},
	{"a: x {{v}} y\n", under(beside("x ", " y"), "a")},
	{"a: {{v}}{{v}}\n", under(func(v string) any { return v + v }, "a")},
	{"a: {{v}} {{v}}\n", under(func(v string) any { return v + " " + v }, "a")},
	{"a: [x{{v}}]\n", under(beside("x", ""), "a", "[]")},
	{"a: 1{{v}}\n", under(beside("1", ""), "a")},
	{"a: x\n  {{v}}\n", under(beside("x ", ""), "a")},
	{"{{v}}: 1\n", nil},
	{"x{{v}}: 1\n", nil},
	{"\"{{v}}\": 1\n", nil},
	{"'{{v}}': 1\n", nil},
	{"? {{v}}\n: 1\n", nil},
	{"{ {{v}}: 1}\n", nil},
	{"{ {{v}} }\n", nil},
	{"{ \"{{v}}\": 1}\n", nil},
	{"[\"{{v}}\": 1]\n", nil},
	{"# {{v}}\n", nil},
	{"a: 1 # {{v}}\n", nil},
	{"a: |\n  {{v}}\n", nil},
	{"a: >-\n\n    x\n  {{v}}\n", nil},
	{"- |\n {{v}}\n", nil},
	{"a: &{{v}} x\n", nil},
	{"a: !{{v}} x\n", nil},
	{"a: *{{v}}\n", nil},
	{"a: 1\n{{v}}\n", nil},
	{"a: \"x\" {{v}}\n", nil},
	{"a: 'x'{{v}}\n", nil},
	{"a: \"\\{{v}}\"\n", nil},
	{"a: \"\\u00{{v}}\"\n", nil},
	{"a: [x]{{v}}\n", nil},
}

func readYAML(out []byte) (v any, err error) { return v, yaml.Unmarshal(out, &v) }

func TestYAML(t *testing.T) {
	prove(t, "yaml", yamlPlaces, readYAML)
	typed(t, "yaml", "a: {{v}}", map[string]string{"1e3": "1e3", "1000000": "1000000", "null": "null", "false": "false", `["a"]`: `["a"]`, `"yes"`: `"yes"`, `"x"`: "x"})
	typed(t, "yaml", "a: x{{v}}", map[string]string{"5": "5", "true": "true", "null": "", `[1]`: "error", `{}`: "error"})
}

var tomlPlaces = []place{
	{"a = {{v}}\n", under(same, "a")},
	{"a = {{v}} # c", under(same, "a")},
	{"a = [{{v}}]\n", under(same, "a", "[]")},
	{"a = [\n  {{v}}, # c\n]\n", under(same, "a", "[]")},
	{"a = { b = {{v}} }\n", under(same, "a", "b")},
	{"[a]\nb.c = {{v}}\n", under(same, "a", "b", "c")},
	{"a = \"{{v}}\"\n", under(same, "a")},
	{"a = \"x{{v}}y\"\n", under(beside("x", "y"), "a")},
	{"a = \"\\u0041{{v}}\"\n", under(beside("A", ""), "a")},
	{"a = \"\"\"{{v}}\"\"\"\n", under(same, "a")},
	{"a = \"\"\"\n{{v}}\n\"\"\"\n", under(beside("", "\n"), "a")},
	{"a = \"\"\"\"\"{{v}}\"\"\"\"\"\n", under(beside(`""`, `""`), "a")},
	{"a = \"\"\"x \\\n   {{v}}\"\"\"\n", under(beside("x ", ""), "a")},
	{"a = '{{v}}'\n", under(same, "a")},
	{"a = 'x{{v}}y'\n", under(beside("x", "y"), "a")},
	{"a = '''x{{v}}y'''\n", under(beside("x", "y"), "a")},
	{"# {{v}}\na = 1\n", under(func(string) any { return int64(1) }, "a")},
	{"{{v}} = 1\n", func(v string) any { return map[string]any{v: int64(1)} }},
	{"x{{v}} = 1\n", func(v string) any { return map[string]any{"x" + v: int64(1)} }},
	{"\"{{v}}\" = 1\n", func(v string) any { return map[string]any{v: int64(1)} }},
	{"'{{v}}' = 1\n", func(v string) any { return map[string]any{v: int64(1)} }},
	{"a = { {{v}} = 1 }\n", func(v string) any { return map[string]any{"a": map[string]any{v: int64(1)}} }},
	{"[x.{{v}}]\nb = 1\n", func(v string) any {
		return map[string]any{"x": map[string]any{v: map[string]any{"b": int64(1)}}}
	}},
	{"a = x{{v}}\n", nil},
	{"a = {{v}}{{v}}\n", nil},
	{"a = {{v}} x\n", nil},
	{"a = \"x\"{{v}}\n", nil},
	{"a = \"\"{{v}}\n", nil},
	{"a = \"\"\"x\"\"\"{{v}}\n", nil},
	{"a = \"\\{{v}}\"\n", nil},
	{"a = \"\\u00{{v}}\"\n", nil},
	{"\"x\"{{v}} = 1\n", nil},
}

func readTOML(out []byte) (any, error) {
	v := map[string]any{}
	err := toml.Unmarshal(out, &v)
	return v, err
}

func TestTOML(t *testing.T) {
	prove(t, "toml", tomlPlaces, readTOML)
	typed(t, "toml", "a = {{v}}", map[string]string{"1000000": "1000000", "1e3": "1e3", "12345678901234567890": "error", "1e999": "error", "true": "true",
		"null": "error", `[1,"a"]`: `[1, "a"]`, `{"b":[true],"a b":1.5}`: `{"a b" = 1.5, "b" = [true]}`, "[null]": "error"})
	for _, v := range values() {
		whole := map[string]any{"k": v, v: []any{v, map[string]any{v: v}}}
		out, err := fill("a = {{v}}\nb = 1\n", "toml", map[string]any{"v": whole})
		if err != nil {
			continue
		}
		got, err := readTOML(out)
		if wanted := map[string]any{"a": whole, "b": int64(1)}; err != nil || !equal(wanted, got) {
			t.Fatalf("%q became %q: %v %v", v, out, got, err)
		}
	}
}

// Whole objects stand in JSON and YAML as JSON.
func TestObjects(t *testing.T) {
	for _, v := range values() {
		whole := map[string]any{"k": v, v: []any{v, map[string]any{v: v, "n": nil, "b": true}}}
		for format, text := range map[string]string{"json": `{"a": {{v}}, "b": "x"}`, "yaml": "a: {{v}}\nb: x\n"} {
			out, err := fill(text, format, map[string]any{"v": whole})
			if err != nil {
				continue
			}
			var got any
			if format == "json" {
				err = json.Unmarshal(out, &got)
			} else {
				err = yaml.Unmarshal(out, &got)
			}
			if wanted := map[string]any{"a": whole, "b": "x"}; err != nil || !equal(wanted, got) {
				t.Fatalf("%s: %q became %q: %v %v", format, v, out, got, err)
			}
		}
	}
}

// equal compares by an encoding that keeps types and bytes apart.
func equal(a, b any) bool {
	one, err1 := json.Marshal(a)
	two, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(one, two)
}
