// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cloud4.internal/hub/confighub/internal/render"
)

// mounted is a child in a mount namespace of its own, in which target a is a file of elsewhere.
func mounted(base string) int {
	w := worldIn(fatal{}, base)
	outside := filepath.Join(base, "outside")
	if err := errors.Join(syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""), syscall.Mount(outside, w.path("a"), "", syscall.MS_BIND, "")); err != nil {
		fmt.Println(err)
		return 1
	}
	text := func(name string) string {
		raw, err := os.ReadFile(name)
		if err != nil {
			return err.Error()
		}
		return string(raw)
	}
	if _, err := w.applier().Apply(context.Background(), generation(1, w.file("a", "one"), w.file("b", "one")), true); err != nil {
		fmt.Println(err)
		return 1
	}
	if text(outside) != "one" || text(w.path("a")) != "one" {
		fmt.Println("the mounted file was not written in place:", text(outside), text(w.path("a")))
		return 1
	}
	w.actions = map[string][]string{"bad": {"false"}}
	_, err := w.applier().Apply(context.Background(), generation(2, w.file("a", "two, which is longer", reload("bad")), w.file("b", "two")), false)
	if _, ok := errors.AsType[*RolledBack](err); !ok || text(outside) != "one" || text(w.path("b")) != "one" {
		fmt.Println("not taken back:", err, text(outside), text(w.path("b")))
		return 1
	}
	w.fault = func(at point) {
		if at == "journaled" { // killed in the middle of writing
			os.WriteFile(outside, []byte("tw"), 0o644)
			panic(at)
		}
	}
	func() {
		defer func() { recover() }()
		w.applier().Apply(context.Background(), generation(3, w.file("a", "three"), w.file("b", "three")), true)
	}()
	if _, err := w.applier().Recover(); err != nil || text(outside) != "one" || text(w.path("b")) != "one" {
		fmt.Println("not recovered:", err, text(outside), text(w.path("b")))
		return 1
	}
	return 0
}

func TestMountedTarget(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	w := newWorld(t)
	w.write("a", "image", 0o644)
	if err := os.WriteFile(filepath.Join(filepath.Dir(w.etc), "outside"), []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"=mounted", childBase+"="+filepath.Dir(w.state))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// In a directory of another uid, root writes with that uid's rights and leaves its files to it.
func TestDirectoryOfAnotherUID(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a directory away needs root")
	}
	w := newWorld(t)
	dir := w.path("app")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 4711, 4712)); err != nil {
		t.Fatal(err)
	}
	w.write("app/root.conf", "root's", 0o600)
	owned := func(f *render.File) { f.Owner = "12:13" }
	if _, err := w.applier().Apply(t.Context(), generation(1, w.file("app/new", "x"), w.file("app/sub/new", "x"), w.file("app/root.conf", "x"), w.file("app/given", "x", owned)), true); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"app/new": "4711:4712", "app/sub": "4711:4712", "app/sub/new": "4711:4712", "app/root.conf": "0:0", "app/given": "12:13"} {
		info, err := os.Stat(w.path(name))
		if err != nil {
			t.Fatal(err)
		}
		stat := info.Sys().(*syscall.Stat_t)
		if got := fmt.Sprintf("%d:%d", stat.Uid, stat.Gid); got != want {
			t.Errorf("%s belongs to %s, want %s", name, got, want)
		}
	}
}

// All the same holds for a container that runs as another uid than root: the tests run again as one.
func TestAsAnotherUID(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another uid needs root")
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program, tmp := filepath.Join(dir, "apply.test"), filepath.Join(dir, "tmp")
	// The test's directories are closed to others by default.
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755), os.WriteFile(program, self, 0o755), os.Mkdir(tmp, 0o700), os.Chown(tmp, 4711, 4711)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.v")
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4711, Gid: 4711}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestKill") {
		t.Errorf("%v\n%s", err, out)
	}
}
