// SPDX-License-Identifier: AGPL-3.0-or-later

package lint

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/internal/spiffe"
)

// found is the findings of a bundle of these files, as lines without what to do.
func found(t *testing.T, o Options, files map[string]string) []string {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	b, err := bundle.Read(fsys)
	if err != nil {
		t.Fatal(err)
	}
	id, err := spiffe.ParseBundleName("lint.internal", "web.shop.vm1")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range One(b, id, o, func(file string) ([]byte, error) { return fs.ReadFile(fsys, file) }) {
		f.Fix = ""
		lines = append(lines, f.Rule+" "+f.String())
	}
	return lines
}

func TestUnusedData(t *testing.T) {
	tests := []struct{ name, template, data, want string }{
		{"a variable", "{{a.b}}", `{"a": {"b": 1, "c": 2}}`, "a.c"},
		{"a whole object", "{{a}}", `{"a": {"b": {"c": 2}}}`, ""},
		{"all of it", "{{.}}", `{"a": {"b": {"c": 2}}}`, ""},
		{"a section alone", "{{#a}}x{{/a}}", `{"a": {"b": 1}}`, "a.b"},
		{"a section that is off", "{{#on}}{{a.b}}{{/on}}", `{"on": false, "a": {"b": 1, "c": 1}}`, "a.c"},
		{"names in a section that is off", "{{#on}}{{#a}}{{b}}{{/a}}{{/on}}", `{"on": false, "a": {"b": 1, "c": 1}}`, ""},
		{"an inverted section", "{{^a}}{{b}}{{/a}}", `{"a": true, "b": 1, "c": 1}`, "c"},
		{"items", "{{#l}}{{.}} {{/l}}", `{"l": [1, 2], "m": [1, 2]}`, "m"},
		{"objects in a list", "{{#l}}{{a}} {{/l}}", `{"l": [{"a": 1, "b": 1}, {"a": 2, "c": 1}]}`, "l[].b l[].c"},
		{"lists in lists", "{{#l}}{{#m}}{{a}}{{/m}}{{/l}}", `{"l": [{"m": [{"a": 1, "x": 1}]}]}`, "l[].m[].x"},
		{"an item as a whole", "{{#l}}{{.}}{{/l}}", `{"l": [{"a": 1}]}`, ""},
		{"empty ones", "{{#l}}{{.}}{{/l}}{{#o}}{{/o}}", `{"l": [], "o": {}, "p": {}}`, "p"},
		{"a name further out", "{{#a}}{{up}}{{/a}}", `{"a": {"x": 1}, "up": 1}`, "a.x"},
		{"the same key twice in a line", "{{a.x}}", `{"a": {"x": 1}, "b": {"x": 2}}`, "b.x"},
		{"a broken template", "{{nope}}", `{"a": 1}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lines := found(t, Options{}, map[string]string{
				"bundle.json": `{"targets": {"/etc/a.json": {"template": "a"}}}`, "templates/a": tt.template, "data/d.json": tt.data,
			})
			var unused []string
			for _, line := range lines {
				if rest, ok := strings.CutPrefix(line, "unused-data "); ok {
					unused = append(unused, strings.Split(rest, ": ")[2])
				}
			}
			if diff := cmp.Diff(tt.want, strings.Join(unused, " ")); diff != "" {
				t.Errorf("%s\nall: %v", diff, lines)
			}
		})
	}
}

// TestSealed: what is sealed is a secret, also where nobody can open it.
func TestSealed(t *testing.T) {
	key, err := seal.EnsureKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	text, err := seal.Seal(json.RawMessage(`"x"`), seal.Place{Key: "db.password"}, []string{key.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	lines := found(t, Options{}, map[string]string{
		"bundle.json": "{\"targets\": {\n \"/etc/a\": {\"template\": \"a\", \"mode\": \"0644\"}}}", "templates/a": "{{db.password}}",
		"data/d.json": fmt.Sprintf(`{"db": {"password": {"$sealed": %q}}}`, text),
	})
	want := []string{"readable-secret bundle.json:2:2: error: /etc/a: holds a secret, and mode 0644 lets everybody in"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestOwner(t *testing.T) {
	for _, tt := range []struct {
		user, owner string
		bad         bool
	}{
		{"", "www", false}, {"root", "www", false}, {"0:0", "www", false}, {"101", "101", false}, {"101:101", "101:5", false}, {"www", "www:www", false},
		{"101", "0", true}, {"101", "www", true}, {"www", "root:www", true}, {"www", "", false},
	} {
		lines := found(t, Options{User: tt.user}, map[string]string{
			"bundle.json": fmt.Sprintf(`{"targets": {"/etc/a": {"template": "a", "owner": %q}}}`, tt.owner), "templates/a": "",
		})
		if tt.owner == "" {
			lines = found(t, Options{User: tt.user}, map[string]string{"bundle.json": `{"targets": {"/etc/a": {"template": "a"}}}`, "templates/a": ""})
		}
		if bad := len(lines) == 1 && strings.HasPrefix(lines[0], "owner "); bad != tt.bad || len(lines) > 1 {
			t.Errorf("user %q, owner %q: %v", tt.user, tt.owner, lines)
		}
	}
}

func TestOutput(t *testing.T) {
	for _, tt := range []struct {
		target, template string
		bad              bool
	}{
		{"/etc/a.json", "{\"a\": 1}", false}, {"/etc/a.json", "{\"a\": 1, // comment\n}", false}, {"/etc/a.json", "{\"a\": }", true}, {"/etc/a.json", "", true},
		{"/etc/a.xml", "<a b='c'/>", false}, {"/etc/a.xml", `<?xml version="1.0" encoding="ISO-8859-1"?><a>x</a>`, false}, {"/etc/a.xml", "<a>", true}, {"/etc/a.xml", "<a></b>", true},
		{"/etc/a.yaml", "a: [1]\n---\nb: {}\n", false}, {"/etc/a.yaml", "", false}, {"/etc/a.yml", "a: [", true}, {"/etc/a.yaml", "a: 1\n---\n\tb: 1\n", true},
		{"/etc/a.toml", "[a]\nb = 1\n", false}, {"/etc/a.toml", "a = ", true}, {"/etc/a.toml", "a = 1\na = 2\n", true}, {"/etc/a.conf", "a: [", false},
	} {
		lines := found(t, Options{}, map[string]string{"bundle.json": fmt.Sprintf(`{"targets": {%q: {"template": "a"}}}`, tt.target), "templates/a": tt.template})
		if bad := len(lines) == 1 && strings.HasPrefix(lines[0], "output "); bad != tt.bad || len(lines) > 1 {
			t.Errorf("%s with %q: %v", tt.target, tt.template, lines)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		target, escape, template string
		bad                      bool
	}{
		{"/etc/nginx/conf.d/a.conf", "", "listen {{port}};", true}, {"/etc/nginx/conf.d/a.conf", "nginx", "listen {{port}};", false},
		{"/etc/nginx/conf.d/a.conf", "none", "listen {{port}};", false}, {"/etc/nginx/conf.d/a.conf", "", "listen 80;", false},
		{"/etc/nginx/a.nginx", "", "listen {{port}};", false}, {"/etc/app/a.conf", "", "listen {{port}};", false},
	} {
		target := fmt.Sprintf(`{"template": "a", "escape": %q}`, tt.escape)
		if tt.escape == "" {
			target = `{"template": "a"}`
		}
		lines := found(t, Options{}, map[string]string{
			"bundle.json": fmt.Sprintf(`{"targets": {%q: %s}}`, tt.target, target), "templates/a": tt.template, "data/a.json": `{"port": 80}`,
		})
		if bad := slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, "no-format ") }); bad != tt.bad {
			t.Errorf("%s, escape %q: %v", tt.target, tt.escape, lines)
		}
	}
}

// TestPrograms tries the globs, and that every suggestion is an action as settings have it.
func TestPrograms(t *testing.T) {
	for target, want := range map[string]string{
		"/etc/nginx/nginx.conf": "nginx-test", "/opt/nginx/nginx.conf": "nginx-test", "/etc/nginx/conf.d/site.conf": "", "/etc/haproxy/haproxy.cfg": "haproxy-test",
		"/etc/apache2/apache2.conf": "apache-test", "/etc/sudoers": "sudo-test", "/etc/sudoers.d/deploy": "sudo-test", "/srv/run.sh": "shell-test",
		"/etc/prometheus/prometheus.yml": "prometheus-test", "/etc/app.conf": "",
	} {
		got := ""
		for _, p := range programs {
			if strings.Contains(strings.Join(checksOf(t, target), " "), `"`+p.name+`": [`) {
				got = p.name
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
	for _, p := range programs {
		var argv []string
		if err := json.Unmarshal([]byte(p.command), &argv); err != nil || !strings.Contains(p.command, "{{path}}") {
			t.Errorf("%s: %s: %v", p.name, p.command, err)
		}
	}
}

func checksOf(t *testing.T, target string) (fixes []string) {
	t.Helper()
	b, err := bundle.Read(fstest.MapFS{"bundle.json": {Data: fmt.Appendf(nil, `{"targets": {%q: {"template": "a"}}}`, target)}, "templates/a": {}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range One(b, spiffe.ID{}, Options{}, func(string) ([]byte, error) { return nil, fs.ErrNotExist }) {
		fixes = append(fixes, f.Fix)
	}
	return fixes
}
