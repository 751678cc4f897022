// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// judged is what the schema of bundle.json says of a text.
func judged(t *testing.T, name, text string) Problems {
	t.Helper()
	raw, err := ManifestSchema()
	if err != nil {
		t.Fatal(err)
	}
	rules, problems := parseDocument("schema", raw, newRoom())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	doc, problems := parseDocument(name, []byte(text), newRoom())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return checkSchema(rules, doc.value.(map[string]any), nil)
}

// The schema takes every bundle.json of the examples, and refuses what reading one refuses.
func TestManifestSchema(t *testing.T) {
	found := 0
	err := filepath.WalkDir("../../../examples", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != manifestFile {
			return err
		}
		found++
		raw, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if problems := judged(t, name, string(raw)); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
		return nil
	})
	if err != nil || found < 2 {
		t.Fatalf("%d bundles in the examples, %v", found, err)
	}
	for _, tt := range []struct {
		text string
		good bool
	}{
		{`{"$schema": "bundle.schema.json", "strict": true, "targets": {"/etc/a": {"template": "a", "mode": "0640", "owner": "www:1000", "check": ["sh", "-n"], "reload": "signal:HUP"}}}`, true},
		{`{"targets": {"/etc/a": {"identity": "combined", "reload": "none"}, "e": {"template": "a", "env": true, "escape": "env", "when": "a.b"}}}`, true},
		{`{"targets": {"/etc/a": {"template": "a", "reload": "restart", "once": true, "mode": "600"}}}`, true},
		{`{"target": {}}`, false},
		{`{"targets": {"/etc/a": {"templat": "a"}}}`, false},
		{`{"targets": {"/etc/a": {"template": 1}}}`, false},
		{`{"targets": {"/etc/a": {"template": "a", "mode": 420}}}`, false},
		{`{"targets": {"/etc/a": {"template": "a", "mode": "4755"}}}`, false},
		{`{"targets": {"/etc/a": {"template": "a", "mode": "rw"}}}`, false},
		{`{"targets": {"/etc/a": {"template": "a", "escape": "csv"}}}`, false},
		{`{"targets": {"/etc/a": {"identity": "both"}}}`, false},
		{`{"targets": {"/etc/a": {"template": "a", "owner": "a b"}}}`, false},
		{`{"targets": {"/etc/a": {"template": "a", "reload": "signal:KILL"}}}`, false},
		{`{"targets": {"/etc/a": {"template": "a", "check": "a b"}}}`, false},
		{`{"targets": {"/etc/a": {"template": "a", "check": []}}}`, false},
		{`{"targets": []}`, false},
		{`{"strict": "yes"}`, false},
		{`{"$schema": 1}`, false},
	} {
		problems := judged(t, manifestFile, tt.text)
		_, err := Read(tree(map[string]string{manifestFile: tt.text, "templates/a": ""}))
		if (len(problems) == 0) != tt.good || (err == nil) != tt.good {
			t.Errorf("%s: the schema says %v, reading says %v", tt.text, problems, err)
		}
	}
	// A layer takes away with null.
	if problems := judged(t, manifestFile, `{"targets": {"/etc/a": null, "/etc/b": {"check": null, "mode": null, "escape": null}}, "strict": null}`); len(problems) > 0 {
		t.Error(problems)
	}
}

// What the schema lists is what a target is read from, and everything in it is explained.
func TestManifestSchemaListsAllFields(t *testing.T) {
	target := shapeOf(reflect.TypeFor[Target]())["properties"].(map[string]any)
	_, err := Read(tree(map[string]string{manifestFile: `{"targets": {"/etc/a": {"template": "a", "x": 1}}}`, "templates/a": ""}))
	want := "bundle.json:1: targets./etc/a.x: unknown key: a target has check, env, escape, identity, mode, once, owner, reload, template, when"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if diff := cmp.Diff([]string{"check", "env", "escape", "identity", "mode", "once", "owner", "reload", "template", "when"}, slices.Sorted(maps.Keys(target))); diff != "" {
		t.Error(diff)
	}
	for name, field := range target {
		if field.(map[string]any)["description"] == "" {
			t.Errorf("nothing is said of %s", name)
		}
	}
}
