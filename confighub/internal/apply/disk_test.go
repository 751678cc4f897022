// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cloud4.internal/hub/confighub/internal/render"
)

// says makes sure that an error says all of it.
func says(err error, parts ...string) error {
	if err == nil {
		return errors.New("no error")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			return fmt.Errorf("the error does not say %q: %w", part, err)
		}
	}
	return nil
}

// fill leaves no byte free on a file system.
func fill(dir string) error {
	err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 1<<20), 0o600)
	if !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("filling %s: got %w", dir, err)
	}
	return nil
}

func pages(text string) string { return strings.Repeat(text+"\n", 3000) }

// fullDisk is a child in which the targets are on a tmpfs of 128 KiB, and then the state is.
func fullDisk(base string) int {
	w := inside(base)
	ctx := context.Background()
	w.must(unix.Mount("tmpfs", w.etc, "tmpfs", 0, "size=128k"))
	a := w.applier()
	_, err := a.Apply(ctx, generation(1, w.file("a", pages("one")), w.file("b", "one")), true)
	w.must(err, fill(w.etc))
	two := generation(2, w.file("a", pages("two"), reload("fill")), w.file("b", "two"))
	w.actions = map[string][]string{"fill": {"true"}}
	a = w.applier()
	_, err = a.Apply(ctx, two, false)
	w.must(says(err, w.path("a"), "no space left on device: make room on that file system"),
		holds(w.path("a"), pages("one")), holds(w.path("b"), "one"), os.Remove(w.path("ballast")))
	// The disk fills up after the swap: the way back needs no room.
	w.actions = map[string][]string{"fill": {"sh", "-c", "head -c 1000000 /dev/zero >" + w.path("ballast")}}
	a = w.applier()
	_, err = a.Apply(ctx, two, false)
	if _, ok := errors.AsType[*RolledBack](err); !ok {
		w.t.Fatal("not rolled back: ", err)
	}
	w.must(holds(w.path("a"), pages("one")), holds(w.path("b"), "one"), os.Remove(w.path("ballast")))
	w.actions = map[string][]string{"fill": {"true"}}
	a = w.applier()
	_, err = a.Apply(ctx, two, false)
	w.must(err, holds(w.path("a"), pages("two")), holds(w.path("b"), "two"))
	// A full state: a running service gets nothing without a way back.
	w.must(unix.Mount("tmpfs", w.state, "tmpfs", 0, "size=16k"), fill(w.state))
	a = w.applier()
	_, err = a.Apply(ctx, generation(3, w.file("a", "three"), w.file("b", "three")), false)
	w.must(says(err, "writing the journal", w.state, "no space left on device: make room on that file system"),
		holds(w.path("a"), pages("two")), holds(w.path("b"), "two"))
	if left := w.leftovers(); left != nil {
		w.t.Fatal("left:", left)
	}
	return 0
}

func TestFullDisk(t *testing.T) { newWorld(t).unshared("full disk") }

// fullMount is a child in which a mounted file has no room to grow.
func fullMount(base string) int {
	w := inside(base)
	ctx := context.Background()
	small := filepath.Join(base, "small")
	w.write("a", "image", 0o644)
	w.must(os.Mkdir(small, 0o755), unix.Mount("tmpfs", small, "tmpfs", 0, "size=64k"))
	outside := filepath.Join(small, "file")
	w.must(os.WriteFile(outside, []byte("host"), 0o644), unix.Mount(outside, w.path("a"), "", unix.MS_BIND, ""))
	_, err := w.applier().Apply(ctx, generation(1, w.file("a", "one"), w.file("b", "one")), true)
	w.must(err, fill(small))
	_, err = w.applier().Apply(ctx, generation(2, w.file("a", pages("two")), w.file("b", "two")), true)
	w.must(says(err, w.path("a"), "no space left on device: everything is put back: make room on that file system"),
		holds(outside, "one"), holds(w.path("b"), "one"))
	return 0
}

func TestFullDiskUnderAMount(t *testing.T) { newWorld(t).unshared("full mount") }

// readOnly is a child in which the targets are, or become, read-only.
func readOnly(base string) int {
	w := inside(base)
	ctx := context.Background()
	w.must(unix.Mount("tmpfs", w.etc, "tmpfs", 0, ""))
	_, err := w.applier().Apply(ctx, generation(1, w.file("a", "one"), w.file("b", "one")), true)
	remount := func(flags uintptr) error { return unix.Mount("", w.etc, "", unix.MS_REMOUNT|flags, "") }
	w.must(err, remount(unix.MS_RDONLY))
	two := generation(2, w.file("a", "two"), w.file("b", "two"), w.file("made/c", "two"))
	_, err = w.applier().Apply(ctx, two, false)
	w.must(says(err, w.path("a"), "read-only file system: mount a volume or a tmpfs there, or take the target out of the bundle"),
		holds(w.path("a"), "one"), holds(w.path("b"), "one"))
	// In the middle of the swap: nothing can be put back until it can be written to again.
	w.must(remount(0))
	w.fault = at("swapped one", func(point) { w.must(remount(unix.MS_RDONLY)) })
	a := w.applier()
	_, err = a.Apply(ctx, two, false)
	w.must(says(err, "target "+w.path("b"), "read-only file system", "putting back "+w.path("a")), says(a.RetryOwed(ctx), "putting back "+w.path("a")))
	if !a.Owed() {
		w.t.Fatal("nothing is owed")
	}
	w.must(remount(0))
	a = w.applier()
	_, err = a.Recover()
	w.must(err, holds(w.path("a"), "one"), holds(w.path("b"), "one"))
	_, err = a.Apply(ctx, two, false)
	w.must(err, holds(w.path("a"), "two"), holds(w.path("b"), "two"), holds(w.path("made/c"), "two"))
	if left := w.leftovers(); left != nil || a.Owed() {
		w.t.Fatal("left:", left)
	}
	return 0
}

func TestReadOnlyTarget(t *testing.T) { newWorld(t).unshared("read-only") }

// vanishedOwner is a child whose passwd loses a user.
func vanishedOwner(base string) int {
	w := inside(base)
	ctx := context.Background()
	passwd := filepath.Join(base, "passwd")
	users := "root:x:0:0::/:/bin/sh\nsvc:x:4711:4712::/:/bin/sh\n"
	w.must(os.WriteFile(passwd, []byte(users), 0o644), unix.Mount(passwd, "/etc/passwd", "", unix.MS_BIND, ""))
	owned := func(f *render.File) { f.Owner = "svc" }
	_, err := w.applier().Apply(ctx, generation(1, w.file("a", "one", owned), w.file("b", "one")), true)
	w.must(err, os.WriteFile(passwd, []byte(users[:strings.Index(users, "svc")]), 0o644))
	_, err = w.applier().Apply(ctx, generation(2, w.file("a", "two", owned), w.file("b", "two")), false)
	if _, ok := errors.AsType[*Rejected](err); !ok {
		w.t.Fatal("not rejected: ", err)
	}
	w.must(says(err, "bundle.json: targets."+w.path("a")+".owner: no user svc in this container"), holds(w.path("a"), "one"), holds(w.path("b"), "one"))
	// Its files are its number's still, and those of a generation that does not name it stay so.
	_, err = w.applier().Apply(ctx, generation(3, w.file("a", "three"), w.file("b", "three")), false)
	var stat unix.Stat_t
	w.must(err, holds(w.path("a"), "three"), unix.Stat(w.path("a"), &stat))
	if stat.Uid != 4711 || stat.Gid != 4712 {
		w.t.Fatal("a belongs to ", stat.Uid, stat.Gid)
	}
	return 0
}

func TestVanishedOwner(t *testing.T) { newWorld(t).unshared("vanished owner") }

// A directory that its owner may not write in is not written in by root either.
func TestUnwritableDirectory(t *testing.T) {
	w := newWorld(t)
	w.write("a", "one", 0o644)
	if err := errors.Join(os.Mkdir(w.path("dir"), 0o755), os.WriteFile(w.path("dir/b"), []byte("one"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(w.path("dir"), 4711, 4712); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(w.path("dir"), 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(w.path("dir"), 0o755) })
	before := w.tree()
	_, err := w.applier().Apply(t.Context(), generation(1, w.file("a", "two"), w.file("dir/b", "two")), false)
	if err := says(err, "staging "+w.path("dir/b"), "permission denied: make the directory writable for its owner, or give it to uid"); err != nil {
		t.Error(err)
	}
	if after := w.tree(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("before %v, after %v", before, after)
	}
}

// A target that became a directory is refused before anything changes.
func TestTargetIsADirectory(t *testing.T) {
	w := newWorld(t)
	w.write("a", "one", 0o644)
	w.write("b/in", "one", 0o644)
	before := w.tree()
	_, err := w.applier().Apply(t.Context(), generation(1, w.file("a", "two"), w.file("b", "two")), false)
	if want := "target " + w.path("b") + ": " + w.path("b") + " is a directory: remove it, or name a file in it"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if after := w.tree(); fmt.Sprint(after) != fmt.Sprint(before) || w.leftovers() != nil {
		t.Errorf("before %v, after %v, left %v", before, after, w.leftovers())
	}
}

// An immutable file keeps the whole generation out.
func TestImmutableTarget(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the attribute needs root")
	}
	w := newWorld(t)
	if _, err := w.applier().Apply(t.Context(), generation(1, w.file("a", "one"), w.file("b", "one")), true); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(w.path("b"))
	if err != nil {
		t.Fatal(err)
	}
	const immutable = 0x10 // FS_IMMUTABLE_FL
	flags := func(change func(int) int) error {
		now, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		return errors.Join(err, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, change(now)))
	}
	if err := flags(func(now int) int { return now | immutable }); err != nil {
		t.Fatalf("making a file immutable: %v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(flags(func(now int) int { return now &^ immutable }), f.Close()); err != nil {
			t.Error(err)
		}
	})
	_, err = w.applier().Apply(t.Context(), generation(2, w.file("a", "two"), w.file("b", "two")), false)
	if err := says(err, "target "+w.path("b"), "operation not permitted: everything is put back", "a file may also be immutable (lsattr)"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := holds(w.path(name), "one"); err != nil {
			t.Error(err)
		}
	}
	if left := w.leftovers(); left != nil {
		t.Errorf("left: %v", left)
	}
}
