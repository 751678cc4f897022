// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// from finds templates in a map, with the extension left out or not.
func from(templates map[string]string) Find {
	return func(name string) (string, []byte, bool) {
		for _, file := range []string{name, name + ".mustache"} {
			if text, ok := templates[file]; ok {
				return file, []byte(text), true
			}
		}
		return "", nil, false
	}
}

func parseData(t testing.TB, text string) map[string]any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var data map[string]any
	if err := dec.Decode(&data); err != nil {
		t.Fatalf("data %s: %v", text, err)
	}
	return data
}

func TestRender(t *testing.T) {
	tests := []struct{ name, template, data, want string }{
		{"text", "a\nb", `{}`, "a\nb"},
		{"variable", "Hi {{who}}!", `{"who":"you"}`, "Hi you!"},
		{"no html escaping", "{{v}}", `{"v":"a&b'c\"<>"}`, `a&b'c"<>`},
		{"integers keep their text", "{{a}} {{b}} {{c}}", `{"a":1000000,"b":12345678901234567890,"c":1.50}`, "1000000 12345678901234567890 1.50"},
		{"null in a list is empty", "{{#l}}[{{.}}]{{/l}}", `{"l":[null,"x"]}`, "[][x]"},
		{"dotted", "{{a.b.c}}", `{"a":{"b":{"c":"x"}}}`, "x"},
		{"section", "{{#on}}yes{{/on}}{{^on}}no{{/on}}", `{"on":true}`, "yes"},
		{"absent section", "{{#on}}{{missing}}{{/on}}{{^on}}no{{/on}}", `{}`, "no"},
		{"zero is false", "{{#n}}yes{{/n}}{{^n}}no{{/n}}{{n}}", `{"n":0}`, "no0"},
		{"zero in other writing", "{{#n}}yes{{/n}}{{^n}}no{{/n}}{{n}}", `{"n":-0.00e5}`, "no-0.00e5"},
		{"number is true", "{{#n}}yes {{.}}{{/n}}", `{"n":0.5}`, "yes 0.5"},
		{"empty object is true", "{{#o}}yes{{/o}}", `{"o":{}}`, "yes"},
		{"methods are not called", "{{#n}}{{Format}}{{/n}}", `{"n":5,"Format":"f"}`, "f"},
		{"context climbs", "{{#a}}{{x}}{{y}}{{/a}}", `{"a":{"x":"1"},"x":"0","y":"2"}`, "12"},
		{"standalone", "a\n  {{#s}}\nb\n  {{/s}}\nc\n", `{"s":true}`, "a\nb\nc\n"},
		{"standalone crlf", "a\r\n{{#s}}\r\nb\r\n{{/s}}\r\nc", `{"s":true}`, "a\r\nb\r\nc"},
		{"blank line after a standalone tag stays", "{{#s}}\n\nb\n{{/s}}\n", `{"s":true}`, "\nb\n"},
		{"comment", "a\n{{! one\n two }}\nb {{!c}}d", `{}`, "a\nb d"},
		{"delimiters", "{{=<% %>=}}<%v%> {{v}} <%={{ }}=%>{{v}}", `{"v":"x"}`, "x {{v}} x"},
		{"delimiters by tab", "{{=<%\t%>=}}<%v%>", `{"v":"x"}`, "x"},
		{"raw", "{{{v}}}{{&v}}", `{"v":"<"}`, "<<"},
		{"partial", "a {{>p}} b", `{"v":"x"}`, "a (x) b"},
		{"partial is not escaped as html", "{{>p}}", `{"v":"a&b'c"}`, "(a&b'c)"},
		{"partial indent", "{{#s}}\n  {{>lines}}\n{{/s}}\n", `{"s":true,"v":"x"}`, "  one\n\n  x\n"},
		{"nested partial indent", " {{>outer}}\n", `{"v":"x"}`, " o\n   one\n\n   x\n"},
		{"items", "{{#l}}{{@index}}={{.}}{{^@last}},{{/@last}}{{/l}}", `{"l":["a","b","c"]}`, "0=a,1=b,2=c"},
		{"items that are objects", "{{#l}}{{#@first}}first {{/@first}}{{n}}@{{@index}} {{/l}}", `{"l":[{"n":1},{"n":2}]}`, "first 1@0 2@1 "},
		{"items that are false", "{{#l}}{{@index}}={{.}}{{^@last}},{{/@last}}{{/l}}", `{"l":[0,"",false,null]}`, "0=0,1=,2=false,3="},
		{"rows", "{{#l}}{{@index}}:{{#.}}{{.}}{{/.}};{{/l}}", `{"l":[[1,2],[],[3]]}`, "0:12;1:;2:3;"},
		{"index of the nearest list", "{{#l}}{{#m}}{{@index}}{{.}} {{/m}}{{/l}}", `{"l":[{"m":["a"]},{"m":["b","c"]}]}`, "0a 0b 1c "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			find := from(map[string]string{"t": tt.template, "p": "({{v}})", "lines.mustache": "one\n\n{{v}}\n", "outer": "o\n  {{>lines}}\n"})
			got, err := Render(find, "t", parseData(t, tt.data), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got.Output)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	tests := []struct {
		name, template, data string
		want                 []string
	}{
		{"missing, all at once", "a\n{{upstream.port}}\n  {{b}}{{hostname}}\n", `{"upstreams":{"port":1},"b":1,"hub":{"hostname":"x"}}`, []string{
			"t.mustache:2:1: upstream.port: not in the data (did you mean upstreams.port?)",
			"t.mustache:3:8: hostname: not in the data (did you mean hub.hostname?)"}},
		{"missing in a list", "{{#l}}\n{{prot}}\n{{/l}}", `{"l":[{"port":1},{"port":2}]}`, []string{
			"t.mustache:2:1: prot: not in the data (looked in l[0] and above) (did you mean port?)"}},
		{"in a partial", "x\n  {{>p}}\n", `{}`, []string{"p:2:3: v: not in the data"}},
		{"partial", "{{>nope}}", `{}`, []string{"t.mustache:1:1: nope: no such partial: none of templates/nope, templates/nope.mustache is in the bundle"}},
		{"partial in itself", "{{>loop}}", `{}`, []string{"loop:1:2: loop: includes itself without an end: t.mustache > loop > loop"}},
		{"unclosed section", "a\n{{#s}}\nb", `{}`, []string{"t.mustache:2:1: s: is opened here and never closed"}},
		{"wrong close", "{{#s}}\n{{/t}}", `{}`, []string{
			"t.mustache:1:1: s: is opened here and never closed", "t.mustache:2:1: t: is closed here, but open is s of t.mustache:1:1"}},
		{"close of nothing", "{{/t}}", `{}`, []string{"t.mustache:1:1: t: is closed here and was never opened"}},
		{"unclosed tag", "ab {{x", `{}`, []string{"t.mustache:1:4: {{ is not closed: no }} follows"}},
		{"unbalanced triple", "{{{v}} x {{{v}}}", `{"v":1}`, []string{"t.mustache:1:1: {{{ is closed by }}: it needs }}}"}},
		{"empty tag", "{{ }}{{#}}", `{}`, []string{"t.mustache:1:1: the tag is empty", "t.mustache:1:6: the tag # names nothing"}},
		{"inheritance", "{{<p}}{{$b}}", `{}`, []string{
			"t.mustache:1:1: inheritance ({{<p}}) is not supported: use a partial", "t.mustache:1:7: inheritance ({{$b}}) is not supported: use a partial"}},
		{"dynamic names", "{{>*p}}", `{}`, []string{"t.mustache:1:1: dynamic partial names (*p) are not supported"}},
		{"index outside", "{{@index}}", `{}`, []string{"t.mustache:1:1: @index: stands outside of a list's section"}},
		{"unknown at", "{{@key}}", `{}`, []string{"t.mustache:1:1: @key: is unknown: list items have @index, @first and @last"}},
		{"object", "{{o}}\n{{l}}", `{"o":{"a":1},"l":[1]}`, []string{
			"t.mustache:1:1: o: is an object: name one of its keys, or open it with a section",
			"t.mustache:2:1: l: is a list: go through it with a section"}},
		{"zero byte", "a\n\x00", `{}`, []string{"t.mustache:2:1: holds a zero byte: a template is text"}},
		{"zero byte in the data", "{{v}}", `{"v":"a\u0000t1:"}`, []string{"t.mustache:1:1: v: holds a zero byte, which no file of text can carry"}},
		{"multiplying sections", strings.Repeat("{{#l}}", 8) + "{{.}}" + strings.Repeat("{{/l}}", 8), `{"l":[1,2,3,4,5,6,7,8,9,10]}`, []string{
			"t.mustache:1:1: visits more than 2000000 tags: nested sections multiply"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			find := from(map[string]string{"t.mustache": tt.template, "p": "a\n  {{v}}\n", "loop": "x{{>loop}}"})
			_, err := Render(find, "t", parseData(t, tt.data), Options{})
			problems, ok := err.(Problems)
			if !ok {
				t.Fatalf("got %v, want Problems", err)
			}
			if diff := cmp.Diff(tt.want, problems.Lines()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLenient(t *testing.T) {
	got, err := Render(from(map[string]string{"t": "[{{a}}][{{#b}}x{{/b}}][{{>c}}][{{d.e}}]"}), "t", map[string]any{}, Options{Lenient: true})
	if err != nil || string(got.Output) != "[][][][]" {
		t.Errorf("got %q, %v", got.Output, err)
	}
}

func TestSectionWarnings(t *testing.T) {
	find := from(map[string]string{"t": "{{#tsl}}\nx\n{{/tsl}}{{#gone}}{{/gone}}{{#port}}{{/port}}"})
	data := parseData(t, `{"tls":true,"web":{"port":1}}`)
	got, err := Render(find, "t", data, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"t:1:1: tsl: this section's key stands nowhere in the data", "t:3:9: gone: this section's key stands nowhere in the data"}
	if diff := cmp.Diff(want, got.Warnings.Lines()); diff != "" {
		t.Error(diff)
	}
	if _, err := Render(find, "t", data, Options{Strict: true}); err == nil {
		t.Error("strict: no error")
	}
}

func TestSecret(t *testing.T) {
	data := parseData(t, `{"secrets":{"pw":"x","l":["y"]},"pw":"z"}`)
	for text, want := range map[string]bool{
		"{{pw}}": false, "{{secrets.pw}}": true, "{{#secrets}}{{pw}}{{/secrets}}": true, "{{#secrets.pw}}has{{/secrets.pw}}": false,
		"{{#secrets.l}}{{.}}{{/secrets.l}}": true, "{{#secrets}}{{#l}}{{.}}{{/l}}{{/secrets}}": true,
	} {
		got, err := Render(from(map[string]string{"t": text}), "t", data, Options{})
		if err != nil || got.Secret != want {
			t.Errorf("%s: secret %v, %v", text, got.Secret, err)
		}
	}
}

// FuzzRender looks for a template and data on which our walk and the library disagree, or the process dies.
func FuzzRender(f *testing.F) {
	f.Add("a {{x}}\n{{#l}}{{.}}{{@index}}{{/l}}{{^z}}{{{o.p}}}{{/z}}", `{"x":1,"l":[0,"",{"a":1},[2]],"z":0,"o":{"p":"q"}}`)
	f.Add("{{=<% %>=}}\n<%#s%>\n{{>p}}<%&.%>\n<%/s%>", `{"s":"x"}`)
	f.Add("{{>p}} {{>t}}", `{"v":null}`)
	f.Fuzz(func(t *testing.T, text, raw string) {
		dec := json.NewDecoder(strings.NewReader(raw))
		dec.UseNumber()
		var data map[string]any
		if dec.Decode(&data) != nil || len(text) > 1000 || len(raw) > 1000 {
			return
		}
		find := from(map[string]string{"t": text, "p": "\n{{v}}"})
		for _, format := range []string{"", "json", "xml", "shell", "env", "nginx", "yaml"} {
			got, err := Render(find, "t", data, Options{Format: format})
			if err != nil && strings.Contains(err.Error(), "not by the renderer") {
				t.Fatal(err)
			}
			if err == nil && bytes.IndexByte(got.Output, 0) >= 0 {
				t.Fatalf("a mark is left in %q", got.Output)
			}
		}
	})
}
