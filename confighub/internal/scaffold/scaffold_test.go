// SPDX-License-Identifier: AGPL-3.0-or-later

package scaffold_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"cloud4.internal/hub/confighub/internal/scaffold"
)

func files(t *testing.T, s scaffold.Service) []scaffold.File {
	t.Helper()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	list, err := s.Files()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// below lists what is in a directory, with modes.
func below(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		info, err := d.Info()
		names = append(names, strings.TrimPrefix(name, dir+"/")+" "+info.Mode().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestPlace holds that a host.json keeps what people wrote into it.
func TestPlace(t *testing.T) {
	for name, c := range map[string]struct{ before, after string }{
		"beside others":     {`{"stacks": {"shop": {"services": ["web", "db"]}}}`, `{"stacks": {"shop": {"services": ["web", "db", "app"]}}}` + "\n"},
		"there already":     {`{"stacks":{"shop":{"services":["app"]}}} // x`, `{"stacks":{"shop":{"services":["app"]}}} // x`},
		"an empty list":     {"{\"stacks\": {\"shop\": {\"services\": []}}}\n", "{\"stacks\": {\"shop\": {\"services\": [\"app\"]}}}\n"},
		"nothing placed":    {"// vm1\n{}\n", "// vm1\n{\"stacks\":{\"shop\":{\"services\":[\"app\"]}}}\n"},
		"an empty stack":    {`{"stacks": {"shop": {}}}`, `{"stacks": {"shop": {"services":["app"]}}}` + "\n"},
		"comment at an end": {`{"stacks": {"shop": {"services": ["web"]}}} // the end`, `{"stacks": {"shop": {"services": ["web", "app"]}}} // the end` + "\n"},
		"lines and comments": {
			"{\n  // all of them\n  \"stacks\": {\n    \"shop\": {\n      \"services\": [\n        \"web\", // the page\n        // its data\n        \"db\",\n      ],\n    },\n  },\n}\n",
			"{\n  // all of them\n  \"stacks\": {\n    \"shop\": {\n      \"services\": [\n        \"web\", // the page\n        // its data\n        \"db\",\n        \"app\"\n      ],\n    },\n  },\n}\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := scaffold.Place("host.json", []byte(c.before), "shop", "app")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.after, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got, err := scaffold.Place("host.json", []byte(`{"stacks": {"shop": []}}`), "shop", "app"); err == nil || !strings.Contains(err.Error(), "host.json:1: stacks.shop: must be an object") {
		t.Errorf("want a broken host.json refused with its line, got %q, %v", got, err)
	}
	second, err := scaffold.Place("host.json", []byte(`{"stacks": {"shop": {"services": ["web"]}}}`), "blog", "app")
	if err != nil || !strings.Contains(string(second), `"shop": {"services": ["web"]}`) || !strings.Contains(string(second), `"blog"`) {
		t.Errorf("a second stack: got %s, %v", second, err)
	}
}

// TestWrite holds that nothing is overwritten, links included, and that a failure leaves nothing behind.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	s := scaffold.Service{Kind: "postgres", Name: "db", Stack: "shop", Host: "vm1", Dir: dir}
	list := files(t, s)
	if err := scaffold.Write(list); err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		got, err := os.ReadFile(f.Path)
		if err != nil || string(got) != string(f.Text) {
			t.Errorf("%s: %v", f.Path, err)
		}
	}
	if all := below(t, dir); !slices.Contains(all, "db/init.sh -rwxr-xr-x") || !slices.Contains(all, "db/Dockerfile -rw-r--r--") {
		t.Errorf("want init.sh executable and the Dockerfile not, got %q", all)
	}

	err := scaffold.Write(list)
	if err == nil {
		t.Fatal("what is there was written again")
	}
	for _, f := range list {
		if !strings.Contains(err.Error(), f.Path+" is in the way") {
			t.Errorf("%s is not named in: %v", f.Path, err)
		}
	}

	s.Dir = t.TempDir()
	if err := os.Mkdir(s.Home(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(s.Home(), "hub.json")); err != nil {
		t.Fatal(err)
	}
	before := below(t, s.Dir)
	if err := scaffold.Write(files(t, s)); err == nil || strings.Count(err.Error(), "is in the way") != 1 {
		t.Errorf("want the dangling link named, and it alone: %v", err)
	}
	if diff := cmp.Diff(before, below(t, s.Dir)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}

	s.Dir = t.TempDir()
	broken := append(files(t, s), scaffold.File{Path: filepath.Join(s.Home(), "Dockerfile", "x")}) // below what is a file by then
	if err := scaffold.Write(broken); err == nil || !strings.Contains(err.Error(), "nothing is written") {
		t.Errorf("want a failure, got %v", err)
	}
	if left := below(t, s.Dir); len(left) > 0 {
		t.Errorf("the failure left %q", left)
	}
}

// TestComposeNames holds that names which YAML takes for numbers or booleans stay names.
func TestComposeNames(t *testing.T) {
	for _, name := range []string{"web", "on", "no", "y", "null", "true", "404", "1e3", "0x1f", "2026-01-01", "a--b"} {
		list := files(t, scaffold.Service{Kind: "postgres", Name: name, Stack: name, Host: name})
		i := slices.IndexFunc(list, func(f scaffold.File) bool { return filepath.Base(f.Path) == "compose.yaml" })
		var file struct {
			Services map[string]struct {
				Environment map[string]any
				Secrets     []struct{ Source string }
			}
			Secrets, Volumes map[string]any
		}
		if err := yaml.Unmarshal(list[i].Text, &file); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, list[i].Text)
		}
		service, ok := file.Services[name]
		if !ok {
			t.Errorf("%s: is no service's name: %v", name, file.Services)
		}
		for _, key := range []string{"HOST", "STACK", "SERVICE"} {
			if got := service.Environment["HUB_IDENTITY_"+key]; got != name {
				t.Errorf("%s: %s is %#v", name, key, got)
			}
		}
		for _, secret := range service.Secrets {
			if _, ok := file.Secrets[secret.Source]; !ok {
				t.Errorf("%s: secret %s is not there", name, secret.Source)
			}
		}
		for _, line := range strings.Split(string(list[i].Text), "\n") {
			if text := strings.TrimSpace(line); text == name+":" && slices.Contains([]string{"on", "no", "y", "null", "true", "404"}, name) {
				t.Errorf("%s stands without quotes, which YAML 1.1 reads as no text", name)
			}
		}
	}
}

// TestNameOf holds what a service is called after an image.
func TestNameOf(t *testing.T) {
	for image, want := range map[string]string{
		"postgres": "postgres", "postgres:17": "postgres", "docker.io/library/redis:7-alpine": "redis", "localhost:5000/my_app": "my-app",
		"ghcr.io/a/b@sha256:00": "b", "a/B.c:1": "b-c", "a/_": "", "": "",
	} {
		if got := scaffold.NameOf(image); got != want {
			t.Errorf("%q: want %q, got %q", image, want, got)
		}
	}
}
