// SPDX-License-Identifier: AGPL-3.0-or-later

package template_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/template"
)

// traced renders both ways and holds that tracing changes nothing and accounts for every byte.
func traced(t *testing.T, find template.Find, name string, data any, opts template.Options) (template.Result, error) {
	t.Helper()
	plain, plainErr := template.Render(find, name, data, opts)
	opts.Trace = true
	result, err := template.Render(find, name, data, opts)
	if fmt.Sprint(plainErr) != fmt.Sprint(err) || !bytes.Equal(plain.Output, result.Output) {
		t.Fatalf("traced: %q, %v; else: %q, %v", result.Output, err, plain.Output, plainErr)
	}
	if err != nil {
		return result, err
	}
	end := 0
	for _, s := range result.Trace.Spans {
		if s.Start != end || s.End < s.Start {
			t.Fatalf("%s: from %d to %d, after %d", s.At, s.Start, s.End, end)
		}
		end = s.End
		if s.Tag == "" {
			standsThere(t, find, s, string(result.Output[s.Start:s.End]))
		}
	}
	if end != len(result.Output) {
		t.Fatalf("traced %d bytes of %d", end, len(result.Output))
	}
	return result, nil
}

// standsThere holds that a text of the template is at the place it is said to be.
func standsThere(t *testing.T, find template.Find, s template.Span, text string) {
	t.Helper()
	_, src, _ := find(strings.TrimSuffix(s.At.File, ".mustache"))
	lines := strings.SplitAfter(string(src), "\n")
	for i, line := range strings.SplitAfter(text, "\n") {
		if line == "" {
			continue
		}
		if s.At.Line+i > len(lines) {
			t.Fatalf("%s: line %d of %q is behind the end", s.At, i+1, text)
		}
		there := lines[s.At.Line+i-1]
		if i == 0 {
			there = there[min(len(there), s.At.Column-1):]
		}
		// A partial's lines are indented by its place.
		if !strings.HasPrefix(strings.TrimLeft(there, " \t"), strings.TrimLeft(line, " \t")) {
			t.Fatalf("%s: %q does not stand there: %q", s.At, line, there)
		}
	}
}

func TestTrace(t *testing.T) {
	files := map[string]string{
		"t":       "user {{user}};\n{{#up}}\n  upstream {{name}} {\n    {{> servers}}\n  }\n{{/up}}\n{{^none}}\nkey \"{{secrets.key}}\";{{{user}}}\n{{/none}}\n",
		"servers": "{{#servers}}\nserver {{host}}:{{up.port}};\n{{/servers}}\n",
	}
	find := func(name string) (string, []byte, bool) {
		text, ok := files[name]
		return name + ".mustache", []byte(text), ok
	}
	var data any
	dec := json.NewDecoder(strings.NewReader(`{"user": "www", "secrets": {"key": "pa ss"}, "up": [{"name": "a", "servers": [{"host": "h1", "up": {"port": 80}}, {"host": "h2", "up": {"port": 81}}]}]}`))
	dec.UseNumber()
	if err := dec.Decode(&data); err != nil {
		t.Fatal(err)
	}
	result, err := traced(t, find, "t", data, template.Options{Format: "nginx"})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, s := range result.Trace.Spans {
		fmt.Fprintf(&got, "%q %s", result.Output[s.Start:s.End], s.At)
		if s.Tag != "" {
			fmt.Fprintf(&got, " %s=%s", s.Tag, s.Path)
		}
		for scope := s.Scope; scope != nil; scope = scope.Outer {
			fmt.Fprintf(&got, " #%s(%s)@%d=%s %d/%d %v", scope.Tag, scope.Path, scope.At.Line, scope.At.File, scope.Index, scope.Count, scope.Inverted)
		}
		fmt.Fprintf(&got, " %v secret=%v raw=%v\n", s.Partials, s.Secret, s.Raw)
	}
	want := `"user " t.mustache:1:1 [] secret=false raw=false
"www" t.mustache:1:6 user=user [] secret=false raw=false
";\n" t.mustache:1:14 [] secret=false raw=false
"  upstream " t.mustache:3:1 #up(up[0])@2=t.mustache 0/1 false [] secret=false raw=false
"a" t.mustache:3:12 name=up[0].name #up(up[0])@2=t.mustache 0/1 false [] secret=false raw=false
" {\n" t.mustache:3:20 #up(up[0])@2=t.mustache 0/1 false [] secret=false raw=false
"    server " servers.mustache:2:1 #servers(up[0].servers[0])@1=servers.mustache 0/2 false #up(up[0])@2=t.mustache 0/1 false [t.mustache:4:5] secret=false raw=false
"h1" servers.mustache:2:8 host=up[0].servers[0].host #servers(up[0].servers[0])@1=servers.mustache 0/2 false #up(up[0])@2=t.mustache 0/1 false [t.mustache:4:5] secret=false raw=false
":" servers.mustache:2:16 #servers(up[0].servers[0])@1=servers.mustache 0/2 false #up(up[0])@2=t.mustache 0/1 false [t.mustache:4:5] secret=false raw=false
"80" servers.mustache:2:17 up.port=up[0].servers[0].up.port #servers(up[0].servers[0])@1=servers.mustache 0/2 false #up(up[0])@2=t.mustache 0/1 false [t.mustache:4:5] secret=false raw=false
";\n" servers.mustache:2:28 #servers(up[0].servers[0])@1=servers.mustache 0/2 false #up(up[0])@2=t.mustache 0/1 false [t.mustache:4:5] secret=false raw=false
"    server " servers.mustache:2:1 #servers(up[0].servers[1])@1=servers.mustache 1/2 false #up(up[0])@2=t.mustache 0/1 false [t.mustache:4:5] secret=false raw=false
"h2" servers.mustache:2:8 host=up[0].servers[1].host #servers(up[0].servers[1])@1=servers.mustache 1/2 false #up(up[0])@2=t.mustache 0/1 false [t.mustache:4:5] secret=false raw=false
":" servers.mustache:2:16 #servers(up[0].servers[1])@1=servers.mustache 1/2 false #up(up[0])@2=t.mustache 0/1 false [t.mustache:4:5] secret=false raw=false
"81" servers.mustache:2:17 up.port=up[0].servers[1].up.port #servers(up[0].servers[1])@1=servers.mustache 1/2 false #up(up[0])@2=t.mustache 0/1 false [t.mustache:4:5] secret=false raw=false
";\n" servers.mustache:2:28 #servers(up[0].servers[1])@1=servers.mustache 1/2 false #up(up[0])@2=t.mustache 0/1 false [t.mustache:4:5] secret=false raw=false
"  }\n" t.mustache:5:1 #up(up[0])@2=t.mustache 0/1 false [] secret=false raw=false
"key \"" t.mustache:8:1 #none()@7=t.mustache 0/0 true [] secret=false raw=false
"pa ss" t.mustache:8:6 secrets.key=secrets.key #none()@7=t.mustache 0/0 true [] secret=true raw=false
"\";" t.mustache:8:21 #none()@7=t.mustache 0/0 true [] secret=false raw=false
"www" t.mustache:8:23 user=user #none()@7=t.mustache 0/0 true [] secret=false raw=true
"\n" t.mustache:8:33 #none()@7=t.mustache 0/0 true [] secret=false raw=false
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
	masked := string(result.Trace.Masked(result.Output))
	if want := strings.Replace(string(result.Output), "pa ss", "***", 1); masked != want {
		t.Errorf("masked %q, want %q", masked, want)
	}
	used := map[string]bool{}
	for _, u := range result.Trace.Used {
		used[fmt.Sprintf("%s %s %v", u.At, u.Path, u.Whole)] = true
	}
	for _, use := range []string{"t.mustache:7:1  false", "t.mustache:2:1 up false", "servers.mustache:2:17 up[].servers[].up.port true"} {
		if !used[use] {
			t.Errorf("%q is not among %v", use, used)
		}
	}
}

// FuzzTrace holds that a traced rendering is the same one, whatever the template, and that masking leaves no secret.
func FuzzTrace(f *testing.F) {
	const data = `{"a": "x", "n": 0, "l": [1, "b", {"c": "d"}, [true]], "k": [{"k": [{"k": []}]}], "o": {"p": {"q": null}}, "secrets": {"s": "pa55word\n'\"$"}}`
	for _, text := range []string{
		"{{a}}\n{{> p}}\n", "{{#k}}\n  {{> p}}\n{{/k}}", "{{#l}}{{^@last}},{{/@last}}{{@index}}{{/l}}", "{{#k}}{{#k}}{{> t}}{{/k}}{{/k}}{{a}}", "{{x}}{{#x}}no{{/x}}{{^x}}yes{{/x}}",
		"s={{secrets.s}} {{{secrets.s}}}{{#secrets}}{{s}}{{/secrets}}", "{{.}}", "\"{{secrets.s}}\"", "{{=<% %>=}}<%a%>\r\n <%#o%>\r\n<%p.q%>\r\n <%/o%>", "{{! c }}\n\n{{#o}}\n\n{{/o}}\nend", "{{#secrets.s}}{{.}}{{/secrets.s}}",
	} {
		for _, format := range []string{"none", "json", "nginx", "yaml"} {
			f.Add(text, " \t{{a}}\n\n  {{#k}}\n  {{> p}}\n  {{/k}}\nz", format, true)
		}
	}
	f.Fuzz(func(t *testing.T, text, partial, format string, lenient bool) {
		find := func(name string) (string, []byte, bool) {
			switch name {
			case "t":
				return "t.mustache", []byte(text), true
			case "p":
				return "p.mustache", []byte(partial), true
			}
			return "", nil, false
		}
		if strings.Contains(text+partial, "pa55") {
			return
		}
		var v any
		dec := json.NewDecoder(strings.NewReader(data))
		dec.UseNumber()
		if err := dec.Decode(&v); err != nil {
			t.Fatal(err)
		}
		result, err := traced(t, find, "t", v, template.Options{Format: format, Lenient: lenient})
		if err != nil {
			return
		}
		if masked := result.Trace.Masked(result.Output); bytes.Contains(masked, []byte("pa55word")) {
			t.Fatalf("the secret is in %q", masked)
		}
	})
}
