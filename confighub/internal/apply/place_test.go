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

// unshared runs a role in a child with a mount namespace of its own.
func (w *world) unshared(role string) {
	w.t.Helper()
	if os.Geteuid() != 0 {
		w.t.Skip("mounting needs root")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"="+role, childBase+"="+filepath.Dir(w.state), childShm+"="+w.shm)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
}

// inside is the world of such a child, whose mounts nobody else sees.
func inside(base string) *world {
	w := worldIn(fatal{}, base)
	w.shm = os.Getenv(childShm)
	w.must(syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	return w
}

// must ends the child if anything is wrong.
func (w *world) must(errs ...error) {
	w.t.Helper()
	if err := errors.Join(errs...); err != nil {
		w.t.Fatal(err)
	}
}

// holds says that a file is not what it is to be; nil when it is.
func holds(name, want string) error {
	raw, err := os.ReadFile(name)
	if err == nil && string(raw) != want {
		err = fmt.Errorf("%s holds %q, want %q", name, raw, want)
	}
	return err
}

// bind mounts a file of elsewhere over a target.
func (w *world) bind(name, text string) (outside string) {
	w.t.Helper()
	outside = filepath.Join(filepath.Dir(w.etc), "outside-"+filepath.Base(name))
	w.must(os.WriteFile(outside, []byte(text), 0o644), syscall.Mount(outside, w.path(name), "", syscall.MS_BIND, ""))
	return outside
}

// until calls f, which ends with a panic at that point as with a crash.
func (w *world) until(spec string, f func(*Applier)) {
	w.t.Helper()
	w.fault = at(spec, func(now point) { panic(now) })
	defer func() {
		if w.fault = nil; recover() == nil {
			w.t.Fatal(spec + " was never passed")
		}
	}()
	f(w.applier())
}

// mounted is a child in which target a is a file of elsewhere.
func mounted(base string) int {
	w := inside(base)
	w.write("a", "image", 0o644)
	outside := w.bind("a", "host")
	ctx := context.Background()
	_, err := w.applier().Apply(ctx, generation(1, w.file("a", "one"), w.file("b", "one")), true)
	w.must(err, holds(outside, "one"), holds(w.path("a"), "one"))
	w.actions = map[string][]string{"bad": {"false"}}
	_, err = w.applier().Apply(ctx, generation(2, w.file("a", "two, which is longer", reload("bad")), w.file("b", "two")), false)
	if _, ok := errors.AsType[*RolledBack](err); !ok {
		w.t.Fatal("not taken back:", err)
	}
	w.must(holds(outside, "one"), holds(w.path("b"), "one"))
	w.until("truncated", func(a *Applier) {
		a.Apply(ctx, generation(3, w.file("a", "three, which is longer"), w.file("b", "three")), true)
	})
	w.must(holds(outside, "three, whic"))
	_, err = w.applier().Recover()
	w.must(err, holds(outside, "one"), holds(w.path("b"), "one"))
	// It leaves, and gets back what it was; one that was there from the start cannot be taken away.
	_, err = w.applier().Apply(ctx, generation(4, w.file("b", "four")), true)
	w.must(err, holds(outside, "host"), holds(w.path("b"), "four"))
	if left := w.leftovers(); left != nil {
		w.t.Fatal("left:", left)
	}
	return 0
}

// A file that is mounted into the container is written in its place, and put back when it was cut off in the middle.
func TestMountedTarget(t *testing.T) { newWorld(t).unshared("mounted") }

// mountedMeanwhile is a child in which target a is mounted over when it is about to be swapped.
func mountedMeanwhile(base string) int {
	w := inside(base)
	w.write("a", "image", 0o644)
	w.write("b", "image", 0o644)
	ctx := context.Background()
	var outside string
	mount := func(point) { outside = w.bind("b", "host") }
	g := generation(1, w.file("a", "one"), w.file("b", "one"), w.file("c", "one"))
	w.fault = at("journaled", mount)
	_, err := w.applier().Apply(ctx, g, true)
	w.must(err, holds(outside, "one"), holds(w.path("a"), "one"), holds(w.path("c"), "one"))
	if left := w.leftovers(); left != nil {
		w.t.Fatal("left:", left)
	}
	w.must(syscall.Unmount(w.path("b"), 0), holds(w.path("b"), "image"))
	// The same again, killed in the middle of writing, and once more on the way back.
	g = generation(2, w.file("a", "two"), w.file("b", "two, which is longer"), w.file("c", "two"))
	w.until("truncated", func(a *Applier) {
		inner := a.opts.fault
		mounts := at("journaled", mount)
		a.opts.fault = func(now point) { mounts(now); inner(now) }
		a.Apply(ctx, g, true)
	})
	w.must(holds(outside, "two, which"))
	w.until("truncated", func(a *Applier) { a.Recover() })
	_, err = w.applier().Recover()
	w.must(err, holds(outside, "host"), holds(w.path("a"), "one"), holds(w.path("c"), "one"))
	if left := w.leftovers(); left != nil {
		w.t.Fatal("left:", left)
	}
	return 0
}

// A file that is mounted after the plan was made is busy: it is written in place all the same.
func TestMountedMeanwhile(t *testing.T) { newWorld(t).unshared("mounted meanwhile") }

// mountedSecret is a child in which a secret is mounted, and the memory that its copy is in is lost.
func mountedSecret(base string) int {
	w := inside(base)
	w.write("key", "", 0o600)
	outside := w.bind("key", "host")
	ctx := context.Background()
	one := generation(1, w.file("a", "one"), w.file("key", "one", secret))
	_, err := w.applier().Apply(ctx, one, true)
	w.must(err, holds(outside, "one"))
	w.until("truncated", func(a *Applier) {
		a.Apply(ctx, generation(2, w.file("a", "two"), w.file("key", "two, which is longer", secret)), true)
	})
	entries, err := filepath.Glob(filepath.Join(w.shm, "*"))
	for _, name := range entries {
		err = errors.Join(err, os.RemoveAll(name))
	}
	w.must(err, holds(outside, "two, which"))
	a := w.applier()
	found, err := a.Recover()
	if err != nil || found.Finished || len(found.Lines) != 1 || !strings.Contains(found.Lines[0], "the file that was there before is gone, until the configuration is put in place again") {
		w.t.Fatal("recovered", found, err)
	}
	w.must(holds(w.path("a"), "one"), holds(outside, "two, which"))
	_, err = a.Apply(ctx, one, true)
	w.must(err, holds(w.path("a"), "one"), holds(outside, "one"))
	if left := w.leftovers(); left != nil {
		w.t.Fatal("left:", left)
	}
	return 0
}

// With the container goes what was kept of a secret: the last good generation mends it.
func TestMountedSecretLosesItsCopy(t *testing.T) { newWorld(t).unshared("mounted secret") }

// overlay is a child whose targets are on an overlay, as a container's are, with files of its image in the lower layer.
func overlay(base string) int {
	w := inside(base)
	ctx := context.Background()
	layers := filepath.Join(base, "layers")
	w.must(os.Mkdir(layers, 0o755), syscall.Mount("tmpfs", layers, "tmpfs", 0, ""))
	for _, dir := range []string{"lower/d", "upper", "work"} {
		w.must(os.MkdirAll(filepath.Join(layers, dir), 0o755))
	}
	w.must(os.WriteFile(layers+"/lower/a", []byte("image"), 0o640), os.WriteFile(layers+"/lower/d/b", []byte("image"), 0o640))
	w.must(syscall.Mount("overlay", w.etc, "overlay", 0, "lowerdir="+layers+"/lower,upperdir="+layers+"/upper,workdir="+layers+"/work"))
	exchanged := 0
	w.fault = func(now point) {
		if now == pointExchanged {
			exchanged++
		}
	}
	one := generation(1, w.file("a", "one"), w.file("d/b", "one"), w.file("new/c", "one"))
	_, err := w.applier().Apply(ctx, one, true)
	w.must(err, holds(w.path("a"), "one"), holds(w.path("d/b"), "one"), holds(w.path("new/c"), "one"))
	if exchanged != 2 {
		w.t.Fatal("files were exchanged ", exchanged, " times, want 2")
	}
	w.actions = map[string][]string{"bad": {"false"}}
	_, err = w.applier().Apply(ctx, generation(2, w.file("a", "two", reload("bad")), w.file("new/c", "two")), false)
	if _, ok := errors.AsType[*RolledBack](err); !ok {
		w.t.Fatal("not taken back:", err)
	}
	w.must(holds(w.path("a"), "one"), holds(w.path("d/b"), "one"), holds(w.path("new/c"), "one"))
	_, err = w.applier().Apply(ctx, generation(3), true)
	w.must(err, holds(w.path("a"), "image"), holds(w.path("d/b"), "image"))
	if left := w.leftovers(); left != nil {
		w.t.Fatal("left:", left)
	}
	return 0
}

// The way of a container's own file system.
func TestOverlay(t *testing.T) { newWorld(t).unshared("overlay") }

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
	t.Parallel()
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
	// Those that take long and do not depend on who runs them are left out.
	cmd := exec.Command(program, "-test.v", "-test.skip", "^(TestEveryWriteFails|TestDriftIsCheap|TestSettleInPeace|TestRaceOnTheParent)$")
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4711, Gid: 4711}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestKill") {
		t.Errorf("%v\n%s", err, out)
	}
}
