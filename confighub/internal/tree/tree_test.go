// SPDX-License-Identifier: AGPL-3.0-or-later

package tree_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/tree"
)

// write puts files below a new directory; a name maps to its text.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		put(t, root, name, text)
	}
	return root
}

func put(t *testing.T, root, name, text string) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// compile reads and compiles, and unpacks every bundle again.
func compile(t *testing.T, root string) map[string]*bundle.Bundle {
	t.Helper()
	read, err := tree.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := new(tree.Compiler).Compile(read)
	if err != nil {
		t.Fatal(err)
	}
	bundles := map[string]*bundle.Bundle{}
	for name, blob := range blobs {
		if bundles[name], err = bundle.Unpack(blob.Packed); err != nil {
			t.Fatalf("unpacking %s: %v", name, err)
		}
		if got := bundle.Digest(blob.Packed); got != blob.Digest {
			t.Errorf("digest of %s is %s, its bytes have %s", name, blob.Digest, got)
		}
	}
	return bundles
}

// shop has something at every level; what each level changes can be read off TestLayers.
func shop() map[string]string {
	return map[string]string{
		"defaults/bundle.json":                           "// comment\n" + `{"targets": {"/etc/motd": {"template": "motd"}, "/etc/gone": {"template": "motd"}}}`,
		"defaults/data/10-base.json":                     `{"level": "defaults", "list": [1, 2], "deep": {"a": 1, "b": 2}, "only": "defaults",}`,
		"defaults/data/20-more.json":                     `{"deep": {"c": 3}, "number": 1.50}`,
		"defaults/templates/motd":                        "motd of defaults",
		"defaults/templates/part":                        "part of defaults",
		"services/web/bundle.json":                       `{"targets": {"/etc/nginx/nginx.conf": {"template": "nginx.conf", "check": "nginx-test"}, "/etc/gone": null}}`,
		"services/web/data/web.json":                     `{"level": "service", "list": [3]}`,
		"services/web/templates/nginx.conf":              "nginx of service",
		"services/db/data/db.json":                       `{"level": "service db"}`,
		"stacks/shop/data/shop.json":                     `{"level": "stack", "deep": {"b": null}}`,
		"stacks/shop/templates/part":                     "part of stack",
		"stacks/shop/services/web/bundle.json":           `{"targets": {"/etc/nginx/nginx.conf": {"reload": "signal:HUP"}}}`,
		"stacks/shop/services/web/data/x.json":           `{"level": "stack service"}`,
		"hosts/vm1/host.json":                            `{"stacks": {"shop": {"services": ["web", "db"]}}}`,
		"hosts/vm1/data/host.json":                       `{"level": "host"}`,
		"hosts/vm1/stacks/shop/services/web/data/x.json": `{"level": "placement"}`,
		"hosts/vm2/host.json":                            `{"stacks": {"shop": {"services": ["web"]}, "blog": {"services": ["web"]}}}`,
		"hosts/vm3/host.json":                            `{}`,
		"README.md":                                      "for people",
		".git/HEAD":                                      "ref: refs/heads/main",
		"services/web/templates/.nginx.conf.swp":         "editor",
		"services/web/templates/nginx.conf~":             "editor",
	}
}

func TestLayers(t *testing.T) {
	bundles := compile(t, write(t, shop()))

	var names []string
	for name := range bundles {
		names = append(names, name)
	}
	want := map[string]bool{"web.shop.vm1": true, "db.shop.vm1": true, "web.shop.vm2": true, "web.blog.vm2": true}
	got := map[string]bool{}
	for _, name := range names {
		got[name] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("placed (-want +got):\n%s", diff)
	}

	t.Run("all six levels", func(t *testing.T) {
		web := bundles["web.shop.vm1"]
		checkJSON(t, `{"deep":{"a":1,"c":3},"level":"placement","list":[3],"number":1.50,"only":"defaults"}`, web.Data)
		wantTemplates := map[string][]byte{
			"motd": []byte("motd of defaults"), "part": []byte("part of stack"), "nginx.conf": []byte("nginx of service"),
		}
		if diff := cmp.Diff(wantTemplates, web.Templates); diff != "" {
			t.Errorf("templates (-want +got):\n%s", diff)
		}
		wantTargets := map[string]bundle.Target{
			"/etc/motd": {Template: "motd"},
			"/etc/nginx/nginx.conf": {
				Template: "nginx.conf", Check: bundle.Action{Name: "nginx-test"}, Reload: bundle.Action{Name: "signal:HUP"},
			},
		}
		if diff := cmp.Diff(wantTargets, web.Manifest.Targets); diff != "" {
			t.Errorf("targets (-want +got):\n%s", diff)
		}
	})
	for name, level := range map[string]string{"db.shop.vm1": "host", "web.shop.vm2": "stack service", "web.blog.vm2": "service"} {
		if got := bundles[name].Data["level"]; got != level {
			t.Errorf("%s: level = %v, want %s", name, got, level)
		}
	}
}

func checkJSON(t *testing.T, want string, got map[string]any) {
	t.Helper()
	object, err := bundle.ParseObject("want", []byte(want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(object, got); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}

func TestEqualBundlesAreOne(t *testing.T) {
	root := write(t, map[string]string{
		"services/web/data/a.json": `{"a": 1}`,
		"hosts/vm1/host.json":      `{"stacks": {"shop": {"services": ["web"]}}}`,
		"hosts/vm2/host.json":      `{"stacks": {"shop": {"services": ["web"]}}}`,
		"hosts/vm3/host.json":      `{"stacks": {"shop": {"services": ["web"]}}}`,
		"hosts/vm3/bundle.json":    `{}`,
	})
	compiler := new(tree.Compiler)
	step := func() map[string]*tree.Blob {
		t.Helper()
		read, err := tree.Read(root)
		if err != nil {
			t.Fatal(err)
		}
		blobs, err := compiler.Compile(read)
		if err != nil {
			t.Fatal(err)
		}
		return blobs
	}
	first := step()
	if first["web.shop.vm1"] != first["web.shop.vm2"] {
		t.Error("two containers of the same fragments have two bundles")
	}
	if first["web.shop.vm1"] != first["web.shop.vm3"] {
		t.Error("two containers with the same outcome have two bundles")
	}
	put(t, root, "hosts/vm2/data/own.json", `{"b": 2}`)
	second := step()
	if second["web.shop.vm1"] != first["web.shop.vm1"] {
		t.Error("an unchanged bundle was made again")
	}
	if second["web.shop.vm2"].Digest == first["web.shop.vm2"].Digest {
		t.Error("a changed bundle kept its digest")
	}
}

func TestBrokenTrees(t *testing.T) {
	placed := `{"stacks": {"shop": {"services": ["web"]}}}`
	tests := []struct {
		name  string
		files map[string]string
		// spoil does what a map of files cannot say.
		spoil func(t *testing.T, root string)
		want  []string
	}{
		{
			name:  "syntax of data, with its line",
			files: map[string]string{"services/web/data/a.json": "{\n  \"a\": 1,\n  \"b\" 2\n}"},
			want:  []string{"services/web/data/a.json:3: column 7: invalid character '2' after object name"},
		},
		{
			name: "all of it at once",
			files: map[string]string{
				"defaults/data/a.json": "[1]", "services/web/bundle.json": "{\n \"targets\": {\n  \"/etc/x\": {\"template\": \"none\"}}}", "hosts/vm1/host.json": placed,
				"stacks/Shop/data/a.json": "{}", "odd.json": "{}",
			},
			want: []string{
				`odd.json: does not belong here: a tree holds defaults/, services/, stacks/ and hosts/`,
				`stacks/Shop/data/a.json: rename the directory stacks/Shop: `,
			},
		},
		{
			name:  "what a container would get",
			files: map[string]string{"services/web/bundle.json": "{\n \"targets\": {\n  \"/etc/x\": {\"template\": \"none\"}}}", "hosts/vm1/host.json": placed},
			want:  []string{"services/web/bundle.json:3: "},
		},
		{
			name:  "a schema that does not hold",
			files: map[string]string{"defaults/schema.json": `{"required": ["port"]}`, "services/web/data/a.json": `{}`, "hosts/vm1/host.json": placed},
			want:  []string{"port"},
		},
		{
			name:  "host.json of another form",
			files: map[string]string{"hosts/vm1/host.json": "{\"stacks\": {\n\"shop\": {\"services\": [\"web\", \"web\", \"Db\",\n1], \"more\": 1},\n\"b_log\": {\"services\": {}}},\n\"host\": \"x\"}"},
			want: []string{
				`hosts/vm1/host.json:5: host: is not known: a host.json is {"stacks": {"shop": {"services": ["web"]}}}`,
				`hosts/vm1/host.json:4: stacks.b_log: a stack's name: `,
				`hosts/vm1/host.json:4: stacks.b_log.services: must be a list of names: ["web"]`,
				`hosts/vm1/host.json:3: stacks.shop.more: is not known`,
				`hosts/vm1/host.json:2: stacks.shop.services.1: "web" stands twice`,
				`hosts/vm1/host.json:2: stacks.shop.services.2: a service's name: `,
				`hosts/vm1/host.json:3: stacks.shop.services.3: must be the name of a service, got 1`,
			},
		},
		{
			name:  "host.json missing",
			files: map[string]string{"hosts/vm1/data/a.json": `{}`, "hosts/vm2/stacks/shop/services/web/data/a.json": `{}`},
			want:  []string{"hosts/vm1/host.json: is missing", "hosts/vm2/host.json: is missing"},
		},
		{
			name: "files in wrong places",
			files: map[string]string{
				"services/a.json": "{}", "services/web/bundel.json": "{}", "services/web/data/sub/a.json": "{}",
				"hosts/vm1/host.json": placed, "hosts/vm1/stacks/shop/data/a.json": "{}", "stacks/shop/host.json": "{}",
			},
			want: []string{
				"hosts/vm1/stacks/shop/data/a.json: does not belong here: below hosts/vm1/stacks/shop there is services/<service>/ only",
				"services/a.json: does not belong here: a directory is expected at this level",
				"services/web/bundel.json: does not belong here: services/web holds bundle.json",
				"services/web/data/sub/a.json: does not belong here",
				"stacks/shop/host.json: does not belong here",
			},
		},
		{
			name:  "link",
			files: map[string]string{"hosts/vm1/host.json": placed},
			spoil: func(t *testing.T, root string) {
				put(t, root, "services/web/data/a.json", "{}")
				if err := os.Symlink("/etc/passwd", filepath.Join(root, "services/web/templates")); err != nil {
					t.Fatal(err)
				}
			},
			want: []string{"services/web/templates: is a symbolic link"},
		},
		{
			name:  "named pipe",
			files: map[string]string{"hosts/vm1/host.json": placed},
			spoil: func(t *testing.T, root string) {
				if err := syscall.Mkfifo(filepath.Join(root, "hosts/vm1/data.json"), 0o644); err != nil {
					t.Fatal(err)
				}
			},
			want: []string{"hosts/vm1/data.json: is a named pipe"},
		},
		{
			name:  "name with a newline",
			files: map[string]string{"services/web/templates/a\nb": ""},
			want:  []string{"has a name with control characters"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := write(t, test.files)
			if test.spoil != nil {
				test.spoil(t, root)
			}
			read, err := tree.Read(root)
			if err == nil {
				_, err = new(tree.Compiler).Compile(read)
			}
			problems, ok := errors.AsType[bundle.Problems](err)
			if !ok {
				t.Fatalf("err = %v, want problems", err)
			}
			got := problems.Lines()
			for _, want := range test.want {
				if !strings.Contains(problems.Error(), want) {
					t.Errorf("no problem says %q", want)
				}
			}
			if t.Failed() {
				t.Logf("got:\n%s", strings.Join(got, "\n"))
			}
		})
	}
}

func TestMissing(t *testing.T) {
	read, err := tree.Read(write(t, shop()))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ host, stack, service, want string }{
		{"vm1", "shop", "cache", `add the service in hosts/vm1/host.json: {"stacks": {"shop": {"services": ["cache","db","web"]}}}`},
		{"vm1", "blog", "web", `add the stack in hosts/vm1/host.json: {"stacks": {"blog": {"services": ["web"]}}}`},
		{"vm9", "shop", "web", `make the file hosts/vm9/host.json: {"stacks": {"shop": {"services": ["web"]}}}`},
	}
	for _, test := range tests {
		if got := read.Missing(test.host, test.stack, test.service); got != test.want {
			t.Errorf("Missing(%s, %s, %s)\n got %s\nwant %s", test.host, test.stack, test.service, got, test.want)
		}
	}
}

func TestRevision(t *testing.T) {
	root := write(t, shop())
	revision := func() string {
		t.Helper()
		read, err := tree.Read(root)
		if err != nil {
			t.Fatal(err)
		}
		return read.Revision
	}
	first := revision()
	put(t, root, "services/web/templates/.nginx.conf.swp", "more")
	if got := revision(); got != first {
		t.Errorf("revision changed from %s to %s by a file that is no part of the tree", first, got)
	}
	put(t, root, "services/web/templates/nginx.conf", "nginx of servicf")
	if got := revision(); got == first {
		t.Error("revision is the same for another content of the same size")
	}
}
