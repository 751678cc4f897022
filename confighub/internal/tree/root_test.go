// SPDX-License-Identifier: AGPL-3.0-or-later

package tree_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/repository/repositorytest"
	"cloud4.internal/hub/confighub/internal/tree"
)

func openRoot(t *testing.T, path, ref string) *tree.Root {
	t.Helper()
	root, err := tree.Open(path, ref)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// A commit gives the bundles that its checkout gives, byte for byte.
func TestRepositoryIsReadAsADirectory(t *testing.T) {
	p := repositorytest.New(t)
	files := shop()
	maps.Copy(files, map[string]string{".gitea/workflows/x.yml": "x", "README.md": "x", "services/web/README.md": "x", "services/web/.hidden/x": "x"})
	commit := p.Push(files)
	fromGit, err := openRoot(t, p.Bare, "main").Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fromDir, err := openRoot(t, p.Clone, "").Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if fromGit.Revision != commit || fromGit.Depth != 1 || fromDir.Depth != 0 {
		t.Errorf("revision %s of depth %d, want %s of 1; the directory has depth %d", fromGit.Revision, fromGit.Depth, commit, fromDir.Depth)
	}
	digests := func(read *tree.Tree) map[string]string {
		blobs, err := new(tree.Compiler).Compile(read)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for name, blob := range blobs {
			all[name] = blob.Digest
		}
		return all
	}
	got := digests(fromGit)
	if diff := cmp.Diff(digests(fromDir), got); diff != "" || len(got) == 0 {
		t.Errorf("%d bundles, -directory +commit:\n%s", len(got), diff)
	}
}

func TestRepositoryIsReadOnceForACommit(t *testing.T) {
	p := repositorytest.New(t)
	p.Push(shop())
	root := openRoot(t, p.Bare, "main")
	read := func() *tree.Tree {
		t.Helper()
		got, err := root.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := read()
	if read() != first {
		t.Error("the same commit is another tree")
	}
	p.Push(map[string]string{"services/web/data/web.json": `{"level": "changed"}`})
	if second := read(); second == first || second.Depth != 2 {
		t.Errorf("the second commit is of depth %d", second.Depth)
	}
}

// What is kept of the tree before never shows.
func TestReadingAgainIsReadingAnew(t *testing.T) {
	p := repositorytest.New(t)
	p.Push(shop())
	remove := func(name string) func() {
		return func() {
			if err := os.RemoveAll(filepath.Join(p.Clone, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	outcome := func(root *tree.Root) string {
		t.Helper()
		read, err := root.Read(t.Context())
		if err != nil {
			return err.Error()
		}
		blobs, err := new(tree.Compiler).Compile(read)
		if err != nil {
			return err.Error()
		}
		var lines []string
		for name, blob := range blobs {
			lines = append(lines, name+" "+blob.Digest)
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	again := map[string]*tree.Root{"directory": openRoot(t, p.Clone, ""), "repository": openRoot(t, p.Bare, "main")}
	steps := []struct {
		name string
		do   func()
	}{
		{"nothing", func() {}},
		{"another value", func() { p.Put("services/web/data/web.json", `{"level": "new"}`) }},
		{"a file less", remove("services/web/data/web.json")},
		{"another placement", func() { p.Put("hosts/vm1/host.json", `{"stacks": {"shop": {"services": ["web"]}}}`) }},
		{"a broken file", func() { p.Put("defaults/data/10-base.json", `{`) }},
		{"mended", func() { p.Put("defaults/data/10-base.json", `{}`) }},
		{"a host less", remove("hosts/vm2")},
		{"a host without its list", remove("hosts/vm1/host.json")},
	}
	before := map[string]string{}
	for _, step := range steps {
		step.do()
		p.Push(nil)
		for kind, root := range again {
			fresh := openRoot(t, p.Clone, "")
			if kind == "repository" {
				fresh = openRoot(t, p.Bare, "main")
			}
			got := outcome(root)
			if want := outcome(fresh); got != want {
				t.Errorf("%s after %s:\n%s\nanew:\n%s", kind, step.name, got, want)
			}
			if got == before[kind] {
				t.Errorf("%s: %s changed nothing", kind, step.name)
			}
			before[kind] = got
		}
	}
}

func TestBrokenCommits(t *testing.T) {
	placed := map[string]string{"hosts/vm1/host.json": `{"stacks": {"shop": {"services": ["web"]}}}`}
	tests := []struct {
		name  string
		files map[string]string
		// spoil pushes what a map of files cannot say.
		spoil func(t *testing.T, p *repositorytest.Pair)
		// want begins with the commit.
		want []string
	}{
		{"syntax", map[string]string{"services/web/data/a.json": "{\n  \"a\" 1}"}, nil, []string{"services/web/data/a.json:2: column 7: "}},
		{"what a container would get", map[string]string{"services/web/bundle.json": "{\"targets\": {\n\"/etc/x\": {\"template\": \"none\"}}}"}, nil,
			[]string{"services/web/bundle.json:2: targets./etc/x.template: no file templates/none"}},
		{"link", nil, func(t *testing.T, p *repositorytest.Pair) {
			if err := os.Symlink("/etc", filepath.Join(p.Clone, "services")); err != nil {
				t.Fatal(err)
			}
			p.Push(nil)
		}, []string{"services: is a symbolic link: "}},
		{"submodule", nil, func(t *testing.T, p *repositorytest.Pair) {
			p.Git("update-index", "--add", "--cacheinfo", "160000,"+p.Commit(nil)+",services/web/templates")
			p.Git("commit", "--quiet", "--message", "submodule")
			p.Git("push", "--quiet", "--force", "origin", "HEAD:main")
		}, []string{"services/web/templates: is a submodule, "}},
		{"large", map[string]string{"services/web/templates/large": strings.Repeat("x", 9<<20)}, nil, []string{"services/web/templates/large: is larger than 8 MiB"}},
		{"all at once", map[string]string{"odd.json": "{}", "services/We/data/a.json": "{}", "defaults/templates/a\nb": ""}, nil,
			[]string{"odd.json: does not belong here", "services/We/data/a.json: rename the directory", "defaults/templates/a\nb: has a name with control characters"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := repositorytest.New(t)
			for name, text := range placed {
				p.Put(name, text)
			}
			if tt.spoil == nil {
				p.Push(tt.files)
			} else {
				tt.spoil(t, p)
			}
			read, err := openRoot(t, p.Bare, "main").Read(t.Context())
			if err == nil {
				_, err = new(tree.Compiler).Compile(read)
			}
			problems, ok := errors.AsType[bundle.Problems](err)
			if !ok {
				t.Fatalf("err = %v, want problems", err)
			}
			commit := p.InBare("rev-parse", "main")
			for _, want := range tt.want {
				if !slices.ContainsFunc(problems.Lines(), func(line string) bool { return strings.HasPrefix(line, commit[:12]+":"+want) }) {
					t.Errorf("no problem says %q", want)
				}
			}
			if t.Failed() {
				t.Logf("got:\n%s", strings.Join(problems.Lines(), "\n"))
			}
		})
	}
}

func TestOpen(t *testing.T) {
	p := repositorytest.New(t)
	p.Push(shop())
	if _, err := tree.Open(p.Bare, ""); err == nil || !strings.Contains(err.Error(), "is a bare git repository: name the branch or tag to read, --ref main") {
		t.Errorf("a bare repository without a ref: %v", err)
	}
	if _, err := tree.Open(t.TempDir(), "main"); err == nil || !strings.Contains(err.Error(), "is not a git repository") {
		t.Errorf("a directory with a ref: %v", err)
	}
	if openRoot(t, p.Clone, "").IsRepository() || !openRoot(t, p.Clone, "main").IsRepository() {
		t.Error("whether it is a repository does not go by the ref")
	}
}

func TestSerial(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	tests := []struct {
		name            string
		depth, previous uint64
		want            uint64
	}{
		{"the first commit", 1, 0, 1},
		{"later commits", 57, 50, 57},
		{"a rewritten history", 3, 57, 58},
		{"from a directory to git", 57, 1_700_000_000_000, 1_700_000_000_001},
		{"a directory", 0, 0, 1_700_000_000_000},
		{"a directory, from git", 0, 57, 1_700_000_000_000},
		{"a clock that went back", 0, 1_800_000_000_000, 1_800_000_000_001},
	}
	for _, tt := range tests {
		if got := (&tree.Tree{Depth: tt.depth}).Serial(tt.previous, now); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
