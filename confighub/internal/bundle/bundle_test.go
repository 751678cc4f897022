// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func tree(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

func good() map[string]string {
	return map[string]string{
		"bundle.json": `{
			// comments and trailing commas are fine
			"targets": {
				"/etc/nginx/nginx.conf": {"template": "nginx.conf", "check": "nginx-test", "reload": ["nginx", "-s", "reload"], "mode": "0640", "owner": "root:www-data"},
				"/etc/key.pem": {"identity": "key", "when": "tls.on", "once": true},
				"service": {"template": "env", "env": true, "reload": "restart"},
			},
			"strict": true,
		}`,
		"data/10.json":                      `{"a": {"x": 1, "y": 2}, "big": 12345678901234567890, "gone": true, "l": [null, 1.50]}`,
		"data/20.json":                      `{"a": {"y": null, "z": "<&>"}, "gone": null, "tls": {"on": true}}`,
		"templates/nginx.conf.mustache":     "x",
		"templates/env":                     "A=1",
		"templates/partials/inner.mustache": "y",
		"schema.json":                       `{"type": "object", "required": ["a"], "properties": {"a": {"type": "object", "properties": {"x": {"type": "integer", "minimum": 1}}}}}`,
		"README.md":                         "not part of a bundle",
	}
}

func TestRead(t *testing.T) {
	b, err := Read(tree(good()))
	if err != nil {
		t.Fatal(err)
	}
	mode := Mode(0o640)
	want := Manifest{Strict: true, Targets: map[string]Target{
		"/etc/nginx/nginx.conf": {Template: "nginx.conf", Check: Action{Name: "nginx-test"}, Reload: Action{Argv: []string{"nginx", "-s", "reload"}}, Mode: &mode, Owner: "root:www-data"},
		"/etc/key.pem":          {Identity: IdentityKey, When: "tls.on", Once: true},
		"service":               {Template: "env", Env: true, Reload: Action{Name: "restart"}},
	}}
	if diff := cmp.Diff(want, b.Manifest); diff != "" {
		t.Error(diff)
	}
	data, err := json.Marshal(b.Data)
	if err != nil || string(data) != `{"a":{"x":1,"z":"\u003c\u0026\u003e"},"big":12345678901234567890,"l":[null,1.50],"tls":{"on":true}}` {
		t.Errorf("data %s, %v", data, err)
	}
	if file, text, ok := b.Template("nginx.conf"); !ok || file != "nginx.conf.mustache" || string(text) != "x" {
		t.Errorf("template %q %q %v", file, text, ok)
	}
	if _, _, ok := b.Template("../bundle.json"); ok {
		t.Error("a template outside of templates/")
	}
}

func TestPackIsTheSameBundle(t *testing.T) {
	b, err := Read(tree(good()))
	if err != nil {
		t.Fatal(err)
	}
	packed, err := Pack(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Pack(b)
	if err != nil || !bytes.Equal(packed, again) {
		t.Error("packing twice gives other bytes")
	}
	got, err := Unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	b.Schema, got.Schema = nil, nil // the same, but for white space
	if diff := cmp.Diff(b, got); diff != "" {
		t.Error(diff)
	}
}

func TestProblems(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"syntax", map[string]string{"bundle.json": "{\n \"targets\": }", "data/a.json": "[\n1,,2]"}, []string{
			"bundle.json:2: column 13: invalid character '}' at start of value", "data/a.json:2: column 3: invalid character ',' at start of value"}},
		{"cut off", map[string]string{"data/a.json": "{\"a\": {"}, []string{"data/a.json:2: column 1: parsing value: the file ends too early"}},
		{"not objects", map[string]string{"bundle.json": "[]", "data/a.json": "\n3"}, []string{
			"bundle.json:1: must be a JSON object, is a list", "data/a.json:2: must be a JSON object, is a number"}},
		{"twice", map[string]string{"data/a.json": "{\"a\": 1,\n\"a\": 2}"}, []string{"data/a.json:2: a: stands twice"}},
		{"deep", map[string]string{"data/a.json": strings.Repeat("[", 100000)}, []string{"data/a.json:1: is nested deeper than 200"}},
		{"deep in a string", map[string]string{"data/a.json": `{"a": "` + strings.Repeat("[", 1000) + `"} // ` + strings.Repeat("[", 1000)}, nil},
		{"large", map[string]string{"data/a.json": `{"a": 1}`, "data/b.json": `{"l": "` + strings.Repeat("x", MaxJSON-10) + `"}`, "data/c.json": "{}"}, []string{
			"data/b.json: makes the JSON of the bundle larger than 4194304 bytes", "data/c.json: makes the JSON of the bundle larger than 4194304 bytes"}},
		{"many values", map[string]string{"data/a.json": `{"l": ` + list(MaxValues-10) + "}", "data/b.json": "{\n\"l\": " + list(10) + "}"}, []string{
			"data/b.json:2: makes the JSON of the bundle hold more than 200000 values"}},
		{"commas in strings", map[string]string{"data/a.json": `{"l": "` + strings.Repeat(",[", MaxValues) + `"}`}, nil},
		{"long keys", map[string]string{"data/a.json": `{"` + strings.Repeat("k", 1<<20) + `": ` + list(100_000) + "}"}, []string{
			"data/a.json:1: " + strings.Repeat("k", 60) + "…: is a path longer than 512 bytes"}},
		{"keys", map[string]string{"bundle.json": "{\n\"target\": {},\n\"strict\": 1,\n\"targets\": {\n\"/a\": {\"templat\": \"x\"},\n\"/b\": 1}}"}, []string{
			"bundle.json:2: target: unknown key: bundle.json has targets and strict",
			"bundle.json:3: strict: must be true or false, is a number",
			"bundle.json:5: targets./a.templat: unknown key: a target has check, env, escape, identity, mode, once, owner, reload, template, when",
			"bundle.json:5: targets./a: needs a template or an identity",
			"bundle.json:6: targets./b: must be an object, is a number"}},
		{"targets", map[string]string{"templates/x": "", "bundle.json": `{"targets": {
			"relative": {"template": "x"},
			"/a/../b": {"template": "x"},
			"/c": {"template": "nope"},
			"/d": {"template": "x", "identity": "key"},
			"/e": {"identity": "keys"},
			"/f": {"template": "x", "mode": "0999", "owner": "a b", "escape": "html5"},
			"/g": {"template": "x", "mode": 644},
			"/h": {"template": "x", "check": "restart", "reload": "signal:KILL"},
			"/i": {"template": "x", "check": [], "reload": "rm -rf /"},
			"/j": {"template": "x", "env": true},
			"env": {"env": true, "mode": "0600"},
			"/k": {"template": "x", "mode": "4755"},
			"/l;m": {"template": "x"}
		}}`}, []string{
			"bundle.json:2: targets.relative: must be an absolute, clean path of a file",
			"bundle.json:3: targets./a/../b: must be an absolute, clean path of a file",
			"bundle.json:4: targets./c.template: no file templates/nope or templates/nope.mustache",
			"bundle.json:5: targets./d: has both a template and an identity: only one can be",
			`bundle.json:6: targets./e.identity: must be cert, key, combined or roots, got "keys"`,
			`bundle.json:7: targets./f.mode: must be octal permissions such as "0640", got "0999"`,
			`bundle.json:8: targets./g.mode: must be a string such as "0640", is a number`,
			"bundle.json:9: targets./h.check: restart is for reload: a check is a command that judges the staged file",
			`bundle.json:9: targets./h.reload: must name a signal that does not kill by force, such as signal:HUP, got "signal:KILL"`,
			"bundle.json:10: targets./i.check: is an empty command",
			`bundle.json:10: targets./i.reload: must be the name of an action or a list of words, got "rm -rf /"`,
			"bundle.json:11: targets./j: an env target is not a file: its name must be letters, digits, _ . and -",
			"bundle.json:12: targets.env: an env target is not a file: it takes no mode, owner or once",
			"bundle.json:12: targets.env: env needs a template that writes the KEY=VALUE lines",
			`bundle.json:13: targets./k.mode: must be octal permissions such as "0640", got "4755"`,
			"bundle.json:14: targets./l;m: holds ';': a target's path is made of letters, digits and /._-+@=,:%~"}},
		{"both names of a template", map[string]string{"templates/x": "", "templates/x.mustache": ""}, []string{"templates/x: stands beside x.mustache: remove one"}},
		{"schema", map[string]string{
			"schema.json": "{\"properties\": {\n\"port\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 65535}, \"name\": {\"pattern\": \"^[a-z]+$\", \"maxLength\": 3},\n\"l\": {\"items\": {\"enum\": [1, 2]}, \"uniqueItems\": true}}, \"required\": [\"host\"], \"additionalProperties\": false}",
			"data/a.json": "{\"port\": 70000,\n\"name\": \"X-Y-Z\",\n\"l\": [1, 3, 1.0],\n\"more\": 1}"}, []string{
			"data/a.json:1: host: is required and missing (schema.json)",
			"data/a.json:1: port: must be at most 65535, is 70000 (schema.json)",
			"data/a.json:2: name: must have at most 3 characters, has 5 (schema.json)",
			"data/a.json:2: name: must match ^[a-z]+$ (schema.json)",
			"data/a.json:3: l[1]: must be one of [1,2] (schema.json)",
			"data/a.json:4: more: is not allowed (schema.json)"}},
		{"bad schema", map[string]string{"schema.json": "{\n\"$ref\": \"#\",\n\"type\": \"text\",\n\"pattern\": \"(\"}"}, []string{
			"schema.json:2: $ref: is a keyword that schemas here do not have",
			"schema.json:3: type: must be of null boolean object array number integer string",
			"schema.json:4: pattern: error parsing regexp: missing closing ): `(`"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read(tree(tt.files))
			var got []string
			if problems, ok := errors.AsType[Problems](err); ok {
				got = problems.Lines()
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A target's path is put into scripts of the image's settings.
func TestPathsMeanNothingToAShell(t *testing.T) {
	for path, want := range map[string]string{
		"/etc/a;touch x": `holds ';'`, "/etc/$(id)": `holds '$'`, "/etc/`id`": "holds '`'", "/etc/a b": `holds ' '`, "/etc/'a'": `holds '\''`, `/etc/"a"`: `holds '"'`,
		"/etc/a\nb": `holds '\n'`, "/etc/*": `holds '*'`, "/etc/a?": `holds '?'`, "/etc/{a,b}": `holds '{'`, "/etc/a|b": `holds '|'`, "/etc/a&": `holds '&'`,
		"/etc/a>b": `holds '>'`, "/etc/#a": `holds '#'`, "/etc/!a": `holds '!'`, `/etc/a\b`: `holds '\\'`, "/etc/ä": `holds 'ä'`, "/etc/[a]": `holds '['`,
		"/etc/-rf": "begins with -", "/-etc/a": "begins with -",
		"/etc/App_1.d/a-b+c@2:3=x,y%~.conf": "",
	} {
		if got := BadPath(path); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

func TestLinksAreProblems(t *testing.T) {
	fsys := tree(good())
	fsys["data/link.json"] = &fstest.MapFile{Mode: fs.ModeSymlink | 0o777, Data: []byte("10.json")}
	fsys["templates/pipe"] = &fstest.MapFile{Mode: fs.ModeNamedPipe | 0o644}
	_, err := ReadFragment(fsys, "services/web")
	want := "services/web/data/link.json: is a link: a bundle holds regular files only\nservices/web/templates/pipe: is a pipe: a bundle holds regular files only"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestAssemble(t *testing.T) {
	read := func(name string, files map[string]string) *Fragment {
		f, err := ReadFragment(tree(files), name)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	base := read("defaults", map[string]string{
		"bundle.json": `{"targets": {"/a": {"template": "a", "mode": "0600"}, "/b": {"template": "a"}}}`,
		"data/d.json": `{"port": 1, "x": {"y": 1}}`, "templates/a": "base", "schema.json": `{"properties": {"port": {"type": "integer"}}}`,
	})
	over := read("hosts/vm1", map[string]string{
		"bundle.json": `{"targets": {"/a": {"reload": "restart"}, "/b": null}}`,
		"data/d.json": `{"port": 2, "x": {"z": 2}}`, "templates/a.mustache": "over", "schema.json": `{"required": ["port"]}`,
	})
	b, err := Assemble(base, over)
	if err != nil {
		t.Fatal(err)
	}
	mode := Mode(0o600)
	if diff := cmp.Diff(map[string]Target{"/a": {Template: "a", Mode: &mode, Reload: Action{Name: "restart"}}}, b.Manifest.Targets); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string][]byte{"a.mustache": []byte("over")}, b.Templates); diff != "" {
		t.Error(diff)
	}
	packed, err := Pack(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(packed); err != nil {
		t.Errorf("joined schemas: %v", err)
	}
	bad := read("hosts/vm2", map[string]string{"data/d.json": "{\n\"port\": \"2\"}", "bundle.json": "{\"targets\":\n{\"/a\": {\"identity\": \"key\"}}}"})
	_, err = Assemble(base, bad)
	want := "hosts/vm2/bundle.json:2: targets./a: has both a template and an identity: only one can be\n" +
		"hosts/vm2/data/d.json:2: port: must be of type integer, is a string (defaults/schema.json)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// archive makes a tar.gz of headers and texts as they are.
func archive(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for _, h := range entries {
		text := h.Linkname
		if h.Typeflag == tar.TypeReg {
			h.Linkname = ""
			h.Size = int64(len(text))
		}
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := tw.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnpackRefuses(t *testing.T) {
	reg := func(name, text string) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: text, Mode: 0o644}
	}
	whole := archive(t, reg("bundle.json", "{}"))
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-6] ^= 1 // in the checksum
	many := make([]tar.Header, MaxFiles+1)
	for i := range many {
		many[i] = reg(fmt.Sprintf("templates/%d", i), "")
	}
	var noise strings.Builder // what does not pack lets the zeros pass the ratio
	for range 30_000 {
		noise.WriteString(rand.Text())
	}
	others := []tar.Header{reg("README.0", noise.String())}
	for i := range 3 {
		others = append(others, reg(fmt.Sprintf("README.%d", i+1), strings.Repeat("\x00", MaxUnpacked/2)))
	}
	for name, tt := range map[string]struct {
		packed []byte
		want   string
	}{
		"others":    {archive(t, others...), `"README.2": makes the bundle larger than 67108864 bytes`},
		"parent":    {archive(t, reg("templates/../../x", "")), `"templates/../../x": is not a clean relative path`},
		"absolute":  {archive(t, reg("/etc/passwd", "")), `"/etc/passwd": is not a clean relative path`},
		"dot":       {archive(t, reg("./bundle.json", "{}")), `"./bundle.json": is not a clean relative path`},
		"link":      {archive(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "data/a.json", Linkname: "/etc/passwd"}), `"data/a.json": is not a regular file (type '2')`},
		"directory": {archive(t, tar.Header{Typeflag: tar.TypeDir, Name: "data/"}), `"data/": is not a regular file (type '5')`},
		"twice":     {archive(t, reg("data/a.json", "{}"), reg("data/a.json", "{}")), `"data/a.json": stands twice`},
		"many":      {archive(t, many...), "holds more than 4096 files"},
		"bomb":      {archive(t, reg("templates/a", strings.Repeat("a", 30<<20))), "unpacks to more than"},
		"too large": {make([]byte, MaxPacked+1), "is 8388609 bytes, more than 8388608"},
		"cut off":   {whole[:len(whole)-10], "unexpected EOF"},
		"damaged":   {flipped, "gzip: invalid checksum"},
		"more":      {append(bytes.Clone(whole), "more"...), "4 bytes stand after the end"},
		"no gzip":   {[]byte("hello, this is text"), "gzip: invalid header"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Unpack(tt.packed)
			if err == nil || !strings.HasPrefix(err.Error(), "unpacking the bundle: "+tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := Unpack(whole); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func FuzzUnpack(f *testing.F) {
	b, err := Read(tree(good()))
	if err != nil {
		f.Fatal(err)
	}
	packed, err := Pack(b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := Unpack(raw)
		if err != nil {
			return
		}
		packed, err := Pack(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Unpack(packed); err != nil {
			t.Fatalf("what was taken is not taken again: %v", err)
		}
	})
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"a": [1, "x", null], /* c */ "b": {"c": 1e3,},} // d`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		object, err := ParseObject("f", raw)
		if err != nil {
			return
		}
		if _, err := json.Marshal(object); err != nil {
			t.Fatal(err)
		}
	})
}
