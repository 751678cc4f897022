// SPDX-License-Identifier: AGPL-3.0-or-later

// Package repositorytest makes git repositories for tests, with the real git: a bare one as servers keep them, and a clone
// that pushes to it.
package repositorytest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Pair is a bare repository and a clone of it, with the branch main.
type Pair struct {
	t           testing.TB
	Bare, Clone string
}

// New makes an empty pair; options go to git init, for example --object-format=sha256.
func New(t testing.TB, options ...string) *Pair {
	t.Helper()
	dir := t.TempDir()
	p := &Pair{t: t, Bare: filepath.Join(dir, "fleet.git"), Clone: filepath.Join(dir, "clone")}
	Git(t, dir, append([]string{"init", "--quiet", "--initial-branch=main"}, append(options, "--bare", p.Bare)...)...)
	Git(t, dir, append([]string{"init", "--quiet", "--initial-branch=main"}, append(options, p.Clone)...)...)
	Git(t, p.Clone, "remote", "add", "origin", p.Bare)
	return p
}

// Put writes a file in the clone.
func (p *Pair) Put(name, text string) {
	p.t.Helper()
	file := filepath.Join(p.Clone, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// Commit writes the files, commits all that is in the clone, and returns the commit.
func (p *Pair) Commit(files map[string]string) string {
	p.t.Helper()
	for name, text := range files {
		p.Put(name, text)
	}
	p.Git("add", "--all")
	p.Git("commit", "--quiet", "--allow-empty", "--message", "a change")
	return p.Git("rev-parse", "HEAD")
}

// Push commits the files and pushes main, which need not go forward. It returns the commit.
func (p *Pair) Push(files map[string]string) string {
	p.t.Helper()
	commit := p.Commit(files)
	p.Git("push", "--quiet", "--force", "origin", "HEAD:refs/heads/main")
	return commit
}

// Git runs git in the clone and returns what it prints.
func (p *Pair) Git(args ...string) string {
	p.t.Helper()
	return Git(p.t, p.Clone, args...)
}

// InBare runs git in the bare repository.
func (p *Pair) InBare(args ...string) string {
	p.t.Helper()
	return Git(p.t, p.Bare, args...)
}

// Git runs git in dir, without the settings of whoever runs the test, and returns its output, trimmed.
func Git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := Command(dir, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Command is git in dir, not yet run.
func Command(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
	}
	return cmd
}
