// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/render"
)

func TestFirst(t *testing.T) {
	w := newWorld(t)
	w.write("old.conf", "image", 0o640)
	g := generation(1,
		w.file("a.conf", "one"), w.file("deep/er/b.conf", "two", func(f *render.File) { f.Mode = 0o600 }),
		w.file("old.conf", "three"), w.file("once.conf", "four", func(f *render.File) { f.Once = true }))
	g.Output.Env = []string{"A=1", "B=x\ny"}
	outcome, err := w.applier().Apply(t.Context(), g, true)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a.conf": "-rw-r--r-- one", "deep/er/b.conf": "-rw------- two", "old.conf": "-rw-r--r-- three", "once.conf": "-rw-r--r-- four"}
	if diff := cmp.Diff(want, w.tree()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{w.path("a.conf"), w.path("deep/er/b.conf"), w.path("old.conf"), w.path("once.conf"), filepath.Join(w.run, "service.env")}, outcome.Changed); diff != "" {
		t.Error(diff)
	}
	env, err := os.ReadFile(filepath.Join(w.run, "service.env"))
	if err != nil || string(env) != "A=1\x00B=x\ny\x00" {
		t.Errorf("service.env is %q, %v", env, err)
	}
	if asked := w.control.requests(); asked != nil {
		t.Errorf("a first generation asked hubinit for %v", asked)
	}
	if left := w.leftovers(); left != nil {
		t.Errorf("left: %v", left)
	}
}

// A full or broken state directory does not keep a service from its first start.
func TestFirstWithoutState(t *testing.T) {
	w := newWorld(t)
	w.write("a", "image", 0o640)
	w.actions = map[string][]string{"tree": {"grep", "-q", "one", "{{root}}" + w.path("a")}}
	if err := errors.Join(os.Remove(w.state), os.WriteFile(w.state, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	a := w.applier()
	if _, err := a.Apply(t.Context(), generation(1, w.file("a", "one", check("tree"))), true); err != nil {
		t.Fatal(err)
	}
	one := map[string]string{"a": "-rw-r--r-- one"}
	if diff := cmp.Diff(one, w.tree()); diff != "" {
		t.Error(diff)
	}
	if _, err := a.Apply(t.Context(), generation(2, w.file("a", "two", check("tree"))), false); err == nil {
		t.Error("a running service was given files without a way back")
	}
	if diff := cmp.Diff(one, w.tree()); diff != "" {
		t.Error(diff)
	}
	// Once there is room again, what the image had is still known.
	if err := errors.Join(os.Remove(w.state), os.Mkdir(w.state, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Apply(t.Context(), generation(1, w.file("a", "one")), false); err != nil {
		t.Fatal(err)
	}
	if _, err := w.applier().Apply(t.Context(), generation(3), false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "-rw-r----- image"}, w.tree()); diff != "" {
		t.Error(diff)
	}
}

// Even then a swap that fails half way is put back, from memory.
func TestFirstWithoutStateFails(t *testing.T) {
	w := newWorld(t)
	w.write("a", "image", 0o640)
	if err := errors.Join(os.Remove(w.state), os.WriteFile(w.state, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	w.fault = func(at point) {
		if staged, _ := filepath.Glob(w.path(".b.hub-*")); at == pointSwappedOne && os.Remove(staged[0]) != nil {
			t.Error("nothing is staged")
		}
	}
	_, err := w.applier().Apply(t.Context(), generation(1, w.file("a", "one"), w.file("b", "one")), true)
	if err == nil || !strings.HasSuffix(err.Error(), "no such file or directory: everything is put back") {
		t.Fatalf("got %v, want everything put back", err)
	}
	if diff := cmp.Diff(map[string]string{"a": "-rw-r----- image"}, w.tree()); diff != "" {
		t.Error(diff)
	}
}
