// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/template"
)

// Traps of the template library and of its use for configuration files, each through the command.
func TestRenderTraps(t *testing.T) {
	tests := []struct{ name, template, partial, data, escape, want string }{
		{"partials inherit the escaping", "[{{>p}}]", `"{{v}}", {{v}}`, `{"v":"a&b'c\"d"}`, "json", `["a&b'c\"d", "a&b'c\"d"]`},
		{"partials in partials and sections inherit it", "a: {{#l}}{{>p}}{{/l}}", `"{{v}}"`, `{"l":[{"v":"x\ny"}]}`, "yaml", `a: "x\ny"`},
		{"a place goes on in a partial", "[\"{{>p}}\"]", `{{v}}`, `{"v":"\""}`, "json", `["\""]`},
		{"none is not html", "{{v}}{{>p}}", "{{v}}", `{"v":"<&\"'>"}`, "none", `<&"'><&"'>`},
		{"raw in a partial is raw", "{{>p}}", "{{{v}}}{{&v}}", `{"v":"\""}`, "json", `""`},
		{"numbers as written", "{{a}} {{b}} {{c}} {{d}} {{e}}", "", `{"a":1000000,"b":12345678901234567890,"c":1e3,"d":1.10,"e":-0}`, "none", "1000000 12345678901234567890 1e3 1.10 -0"},
		{"numbers in lists and objects as written", "{{l}}", "", `{"l":[1000000,{"a":12345678901234567890},1e3]}`, "json", `[1000000,{"a":12345678901234567890},1e3]`},
		{"zero is false, and prints", "{{#n}}yes{{/n}}{{^n}}{{n}}{{/n}}", "", `{"n":0}`, "none", "0"},
		{"null is empty", "{{#l}}[{{.}}{{{.}}}{{&.}}{{#.}}x{{/.}}{{^.}}y{{/.}}]{{/l}}", "", `{"l":[null]}`, "none", "[y]"},
		{"null in data takes the key away", "{{n}}", "", `{"n":null}`, "none", "error: t:1:1: n: not in the data"},
		{"false are also blank strings and empty lists", "{{#a}}a{{/a}}{{#b}}b{{/b}}{{#c}}c{{/c}}{{#d}}d{{/d}}", "", `{"a":" ","b":[],"c":"","d":{}}`, "none", "d"},
		{"methods are nothing to call", "{{n.String}}", "", `{"n":5}`, "none", "error: t:1:1: n.String: not in the data"},
		{"objects and lists are not printed", "{{o}}\n{{l}}", "", `{"o":{},"l":[]}`, "none",
			"error: t:1:1: o: is an object: name one of its keys, or open it with a section\nt:2:1: l: is a list: go through it with a section"},
		{"lists have no names", "{{l.0}}", "", `{"l":[1]}`, "none", "error: t:1:1: l.0: not in the data"},
		{"keys with dots", "{{a.b}}", "", `{"a.b":1}`, "none", "error: t:1:1: a.b: not in the data (a key of the data holds the dot itself, and no tag can name it: rename the key)"},
		{"an error leaves no output", "KEEP {{port}} {{b}}", "", `{"port":1}`, "none", "error: t:1:15: b: not in the data"},
		{"all errors at once", "{{#l}}{{prot}}{{/l}}\n{{x}}{{>q}}\n  {{>p}}\n{{{y}}", "\n{{z}}{{/w}}", `{"l":[{"port":1}]}`, "none",
			"error: p.mustache:2:6: w: is closed here and was never opened\nt:2:6: q: no such partial: none of templates/q, templates/q.mustache is in the bundle\nt:4:1: {{{ is closed by }}: it needs }}}"},
		{"all missing at once", "{{#list}}{{prot}}{{/list}}\n{{x}}\n  {{>p}}\n", "\n{{z}}", `{"list":[{"port":1},{"port":2}]}`, "none",
			"error: p.mustache:2:1: z: not in the data\nt:1:10: prot: not in the data (looked in list[0] and above) (did you mean port?)\nt:2:1: x: not in the data"},
		{"standalone tags do not shift lines", "{{#a}}\n\n  {{#b}}\n{{/a}}\n", "", `{}`, "none",
			"error: t:1:1: a: is opened here and never closed\nt:3:3: b: is opened here and never closed\nt:4:1: a: is closed here, but open is b of t:3:3"},
		{"nor do comments and line ends", "{{! a\r\n b }}\r\n{{=<% %>=}}\r\nä<%/x%>", "", `{}`, "none", "error: t:4:3: x: is closed here and was never opened"},
		{"a tag without its end", "a {{b\nc }} {{d}}", "", `{"d":1}`, "none", "error: t:1:3: the tag goes on over the end of its line: no }} closes it there"},
		{"a tag without any end", "a\n b {{c }", "", `{}`, "none", "error: t:2:4: {{ is not closed: no }} follows"},
		{"columns in an indented partial are the file's", "  {{>p}}\n", "a\n b {{/x}}\n", `{}`, "none", "error: p.mustache:2:4: x: is closed here and was never opened"},
		{"absolute partials", "{{>/etc/hostname}}", "", `{}`, "none", "error: t:1:1: /etc/hostname: no such partial: none of templates//etc/hostname, templates//etc/hostname.mustache is in the bundle"},
		{"partials above", "{{>../t}}", "", `{}`, "none", "error: t:1:1: ../t: no such partial: none of templates/../t, templates/../t.mustache is in the bundle"},
		{"partials behind a link", "{{>link}}", "", `{}`, "none", "error: t:1:1: link: no such partial: none of templates/link, templates/link.mustache is in the bundle"},
		{"a value with line breaks cannot add lines", "a = {{v}}\n", "", `{"v":"1\nb = 2"}`, "ini", "error: t:1:5: v: holds a line break, which an INI file cannot carry"},
		{"nor directives", "root {{v}};\n", "", `{"v":"/x; user root"}`, "nginx", "root \"/x; user root\";\n"},
		{"values are not templates", "{{v}}", "", `{"v":"{{w}}{{{w}}}{{>p}}"}`, "none", "{{w}}{{{w}}}{{>p}}"},
		{"lines of a partial without an end", "a\n  {{>p}}\nb\n", "x", `{}`, "none", "a\n  xb\n"},
		{"a triple tag that is not closed swallows nothing", "{{{v}} and {{{v}}} {{x}}", "", `{"v":1}`, "none", "error: t:1:1: {{{ is closed by }}: it needs }}}"},
		{"delimiters apart by a tab, or by more", "{{=<%\t%>=}}<%v%><%=[[   ]]=%>[[v]]", "", `{"v":1}`, "none", "11"},
		{"delimiters that are none", "{{=<% =}}", "", `{}`, "none", "error: t:1:1: must be two delimiters without =, such as {{=<% %>=}}"},
		{"data that is no object", "{{#a}}{{b}}{{/a}}{{^a}}-{{/a}}{{#.}}{{.}}{{/.}}", "", `5`, "none", "-5"},
		{"data that is nothing", "{{#a}}{{b}}{{/a}}{{#.}}x{{/.}}{{^.}}y{{/.}}", "", `null`, "none", "y"},
		{"a variable of data that is no object", "{{a}}", "", `[1]`, "none", "error: t:1:1: a: not in the data"},
		{"lines of a value in a block of yaml", "a: |\n  {{v}}\n", "", `{"v":"1\n2"}`, "yaml", "error: t:2:3: v: stands in a block scalar of YAML: write it as key: {{name}}, which takes line breaks too"},
		{"separators", "[{{#l}}{{@index}}:{{.}}{{^@last}}, {{/@last}}{{/l}}]", "", `{"l":["a",0,null,[1]]}`, "none", "error: t:1:19: .: is a list: go through it with a section"},
		{"separators of objects", "{{#l}}{{#@first}}{{n}}{{/@first}}{{^@first}},{{n}}{{/@first}}{{/l}}", "", `{"l":[{"n":1},{"n":2}]}`, "none", "1,2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"t": tt.template, "data.json": tt.data, "partials/p.mustache": tt.partial} {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink("../data.json", filepath.Join(dir, "partials", "link")); err != nil {
				t.Fatal(err)
			}
			stdout, _, err := runs(t, "render", filepath.Join(dir, "t"), "--data", filepath.Join(dir, "data.json"), "--partials", filepath.Join(dir, "partials"), "--escape", tt.escape)
			if err != nil && stdout != "" {
				t.Errorf("printed %q beside the error", stdout)
			}
			if err != nil {
				stdout = "error: " + err.Error()
			}
			if diff := cmp.Diff(tt.want, stdout); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The hint that people see most.
func TestMissingIsNamed(t *testing.T) {
	find := func(name string) (string, []byte, bool) {
		text := strings.Repeat("\n", 11) + "server {{upstream.port}};"
		return name, []byte(text), name == "nginx.conf.mustache"
	}
	data := map[string]any{"upstreams": map[string]any{"port": "80"}}
	_, err := template.Render(find, "nginx.conf.mustache", data, template.Options{Format: "nginx"})
	if want := "nginx.conf.mustache:12:8: upstream.port: not in the data (did you mean upstreams.port?)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A partial is read and parsed once for its tag, not once for each item.
func TestPartialsAreReadOnce(t *testing.T) {
	reads := map[string]int{}
	find := func(name string) (string, []byte, bool) {
		reads[name]++
		return name, []byte(map[string]string{"t": `{{#l}}{{>p}}{{/l}}`, "p": `{{.}};`}[name]), true
	}
	list := make([]any, 1000)
	for i := range list {
		list[i] = "x"
	}
	result, err := template.Render(find, "t", map[string]any{"l": list}, template.Options{})
	if err != nil || string(result.Output) != strings.Repeat("x;", 1000) || reads["p"] != 1 || reads["t"] != 1 {
		t.Errorf("read %v, %d bytes, %v", reads, len(result.Output), err)
	}
}

// Renderings at the same time do not meet, each with its own escaping.
func TestRenderAtOnce(t *testing.T) {
	find := func(name string) (string, []byte, bool) {
		return name, []byte(map[string]string{"t": `{{#l}}{{>p}}{{/l}}`, "p": `"{{v}}"`}[name]), true
	}
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			format, want := "json", `"a\"<`
			if i%2 == 0 {
				format, want = "html", `"a&quot;&lt;`
			}
			data := map[string]any{"l": []any{map[string]any{"v": fmt.Sprint(`a"<`, i)}}}
			for range 50 {
				result, err := template.Render(find, "t", data, template.Options{Format: format})
				if got, want := string(result.Output), fmt.Sprint(want, i, `"`); err != nil || got != want {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
			}
		})
	}
	group.Wait()
}
