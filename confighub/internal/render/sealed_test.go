// SPDX-License-Identifier: AGPL-3.0-or-later

package render

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/internal/initctl"
)

func newKey(t *testing.T) *seal.Key {
	t.Helper()
	key, err := seal.EnsureKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sealed is a value of JSON sealed for a place, as JSON.
func sealed(t *testing.T, key *seal.Key, value, at string, names ...string) string {
	t.Helper()
	text, err := seal.Seal(json.RawMessage(value), seal.Place{Key: at, For: names}, []string{key.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"$sealed": %q}`, text)
}

// damaged is a sealed value with one letter changed near its end.
func damaged(sealed string) string {
	i := len(sealed) - 40
	letter := "A"
	if sealed[i] == 'A' {
		letter = "B"
	}
	return sealed[:i] + letter + sealed[i+1:]
}

func TestSealed(t *testing.T) {
	key := newKey(t)
	in := inputs(t)
	in.Seal = key
	b := read(t, map[string]string{
		"bundle.json": `{"targets": {
			"/etc/app.json": {"template": "app.json"}, "/etc/dsn": {"template": "dsn", "mode": "0640"}, "/etc/open": {"template": "open"},
			"/etc/tls": {"template": "tls"}, "/etc/when": {"template": "open", "when": "tls.on"}, "service": {"template": "service", "env": true}}}`,
		"data/a.json": `{"db": {"host": "h", "password": ` + sealed(t, key, `"pa\"ss w/rd"`, "db.password", "web.shop.vm1", "db.shop.vm1") + `, "port": ` + sealed(t, key, "15432", "db.port") + `},
			"users": [{"name": "a"}, {"name": "b", "pin": ` + sealed(t, key, "4711", "users[1].pin") + `}],
			"tls": ` + sealed(t, key, `{"on": true, "none": null, "key": "-----BEGIN\nc29tZSBrZXk=\n-----END\n", "n": 12345678901234567890}`, "tls") + `}`,
		"templates/app.json.mustache": `{"password": {{db.password}}, "port": {{db.port}}}`,
		"templates/dsn":               "{{db.host}}:{{db.password}}",
		"templates/open":              "{{db.host}} {{#users}}{{name}}{{/users}}",
		"templates/tls":               "{{#tls.on}}{{tls.key}}{{tls.n}}{{/tls.on}}{{#tls.none}}x{{/tls.none}}",
		"templates/service":           "PIN={{#users}}{{#pin}}{{pin}}{{/pin}}{{/users}}\n",
	})
	out, err := Render(b, in)
	if err != nil {
		t.Fatal(err)
	}
	want := []File{
		{Path: "/etc/app.json", Bytes: []byte(`{"password": "pa\"ss w/rd", "port": 15432}`), Mode: 0o600, Secret: true},
		{Path: "/etc/dsn", Bytes: []byte(`h:pa"ss w/rd`), Mode: 0o640, Secret: true},
		{Path: "/etc/open", Bytes: []byte(`h ab`), Mode: 0o644},
		{Path: "/etc/tls", Bytes: []byte("-----BEGIN\nc29tZSBrZXk=\n-----END\n12345678901234567890"), Mode: 0o600, Secret: true},
		{Path: "/etc/when", Bytes: []byte(`h ab`), Mode: 0o644},
	}
	if diff := cmp.Diff(want, out.Files); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"PIN=4711"}, out.Env); diff != "" {
		t.Errorf("environment %s", diff)
	}
	for _, want := range []initctl.Secret{{Name: "db.password", Value: `pa"ss w/rd`}, {Name: "db.port", Value: "15432"}, {Name: "users[1].pin", Value: "4711"},
		{Name: "tls", Value: "-----BEGIN\nc29tZSBrZXk=\n-----END\n"}, {Name: "tls", Value: "12345678901234567890"}} {
		if !slices.Contains(out.Secrets, want) {
			t.Errorf("%v is not handed over: %v", want, out.Secrets)
		}
	}
	logged := `dsn "h:pa"ss w/rd", json "pa\"ss w/rd", url pa%22ss+w%2Frd pa%22ss%20w%2Frd, html pa&#34;ss w/rd, base64 cGEic3Mgdy9yZA==, pin 4711, port 15432, line c29tZSBrZXk=`
	for _, text := range out.Redact {
		logged = strings.ReplaceAll(logged, text, "***")
	}
	if want := `dsn "h:***", json "***", url *** ***, html ***, base64 ***==, pin ***, port ***, line ***`; logged != want {
		t.Errorf("redacted to %s", logged)
	}
	traced, err := Trace(b, in, "/etc/dsn")
	if err != nil || string(traced.Trace.Masked(traced.Output)) != "h:***" {
		t.Errorf("traced %s, %v", traced.Trace.Masked(traced.Output), err)
	}
	packed, err := bundle.Pack(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := bundle.Unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.Data, again.Data); diff != "" || !seal.Any(again.Data) {
		t.Errorf("what is kept of the bundle is not sealed as before: %s", diff)
	}
}

// All that cannot be opened is told at once, with its place, and nothing is rendered.
func TestNotOpened(t *testing.T) {
	key, other := newKey(t), newKey(t)
	in := inputs(t)
	moved := sealed(t, key, `"s3cret"`, "db.password")
	good := sealed(t, key, `"s3cret"`, "good", "web.shop.vm1")
	b := read(t, map[string]string{
		"data/a.json": "{\n\"db\": {\"password\": " + sealed(t, other, `"s3cret"`, "db.password") + "},\n\"page\": {\"title\": " + moved + "},\n" +
			"\"for\": " + sealed(t, key, `"s3cret"`, "for", "db.shop.vm1", "db.shop.vm2") + ",\n" +
			"\"damaged\": " + damaged(good) + ",\n\"good\": " + good + "}",
		"bundle.json": `{"targets": {"/etc/a": {"template": "a"}}}`, "templates/a": "{{missing}}",
	})
	in.Seal = key
	_, err := Render(b, in)
	want := Problems{
		"data/a.json:5: damaged: is damaged: it was changed, or is not whole. Seal the value anew",
		"data/a.json:2: db.password: is sealed for 1 recipient, and none is this container's, " + key.Recipient() + ": seal the value anew (confighub seal), for that one too",
		"data/a.json:4: for: is sealed for db.shop.vm1, db.shop.vm2, and this is web.shop.vm1: seal the value for that one too",
		"data/a.json:3: page.title: is sealed for db.password, and stands at page.title: seal the value for its place, or put it back",
	}
	if diff := cmp.Diff(want, err); diff != "" {
		t.Error(diff)
	}
	in.Seal = nil
	if _, err := Render(b, in); err == nil || !strings.HasPrefix(err.Error(), "data/a.json:5: damaged: is sealed, and there is no key to open it: its container has one (confighub render takes it with --seal-key)\n") {
		t.Errorf("without a key: %v", err)
	}
	in.Seal = seal.StandIn{}
	if _, err := Render(b, in); err == nil || err.Error() != "a:1:1: missing: not in the data" {
		t.Errorf("stand-ins: %v", err)
	}
}

// Small texts cannot open to more than a bundle may hold.
func TestSealedIsBounded(t *testing.T) {
	key := newKey(t)
	in := inputs(t)
	in.Seal = key
	list := "[" + strings.Repeat("0,", 32_000) + "0]"
	data := map[string]any{}
	for i := range 7 {
		name := fmt.Sprintf("l%d", i)
		var value map[string]any
		if err := json.Unmarshal([]byte(sealed(t, key, list, name)), &value); err != nil {
			t.Fatal(err)
		}
		data[name] = value
		_, err := Render(&bundle.Bundle{Data: data}, in)
		if i < 6 && err != nil || i == 6 && (err == nil || err.Error() != "data: l6: makes what is sealed hold more than 200000 values") {
			t.Errorf("%d lists: %v", i+1, err)
		}
	}
}

// The schema is held against what was opened, and the message shows nothing of it.
func TestOpenedIsJudged(t *testing.T) {
	key := newKey(t)
	in := inputs(t)
	in.Seal = key
	b := read(t, map[string]string{
		"data/a.json": `{"pin": ` + sealed(t, key, `"s3cret"`, "pin") + `}`, "schema.json": `{"properties": {"pin": {"type": "integer"}}}`,
		"bundle.json": `{"targets": {"/etc/a": {"template": "a"}}}`, "templates/a": "{{missing}}",
	})
	_, err := Render(b, in)
	want := Problems{"data: pin: what is sealed must be of type integer, is a string (schema.json)", "a:1:1: missing: not in the data"}
	if diff := cmp.Diff(want, err); diff != "" {
		t.Error(diff)
	}
}

// A check may quote a line of the certificate's key.
func TestKeyIsRedacted(t *testing.T) {
	in := inputs(t)
	in.Identity[bundle.IdentityKey] = []byte("-----BEGIN PRIVATE KEY-----\nc29tZSBrZXk=\n-----END PRIVATE KEY-----\n")
	for manifest, want := range map[string]bool{
		`{"targets": {"/etc/key.pem": {"identity": "key"}}}`: true, `{"targets": {"/etc/roots.pem": {"identity": "roots"}}}`: false,
	} {
		out, err := Render(read(t, map[string]string{"bundle.json": manifest}), in)
		if err != nil || slices.Contains(out.Redact, "c29tZSBrZXk=") != want {
			t.Errorf("%s: %v, %v", manifest, out, err)
		}
	}
}

// A message of a part that knows nothing of secrets may quote one.
func TestProblemsShowNoSecret(t *testing.T) {
	key := newKey(t)
	in := inputs(t)
	in.Seal = key
	b := read(t, map[string]string{
		"data/a.json": `{"pw": ` + sealed(t, key, `"HUB_s3cret"`, "pw") + `}`,
		"bundle.json": `{"targets": {"e": {"template": "e", "env": true, "escape": "none"}}}`, "templates/e": "{{pw}}=1\n",
	})
	_, err := Render(b, in)
	if want := "bundle.json: targets.e: line 1 of the rendered text: ***: the HUB_ variables belong to the hubs"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
