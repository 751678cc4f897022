// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// news runs `confighub new`, which must succeed, and returns what it said.
func news(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, err := runs(t, append([]string{"new"}, args...)...)
	if err != nil || errs != "" {
		t.Fatalf("new %q: %v %s", args, err, errs)
	}
	return out
}

// filesBelow lists the files in a directory.
func filesBelow(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(name, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// good holds that nobody has anything to say of a service that was written.
func good(t *testing.T, dir, user string) {
	t.Helper()
	settings := filepath.Join(dir, "hub.json")
	if out, errs, err := runs(t, "--config", settings, "--check"); err != nil || errs != "" {
		t.Errorf("%s: %v %s%s", settings, err, out, errs)
	}
	if out, errs, err := runs(t, "--config", settings, "lint", "--strict", "--user", user, filepath.Join(dir, "bundle")); err != nil || out != "" {
		t.Errorf("%s: %v %s%s", dir, err, out, errs)
	}
	scripts, err := filepath.Glob(filepath.Join(dir, "*.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		if out, err := exec.Command("sh", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v %s", script, err, out)
		}
	}
}

// TestNewIsGood holds what is written of each kind against confighub, the shell and nginx; examples runs the images.
func TestNewIsGood(t *testing.T) {
	dir := t.TempDir()
	news(t, "nginx", "web", "--dir", dir)
	news(t, "postgres", "--dir", dir)
	news(t, "php", "app", "--dir", dir)
	news(t, "job", "--dir", dir)
	news(t, "existing", "postgres:17", "--dir", dir, "old", "--entrypoint", `["docker-entrypoint.sh"]`, "--cmd", "postgres -c fsync=on")
	for name, user := range map[string]string{"web": "root", "postgres": "root", "app": "root", "job": "nonroot", "old": "999"} {
		good(t, filepath.Join(dir, name), user)
	}

	web := func(args ...string) (string, error) {
		out, _, err := runs(t, append([]string{"--config", dir + "/web/hub.json", "render", dir + "/web/bundle", "--check"}, args...)...)
		return out, err
	}
	if out, err := web(); err != nil || !strings.Contains(out, "root /srv/www;") || strings.Contains(out, "fastcgi") {
		t.Errorf("nginx does not take it: %v %s", err, out)
	}
	if out, err := web("--set", "php=app:9000"); err != nil || !strings.Contains(out, "set $php app:9000;") {
		t.Errorf("nginx does not take it with PHP behind it: %v %s", err, out)
	}
	if _, err := web("--set", "nginx.workers=many"); err == nil || !strings.Contains(err.Error(), `check nginx-test: exit status 1`) {
		t.Errorf("want nginx to refuse a number that is none, got %v", err)
	}
}

// TestNewExisting holds that the image's own words come through whole.
func TestNewExisting(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--entrypoint", `["docker-entrypoint.sh"]`, "--cmd", "postgres -c fsync=on"},
			"ENTRYPOINT [\"hubinit\", \"docker-entrypoint.sh\"]\nCMD [\"postgres\", \"-c\", \"fsync=on\"]\nVOLUME"},
		{[]string{"--cmd", `["/app", "a b", "<&>", "\""]`}, "ENTRYPOINT [\"hubinit\"]\nCMD [\"/app\", \"a b\", \"<&>\", \"\\\"\"]\nVOLUME"},
		{[]string{"--entrypoint", "/run.sh"}, "ENTRYPOINT [\"hubinit\", \"/run.sh\"]\nVOLUME"},
	} {
		if out := news(t, append([]string{"existing", "a/b:1", "--dry-run"}, c.args...)...); !strings.Contains(out, c.want) || !strings.Contains(out, "\nFROM a/b:1\n") {
			t.Errorf("%q: want %q in:\n%s", c.args, c.want, out)
		}
	}
}

// TestNewInTree holds that a tree gets what is to be served, and that a host.json is added to only where the host was said.
func TestNewInTree(t *testing.T) {
	tree, dir := filepath.Join(t.TempDir(), "tree"), t.TempDir()
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	host := filepath.Join(tree, "hosts/vm1/host.json")
	holdsNow := func(want string) {
		t.Helper()
		got, err := os.ReadFile(host)
		if err != nil || string(got) != "// What is placed on this host. Any other container that says it runs here is refused.\n"+want {
			t.Errorf("%v\n%s", err, got)
		}
	}
	into := func(args ...string) string { return news(t, append(args, "--dir", dir, "--tree", tree)...) }

	out := into("nginx", "web", "--host", "vm1")
	holdsNow(`{"stacks": {"shop": {"services": ["web"]}}}` + "\n")
	if !strings.Contains(out, "wrote "+host+"\n") || strings.Contains(out, "docker run") {
		t.Errorf("said:\n%s", out)
	}
	if diff := cmp.Diff([]string{"Dockerfile", "compose.yaml", "hub.json"}, filesBelow(t, filepath.Join(dir, "web"))); diff != "" {
		t.Error(diff)
	}
	if text := string(content(t, filepath.Join(dir, "web/Dockerfile"))); strings.Contains(text, "/etc/hub/bundle") {
		t.Errorf("the image has a bundle too:\n%s", text)
	}

	if out := into("postgres", "db", "--host", "vm1", "--dry-run"); !strings.Contains(out, `"services": ["web", "db"]`) {
		t.Errorf("the host.json to be is not shown:\n%s", out)
	}
	holdsNow(`{"stacks": {"shop": {"services": ["web"]}}}` + "\n")
	if err := os.Chmod(host, 0o640); err != nil {
		t.Fatal(err)
	}
	if out := into("postgres", "db", "--host", "vm1"); !strings.Contains(out, "added to "+host+"\n") {
		t.Errorf("said:\n%s", out)
	}
	holdsNow(`{"stacks": {"shop": {"services": ["web", "db"]}}}` + "\n")
	if info, err := os.Stat(host); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode of host.json became %v, %v", info.Mode(), err)
	}

	if out := into("php", "app"); !strings.Contains(out, `to place it: add the service in hosts/vm1/host.json: {"stacks": {"shop": {"services": ["app","db","web"]}}}`) {
		t.Errorf("said:\n%s", out)
	}
	holdsNow(`{"stacks": {"shop": {"services": ["web", "db"]}}}` + "\n")
	if err := os.RemoveAll(filepath.Join(tree, "services/app")); err != nil { // lint names what no host places
		t.Fatal(err)
	}
	into("php", "front", "--host", "vm1", "--stack", "blog")
	into("job", "backup", "--host", "vm2", "--stack", "night")
	into("existing", "redis:7", "--cmd", "redis-server", "--host", "vm1")
	if out, errs, err := runs(t, "lint", "--strict", tree); err != nil || out != "" {
		t.Errorf("lint: %v %s%s", err, out, errs)
	}
	if out, _, err := runs(t, "serve", "--root", tree, "--check"); err != nil || !strings.HasSuffix(out, " 5 containers\n") {
		t.Errorf("serve --check: %v %s", err, out)
	}
}

func content(t *testing.T, file string) []byte {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestNewRefuses holds that what cannot be is said at once, and that nothing is written then.
func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("tree", 0o755); err != nil {
		t.Fatal(err)
	}
	news(t, "nginx", "web", "--tree", "tree", "--host", "vm1")
	for name, text := range map[string]string{"broken/hosts/vm1/host.json": `{"stacks": {"shop": []}}`, "bare.git/HEAD": "", "bare.git/objects/x": ""} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := filesBelow(t, dir)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"php", "web", "--tree", "tree"}, []string{"nothing is written:\n", "web/Dockerfile is in the way\n", "web/hub.json is in the way\n", "web/compose.yaml is in the way", "tree/services/web/bundle.json is in the way\n"}},
		{[]string{"nginx", "other", "--tree", "broken", "--host", "vm1"}, []string{"nothing is written: hosts/vm1/host.json:1: stacks.shop: must be an object"}},
		{[]string{"nginx", "other", "--tree", "nowhere"}, []string{"nowhere", "no such file"}},
		{[]string{"nginx", "other", "--tree", "bare.git"}, []string{"bare.git is a git repository without its files: give a clone of it"}},
		{nil, []string{"say what is to be made: one of nginx, postgres, php, job, existing"}},
		{[]string{"apache", "Web", "--stack", "a_b", "--host", "-"}, []string{`KIND must be one of nginx, postgres, php, job, existing, got "apache"`, "\nNAME \"Web\" must be", "\n--stack \"a_b\" must be", "\n--host \"-\" starts"}},
		{[]string{"nginx", "a", "b"}, []string{`one name, got "b" too`}},
		{[]string{"nginx", "--cmd", "x"}, []string{"--cmd is for an image that exists"}},
		{[]string{"existing"}, []string{"say which image"}},
		{[]string{"existing", "a/_", "--cmd", "x"}, []string{"NAME is empty"}},
		{[]string{"existing", "a b", "x", "--cmd", `["x"`, "--entrypoint", "[1]"}, []string{"--entrypoint: must be words", "--cmd: must be words"}},
		{[]string{"existing", "a\nRUN x", "x", "--cmd", "x"}, []string{"IMAGE must be the name of an image, such as postgres:17"}},
		{[]string{"existing", "ours", "--entrypoint", "/usr/local/bin/hubinit", "--cmd", "x"}, []string{"ours has hubinit already"}},
		{[]string{"existing", "ours", "--entrypoint", ""}, []string{"ours has neither ENTRYPOINT nor CMD"}},
		{[]string{"nginx", "--nope"}, []string{"-nope"}},
	} {
		_, _, err := runs(t, append([]string{"new"}, c.args...)...)
		if err == nil {
			t.Errorf("%q was taken", c.args)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error()+"\n", want) {
				t.Errorf("%q: want %q in:\n%v", c.args, want, err)
			}
		}
	}
	if after := filesBelow(t, dir); !slices.Equal(before, after) {
		t.Errorf("something was written: %s", cmp.Diff(before, after))
	}
}
