// SPDX-License-Identifier: AGPL-3.0-or-later

package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/spiffe"
)

func read(t *testing.T, files map[string]string) *bundle.Bundle {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	b, err := bundle.Read(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func inputs(t *testing.T) Inputs {
	t.Helper()
	id, err := spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", "")
	if err != nil {
		t.Fatal(err)
	}
	return Inputs{
		ID: id, Env: map[string]string{"TZ": "Europe/Vienna"}, Secrets: map[string]string{"pw": "s3cret'"},
		Identity: map[string][]byte{bundle.IdentityKey: []byte("KEY"), bundle.IdentityRoots: []byte("ROOTS")},
	}
}

func TestRender(t *testing.T) {
	b := read(t, map[string]string{
		"bundle.json": `{"targets": {
			"/etc/app.json": {"template": "app.json", "check": "app-test", "reload": "signal:HUP"},
			"/etc/off.conf": {"template": "off", "when": "tls.on"},
			"/etc/pw": {"template": "pw"}, "/etc/pw.open": {"template": "pw", "mode": "0640", "owner": "app:app"},
			"/etc/key.pem": {"identity": "key"}, "/etc/roots.pem": {"identity": "roots"},
			"service": {"template": "service", "env": true, "reload": "restart"}}}`,
		"data/a.json":                 `{"port": 8080, "tls": {"on": false}}`,
		"templates/app.json.mustache": `{"port": {{port}}, "host": {{hub.host}}, "tz": {{env.TZ}}}`,
		"templates/off":               `{{missing}}`,
		"templates/pw":                `{{secrets.pw}}`,
		"templates/service":           "# comment\nPORT={{port}}\nPW={{secrets.pw}}\nDSN=amqp://a:p%C3%A4sswort@mq\nDB_TOKEN=t1\n",
	})
	got, err := Render(b, inputs(t))
	if err != nil {
		t.Fatal(err)
	}
	want := &Output{
		Files: []File{
			{Path: "/etc/app.json", Bytes: []byte(`{"port": 8080, "host": "vm1", "tz": "Europe/Vienna"}`), Mode: 0o644,
				Check: bundle.Action{Name: "app-test"}, Reload: bundle.Action{Name: "signal:HUP"}},
			{Path: "/etc/key.pem", Bytes: []byte("KEY"), Mode: 0o600, Secret: true},
			{Path: "/etc/pw", Bytes: []byte("s3cret'"), Mode: 0o600, Secret: true},
			{Path: "/etc/pw.open", Bytes: []byte("s3cret'"), Mode: 0o640, Owner: "app:app", Secret: true},
			{Path: "/etc/roots.pem", Bytes: []byte("ROOTS"), Mode: 0o644},
		},
		Env: []string{"DB_TOKEN=t1", "DSN=amqp://a:p%C3%A4sswort@mq", "PORT=8080", "PW=s3cret'"}, EnvReloads: []bundle.Action{{Name: "restart"}},
		Redact:  []string{"s3cret&#39;", "czNjcmV0Jw", "s3cret%27", "s3cret'"},
		Secrets: []initctl.Secret{{Name: "secrets.pw", Value: "s3cret'"}, {Name: "identity.key", Value: "KEY"}, {Name: "DB_TOKEN", Value: "t1"}, {Name: "DSN", Value: "pässwort"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestProblems(t *testing.T) {
	b := read(t, map[string]string{
		"bundle.json": `{"targets": {
			"/etc/a": {"template": "a"}, "/etc/b": {"template": "a"}, "/etc/a/c": {"template": "ok"}, "/etc/cert": {"identity": "cert"},
			"one": {"template": "env", "env": true}, "two": {"template": "env", "env": true}, "three": {"template": "a b", "env": true}}}`,
		"data/a.json": `{"hub": 1}`, "templates/a": "{{x}}\n{{y}}", "templates/ok": "", "templates/env": "A=1\n", "templates/a b": "A B\n",
	})
	_, err := Render(b, inputs(t))
	want := Problems{
		"data: hub is built in: give the key another name",
		"a:1:1: x: not in the data", "a:2:1: y: not in the data",
		"bundle.json: targets./etc/cert: wants this container's certificate, and it has none: set identity.ca_url, or wait for the enrolment",
		"bundle.json: targets.three: line 1 of the rendered text: must be KEY=VALUE",
		"bundle.json: targets.two: sets A, which one sets too",
	}
	if diff := cmp.Diff(want, err); diff != "" {
		t.Error(diff)
	}
}

func TestParseEnv(t *testing.T) {
	tests := []struct {
		text, err string
		want      []string
	}{
		{"A=1\n\n# c\nB='x y'\nC=\"a\\nb\\\"\\$\"\nD=\n", "", []string{"A=1", "B=x y", "C=a\nb\"$", "D="}},
		{"A B=1", "line 1 of the rendered text: must be KEY=VALUE", nil},
		{"A=1\nHUB_X=1", "line 2 of the rendered text: HUB_X: the HUB_ variables belong to the hubs", nil},
		{"LD_PRELOAD=/srv/x.so", "line 1 of the rendered text: LD_PRELOAD decides which programs and libraries run: set it in the image or in compose", nil},
		{"A=1\nPATH=/srv", "line 2 of the rendered text: PATH decides which programs and libraries run: set it in the image or in compose", nil},
		{"A='x", "line 1 of the rendered text: A: the quote is not closed", nil},
		{"A=x\x00HUB_RUN_DIR=/tmp", "line 1 of the rendered text: A: holds a zero byte", nil},
		{"A=" + strings.Repeat("x", maxVariable-1), "line 1 of the rendered text: A: is longer than 131071 bytes, which no process can be given", nil},
		{"A='x' y", "line 1 of the rendered text: A: text stands after the closing quote", nil},
	}
	for _, tt := range tests {
		got, err := ParseEnv(tt.text)
		message := ""
		if err != nil {
			message = err.Error()
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || message != tt.err {
			t.Errorf("%q: %s, error %q", tt.text, diff, message)
		}
	}
}

func TestEnvironmentIsBounded(t *testing.T) {
	b := &bundle.Bundle{
		Manifest:  bundle.Manifest{Targets: map[string]bundle.Target{"env": {Template: "env", Env: true}}},
		Templates: map[string][]byte{"env": []byte("{{#l}}V{{@index}}={{text}}\n{{/l}}")},
	}
	data := func(n int) map[string]any {
		return map[string]any{"l": slices.Repeat([]any{json.Number("1")}, n), "text": strings.Repeat("x", 100_000)}
	}
	b.Data = data(10)
	if _, err := Render(b, Inputs{}); err != nil {
		t.Errorf("a megabyte: %v", err)
	}
	b.Data = data(11)
	_, err := Render(b, Inputs{})
	if want := "bundle.json: targets.env: makes the service's environment larger than 1048576 bytes, which no process can be given"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// Many targets are no way around the limit of one.
func TestTargetsShareTheOutput(t *testing.T) {
	b := &bundle.Bundle{Templates: map[string][]byte{"t": []byte("{{#l}}{{text}}{{/l}}")}, Manifest: bundle.Manifest{Targets: map[string]bundle.Target{}}}
	b.Data = map[string]any{"l": slices.Repeat([]any{"x"}, 1200), "text": strings.Repeat("x", 20_000)}
	for i := range 6 {
		b.Manifest.Targets[fmt.Sprintf("/etc/%d", i)] = bundle.Target{Template: "t"}
	}
	_, err := Render(b, Inputs{})
	problems, _ := errors.AsType[Problems](err)
	if len(problems) == 0 || problems[0] != "targets./etc/2: rendering t: the output, with that of the templates before it, is larger than 64 MiB" {
		t.Errorf("got %v", err)
	}
}

func TestManyProblems(t *testing.T) {
	b := &bundle.Bundle{Templates: map[string][]byte{}, Manifest: bundle.Manifest{Targets: map[string]bundle.Target{}}}
	for i := range 4000 {
		name := fmt.Sprintf("/etc/%04d", i)
		b.Templates[name] = []byte(strings.Repeat("{{missing}}\n", 1000))
		b.Manifest.Targets[name] = bundle.Target{Template: name}
	}
	begin := time.Now()
	_, err := Render(b, Inputs{})
	problems, _ := errors.AsType[Problems](err)
	if len(problems) != 102 || problems[101] != "bundle.json: targets./etc/0001: and more from this target on" {
		t.Errorf("got %d, the last %s", len(problems), problems[max(0, len(problems)-1):])
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestTrace(t *testing.T) {
	b := read(t, map[string]string{
		"bundle.json": `{"targets": {"/etc/a.json": {"template": "a"}, "e": {"template": "e", "env": true}, "/etc/k": {"identity": "key"}}}`,
		"data/d.json": `{"x": "q\"", "two": "a b"}`,
		"templates/a": `{"x": {{x}}}`,
		"templates/e": "X={{two}}\n",
	})
	for name, want := range map[string]string{"/etc/a.json": `{"x": "q\""}`, "e": "X='a b'\n"} {
		result, err := Trace(b, Inputs{}, name)
		if err != nil || string(result.Output) != want || result.Trace == nil || result.Trace.Spans[1].Path == "" {
			t.Errorf("%s: %q, %v", name, result.Output, err)
		}
	}
	for name, want := range map[string]string{"/etc/b": "the bundle has no target /etc/b", "/etc/k": "/etc/k has no template: it is the container's own certificate (key)"} {
		if _, err := Trace(b, Inputs{}, name); err == nil || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStandIns(t *testing.T) {
	b := read(t, map[string]string{
		"bundle.json": `{"targets": {"/etc/a": {"template": "a"}}}`, "data/d.json": `{"l": [1]}`,
		"templates/a": "{{secrets.pw}} {{#secrets}}{{other}}{{/secrets}} {{#l}}{{env.TZ}}{{@index}}{{.}}{{/l}} {{hub.host}}",
	})
	id, err := spiffe.ParseBundleName("cloud4.internal", "web.shop.vm1")
	if err != nil {
		t.Fatal(err)
	}
	in := StandIns(b, id)
	if diff := cmp.Diff(map[string]string{"pw": "standin-pw", "other": "standin-other"}, in.Secrets) + cmp.Diff(map[string]string{"TZ": "standin-TZ"}, in.Env); diff != "" {
		t.Error(diff)
	}
	out, err := Render(b, in)
	if err != nil || string(out.Files[0].Bytes) != "standin-pw standin-other standin-TZ01 vm1" || !out.Files[0].Secret {
		t.Errorf("%+v, %v", out, err)
	}
}
