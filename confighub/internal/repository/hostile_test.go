// SPDX-License-Identifier: AGPL-3.0-or-later

package repository_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloud4.internal/hub/confighub/internal/repository/repositorytest"
)

// trap is a repository whose settings, hooks and attributes run a command that leaves a file behind.
type trap struct {
	*repositorytest.Pair
	marker string
}

func newTrap(t *testing.T) *trap {
	t.Helper()
	p := &trap{repositorytest.New(t), filepath.Join(t.TempDir(), "ran")}
	p.Push(map[string]string{"a": "first", ".gitattributes": "* filter=evil diff=evil merge=evil\n"})
	program := filepath.Join(t.TempDir(), "evil")
	if err := os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\necho \"$0 $*\" >>%s\nexit 1\n", p.marker), 0o755); err != nil {
		t.Fatal(err)
	}
	included := filepath.Join(t.TempDir(), "included")
	if err := os.WriteFile(included, []byte("[alias]\n\tcat-file = !"+program+" alias\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var config strings.Builder
	for _, line := range []string{
		"[core]", "fsmonitor = EVIL", "sshCommand = EVIL", "pager = EVIL", "editor = EVIL", "gitProxy = EVIL", "askPass = EVIL",
		"alternateRefsCommand = EVIL", "hooksPath = " + filepath.Dir(program),
		"[alias]", "cat-file = !EVIL", "rev-parse = !EVIL", "[pager]", "cat-file = EVIL", "[diff]", "external = EVIL",
		`[diff "evil"]`, "command = EVIL", "textconv = EVIL", `[filter "evil"]`, "clean = EVIL", "smudge = EVIL", "process = EVIL", "required = true",
		"[uploadpack]", "packObjectsHook = EVIL", "[credential]", "helper = !EVIL", "[gpg]", "program = EVIL", "[protocol]", "allow = always",
		`[protocol "ext"]`, "allow = always", `[remote "evil"]`, "url = ext::EVIL", "promisor = true", "partialclonefilter = blob:none",
		"vcs = evil", "[extensions]", "partialClone = evil", "[include]", "path = " + included,
	} {
		config.WriteString(strings.ReplaceAll(line, "EVIL", program) + "\n")
	}
	for _, dir := range []string{p.Bare, filepath.Join(p.Clone, ".git")} {
		raw, err := os.ReadFile(filepath.Join(dir, "config"))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(raw), "repositoryformatversion = 0", "repositoryformatversion = 1", 1) + config.String()
		if err := os.WriteFile(filepath.Join(dir, "config"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, hook := range []string{"post-index-change", "reference-transaction", "post-checkout", "fsmonitor-watchman"} {
			if err := os.MkdirAll(filepath.Join(dir, "hooks"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(program, filepath.Join(dir, "hooks", hook)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return p
}

// ran reports whether the command was run since it was last asked.
func (p *trap) ran(t *testing.T) bool {
	t.Helper()
	err := os.Remove(p.marker)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// Nothing that stands in a repository runs, while the ordinary commands of git fall for it.
func TestHostileRepository(t *testing.T) {
	p := newTrap(t)
	// What git does in its own environment decides nothing either: these variables lead it elsewhere or run commands.
	for name, value := range map[string]string{
		"GIT_DIR": "/nonexistent", "GIT_WORK_TREE": "/", "GIT_EXTERNAL_DIFF": "/nonexistent", "GIT_CONFIG_COUNT": "1",
		"GIT_CONFIG_KEY_0": "alias.cat-file", "GIT_CONFIG_VALUE_0": "!echo x >" + p.marker, "GIT_TRACE": p.marker, "GIT_TRACE2": p.marker,
		"GIT_ALTERNATE_OBJECT_DIRECTORIES": "/nonexistent", "GIT_NAMESPACE": "x",
	} {
		t.Setenv(name, value)
	}
	command := repositorytest.Command(p.Clone, "status")
	_ = command.Run() // it fails, or not, by what the trap does
	if !p.ran(t) {
		t.Fatal("the trap is none: git status ran nothing of it")
	}
	for _, path := range []string{p.Bare, p.Clone} {
		got := mustRead(t, open(t, path, "main"))
		if got.files["a"] != "first" || got.depth != 1 {
			t.Errorf("%s: got %+v", path, got)
		}
		if p.ran(t) {
			t.Errorf("%s: reading it ran a command", path)
		}
	}
}

// An object that is not there is fetched by git from a remote that the repository names, by whatever command; not here.
func TestNothingIsFetched(t *testing.T) {
	p := newTrap(t)
	blob := repositorytest.Command(p.Bare, "rev-parse", "main:a")
	blob.Env = append(blob.Env, "GIT_NO_LAZY_FETCH=1")
	name, err := blob.Output()
	if err != nil {
		t.Fatal(err)
	}
	object := strings.TrimSpace(string(name))
	if err := os.Remove(filepath.Join(p.Bare, "objects", object[:2], object[2:])); err != nil {
		t.Fatal(err)
	}
	p.ran(t)
	_ = repositorytest.Command(p.Bare, "--no-pager", "cat-file", "blob", object).Run()
	if !p.ran(t) {
		t.Fatal("the trap is none: git cat-file ran nothing of it")
	}
	_, err = read(t.Context(), open(t, p.Bare, "main"))
	if err == nil || !strings.Contains(err.Error(), "is missing or damaged: the repository is incomplete") {
		t.Errorf("got %v", err)
	}
	if p.ran(t) {
		t.Error("reading the repository ran a command")
	}
}

// What replaces or grafts objects in a repository is for those who work in it.
func TestReplacementsDoNotCount(t *testing.T) {
	p := repositorytest.New(t)
	first := p.Push(map[string]string{"a": "first"})
	second := p.Push(map[string]string{"a": "second"})
	p.InBare("replace", second, first)
	if err := os.WriteFile(filepath.Join(p.Bare, "info", "grafts"), []byte(second+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := mustRead(t, open(t, p.Bare, "main")); got.files["a"] != "second" || got.commit != second || got.depth != 2 {
		t.Errorf("got %+v", got)
	}
}

// Nothing of ours stays behind, and nothing is written to the repository.
func TestLeavesNothing(t *testing.T) {
	p := repositorytest.New(t)
	p.Push(map[string]string{"a": "1"})
	list := func(dir string) (names []string) {
		t.Helper()
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			names = append(names, name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	temporary, run := t.TempDir(), t.TempDir()
	t.Setenv("HUB_RUN_DIR", run)
	before := list(p.Bare)
	for _, dir := range []string{temporary, filepath.Join(temporary, "none")} {
		t.Setenv("TMPDIR", dir)
		mustRead(t, open(t, p.Bare, "main"))
	}
	if after := list(p.Bare); strings.Join(before, "\n") != strings.Join(after, "\n") {
		t.Errorf("the repository was %v and is %v", before, after)
	}
	if left := append(list(temporary), list(run)...); len(left) != 2 {
		t.Errorf("left behind: %v", left)
	}
	t.Setenv("HUB_RUN_DIR", filepath.Join(run, "none"))
	if _, err := open(t, p.Bare, "main").Read(t.Context()); err == nil || !strings.Contains(err.Error(), "TMPDIR can name one") {
		t.Errorf("with no place at all: %v", err)
	}
}
