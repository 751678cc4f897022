// SPDX-License-Identifier: AGPL-3.0-or-later

package repository_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/repository"
	"cloud4.internal/hub/confighub/internal/repository/repositorytest"
)

func nothing(string) bool { return false }

// snapshot is what a ref holds: the commit, its depth, and the bytes of files, or the kind of what is none.
type snapshot struct {
	commit string
	depth  uint64
	files  map[string]string
}

func open(t *testing.T, path, ref string) *repository.Repository {
	t.Helper()
	repo, err := repository.Open(path, ref)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

// read reads everything that the ref names now.
func read(ctx context.Context, repo *repository.Repository) (s snapshot, err error) {
	reader, err := repo.Read(ctx)
	if err != nil {
		return s, err
	}
	defer reader.Close()
	commit, err := reader.Commit()
	if err != nil {
		return s, err
	}
	entries, err := reader.List(commit, nothing, 1000)
	if err != nil {
		return s, err
	}
	s = snapshot{commit.ID, commit.Depth, map[string]string{}}
	for _, entry := range entries {
		switch {
		case entry.Mode.IsDir():
		case entry.Mode != 0:
			s.files[entry.Name] = entry.Mode.String()
		default:
			raw, err := reader.Blob(entry.Object, 1<<20)
			if err != nil {
				return s, err
			}
			s.files[entry.Name] = string(raw)
		}
	}
	return s, nil
}

func mustRead(t *testing.T, repo *repository.Repository) snapshot {
	t.Helper()
	s, err := read(t.Context(), repo)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReadsWhatWasCommitted(t *testing.T) {
	for _, format := range []string{"sha1", "sha256"} {
		t.Run(format, func(t *testing.T) {
			p := repositorytest.New(t, "--object-format="+format)
			p.Push(map[string]string{"a": "1"})
			repo := open(t, p.Bare, "main")
			if got := mustRead(t, repo); got.depth != 1 {
				t.Errorf("the first commit has depth %d", got.depth)
			}
			// Line endings and keywords stay as they are committed, whatever attributes say.
			files := map[string]string{
				"a": "2\r\n$Id$\n", "deep/er/b": "", "deep/c \"q\" ü": "\x00\xff", ".gitattributes": "* text eol=crlf ident filter=x\n",
			}
			p.Git("config", "core.autocrlf", "false")
			for name, text := range files {
				p.Put(name, text)
			}
			p.Git("-c", "core.attributesFile=/dev/null", "add", "--all")
			if err := os.WriteFile(filepath.Join(p.Clone, ".git/info/attributes"), []byte("* -text -ident -filter\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			p.Git("add", "--renormalize", ".")
			id := p.Push(nil)
			got := mustRead(t, repo)
			if diff := cmp.Diff(files, got.files); diff != "" || got.commit != id || got.depth != 2 {
				t.Errorf("commit %s of depth %d, want %s of 2; -want +got:\n%s", got.commit, got.depth, id, diff)
			}
		})
	}
}

// The same content is found wherever a ref may lie, and whatever it leads through.
func TestRefs(t *testing.T) {
	p := repositorytest.New(t)
	first := p.Push(map[string]string{"a": "first"})
	p.Git("tag", "light")
	p.Git("tag", "--annotate", "--message", "m", "heavy")
	p.Git("tag", "--annotate", "--message", "m", "heavier", "heavy")
	p.Git("push", "--quiet", "--tags", "origin", "HEAD:refs/heads/dir/branch", "HEAD:refs/heads/both")
	second := p.Push(map[string]string{"a": "second"})
	p.Git("tag", "both")
	p.Git("push", "--quiet", "--tags", "origin")
	p.InBare("symbolic-ref", "refs/heads/link", "refs/heads/dir/branch")
	want := map[string]string{
		"main": second, "refs/heads/main": second, "light": first, "heavy": first, "heavier": first, "dir/branch": first, "link": first,
		"both": first, "refs/tags/both": second,
	}
	check := func(t *testing.T, path string) {
		t.Helper()
		for ref, id := range want {
			got, err := read(t.Context(), open(t, path, ref))
			if err != nil || got.commit != id {
				t.Errorf("%s is %s, %v, want %s", ref, got.commit, err, id)
			}
		}
	}
	check(t, p.Bare)
	p.InBare("pack-refs", "--all")
	if _, err := os.Stat(filepath.Join(p.Bare, "refs/heads/main")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("main is not packed: %v", err)
	}
	check(t, p.Bare)
	p.InBare("gc", "--quiet", "--prune=now")
	check(t, p.Bare)
	// A file beside the line of packed-refs is newer.
	third := p.Push(map[string]string{"a": "third"})
	want["main"], want["refs/heads/main"] = third, third
	check(t, p.Bare)
	if got := mustRead(t, open(t, p.Clone, "main")); got.commit != third {
		t.Errorf("with a work tree: %s", got.commit)
	}
}

func TestDepthCountsFirstParents(t *testing.T) {
	p := repositorytest.New(t)
	for i := range 5 {
		p.Push(map[string]string{"a": strconv.Itoa(i)})
	}
	repo := open(t, p.Bare, "main")
	p.Git("checkout", "--quiet", "-b", "side", "HEAD~2")
	for i := range 7 {
		p.Commit(map[string]string{"b": strconv.Itoa(i)})
	}
	p.Git("checkout", "--quiet", "main")
	p.Git("merge", "--quiet", "--no-edit", "side")
	steps := []struct {
		name string
		do   func()
	}{
		{"a merge of a longer side", func() { p.Push(nil) }},
		{"one more", func() { p.Push(nil) }},
		{"back by two", func() { p.Git("reset", "--quiet", "--hard", "HEAD~2"); p.Push(nil) }},
		{"another root", func() { p.Git("checkout", "--quiet", "--orphan", "new"); p.Push(nil) }},
	}
	for _, step := range steps {
		step.do()
		// Counted from the last commit, and anew.
		want := p.InBare("rev-list", "--count", "--first-parent", "main")
		for _, r := range []*repository.Repository{repo, open(t, p.Bare, "main")} {
			if got := mustRead(t, r); strconv.FormatUint(got.depth, 10) != want {
				t.Errorf("%s: depth %d, want %s", step.name, got.depth, want)
			}
		}
	}
}

func TestListsWhatIsNoFile(t *testing.T) {
	p := repositorytest.New(t)
	if err := os.Symlink("/etc/passwd", filepath.Join(p.Clone, "link")); err != nil {
		t.Fatal(err)
	}
	id := p.Commit(map[string]string{"a": "1"})
	p.Git("update-index", "--add", "--cacheinfo", "160000,"+id+",sub")
	p.Git("commit", "--quiet", "--message", "submodule")
	p.Git("push", "--quiet", "origin", "HEAD:main")
	want := map[string]string{"a": "1", "link": fs.ModeSymlink.String(), "sub": fs.ModeIrregular.String()}
	if diff := cmp.Diff(want, mustRead(t, open(t, p.Bare, "main")).files); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLimits(t *testing.T) {
	p := repositorytest.New(t)
	p.Push(map[string]string{"d/a": "1", "d/b": "22", "skipped/c": "", "large": strings.Repeat("x", 2<<20)})
	reader, err := open(t, p.Bare, "main").Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	commit, err := reader.Commit()
	if err != nil {
		t.Fatal(err)
	}
	skip := func(base string) bool { return base == "skipped" }
	if _, err := reader.List(commit, skip, 3); err == nil || err.Error() != "holds more than 3 files and directories" {
		t.Errorf("got %v", err)
	}
	entries, err := reader.List(commit, skip, 4)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name)
		if entry.Name != "large" {
			continue
		}
		if _, err := reader.Blob(entry.Object, 1<<20); !errors.As(err, new(repository.TooLarge)) || err.Error() != "is larger than 1 MiB" {
			t.Errorf("got %v", err)
		}
		if raw, err := reader.Blob(entry.Object, 2<<20); err != nil || len(raw) != 2<<20 {
			t.Errorf("got %d bytes, %v", len(raw), err)
		}
	}
	if diff := cmp.Diff([]string{"d", "d/a", "d/b", "large"}, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A tree of trees that stands for more files than fit anywhere is refused, and so are directories without an end.
func TestBombs(t *testing.T) {
	p := repositorytest.New(t)
	grow := func(levels, width int) string {
		command := func(stdin string, args ...string) string {
			cmd := repositorytest.Command(p.Clone, args...)
			cmd.Stdin = strings.NewReader(stdin)
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(string(out))
		}
		line := "100644 blob " + command("x", "hash-object", "-w", "--stdin") + "\t"
		for range levels {
			var lines strings.Builder
			for i := range width {
				lines.WriteString(line + "f" + strconv.Itoa(i) + "\n")
			}
			line = "040000 tree " + command(lines.String(), "mktree") + "\t"
		}
		return p.Git("commit-tree", "-m", "bomb", strings.Fields(line)[2])
	}
	tests := []struct {
		name          string
		levels, width int
		want          string
	}{
		{"wide", 12, 10, "holds more than 1000 files and directories"},
		{"deep", 100, 1, "has more than 64 directories in each other"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p.Git("push", "--quiet", "--force", "origin", grow(tt.levels, tt.width)+":refs/heads/main")
			if _, err := read(t.Context(), open(t, p.Bare, "main")); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	p := repositorytest.New(t)
	id := p.Push(map[string]string{"a": "1"})
	p.Push(map[string]string{"a": "2"})
	object := func(name string) string { return filepath.Join(p.Bare, "objects", name[:2], name[2:]) }
	put := func(name, text string) func() {
		return func() {
			if err := os.WriteFile(filepath.Join(p.Bare, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	blob := p.Git("rev-parse", "HEAD:a")
	other := p.Git("rev-parse", "HEAD~1:a")
	tests := []struct {
		name, ref string
		spoil     func()
		want      string
	}{
		{"no such ref", "none", func() {}, `no such branch or tag "none" in `},
		{"a damaged ref", "damaged", put("refs/heads/damaged", "hello\x1b[2J"), `refs/heads/damaged in ` + p.Bare + ` is damaged: it holds "hello\x1b[2J"`},
		{"a ref out of the repository", "out", put("refs/heads/out", "ref: ../../etc/passwd"), "is damaged"},
		{"a ref to itself", "loop", put("refs/heads/loop", "ref: refs/heads/loop"), "leads through more than 5 symbolic refs"},
		{"a ref that is a pipe", "pipe", func() {
			if err := syscall.Mkfifo(filepath.Join(p.Bare, "refs/heads/pipe"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "is not a regular file"},
		{"a ref to no commit", "blob", put("refs/heads/blob", blob+"\n"), "is a blob, not a commit"},
		{"a ref to nothing", "gone", put("refs/heads/gone", strings.Repeat("1", 40)), "is missing or damaged"},
		{"a shallow clone", "main", put("shallow", id+"\n"), "is a shallow clone, whose commits cannot be counted: complete it with git fetch --unshallow"},
		{"an object that is another", "main", func() {
			if err := os.Remove(filepath.Join(p.Bare, "shallow")); err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(object(other))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(object(blob)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(object(blob), raw, 0o444); err != nil {
				t.Fatal(err)
			}
		}, "the object " + blob},
		{"a missing object", "main", func() {
			if err := os.Remove(object(blob)); err != nil {
				t.Fatal(err)
			}
		}, "the object " + blob + " is missing or damaged"},
		{"reftables", "main", func() {
			if err := os.Mkdir(filepath.Join(p.Bare, "reftable"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "keeps its refs as reftables"},
		{"no repository any more", "main", func() {
			if err := os.Remove(filepath.Join(p.Bare, "HEAD")); err != nil {
				t.Fatal(err)
			}
		}, "is no git repository any more"},
	}
	for _, tt := range tests {
		repo := open(t, p.Bare, tt.ref)
		tt.spoil()
		if _, err := read(t.Context(), repo); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
	if _, err := read(t.Context(), open(t, p.Clone, "none")); !errors.Is(err, repository.ErrNoRef) {
		t.Errorf("got %v", err)
	}
}

func TestOpen(t *testing.T) {
	p := repositorytest.New(t)
	p.Push(map[string]string{"a": "1"})
	work := filepath.Join(t.TempDir(), "work")
	p.Git("worktree", "add", "--quiet", work, "-b", "other")
	tests := []struct{ path, ref, want string }{
		{t.TempDir(), "main", "is not a git repository: neither it nor its .git holds HEAD, objects and refs"},
		{work, "main", "is a worktree or submodule: give the repository that "},
		{p.Bare, "-x y", "is not the name of a branch or tag"},
		{p.Bare, "a..b", "is not the name of a branch or tag"},
		{p.Bare, "main@{1}", "is not the name of a branch or tag"},
		{p.Bare, "../../x", "is not the name of a branch or tag"},
		{p.Bare, "refs/heads/", "is not the name of a branch or tag"},
		{p.Bare, "main^{tree}", "is not the name of a branch or tag"},
	}
	for _, tt := range tests {
		if _, err := repository.Open(tt.path, tt.ref); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Open(%s, %s): got %v, want %s", tt.path, tt.ref, err, tt.want)
		}
	}
	if !repository.Is(p.Clone) || !repository.Is(p.Bare) || repository.Is(t.TempDir()) {
		t.Error("Is mistakes a directory for a repository, or the other way round")
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := repository.Open(p.Bare, "main"); err == nil || !strings.Contains(err.Error(), "needs the program git") {
		t.Errorf("without git: %v", err)
	}
}
