// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/render"
)

// whats lists what drifted.
func whats(drifts []Drift) []string {
	var list []string
	for _, d := range drifts {
		list = append(list, filepath.Base(d.Target)+" "+d.What)
	}
	return list
}

// By default, and to repair, a generation writes over what was done by hand, and keeps the last ten such files.
func TestDriftIsWrittenOver(t *testing.T) {
	for _, policy := range []string{"", DriftReport, DriftRepair} {
		t.Run("policy "+policy, func(t *testing.T) {
			w := withOne(t)
			w.drift = policy
			a := w.applier()
			for n := range 12 {
				if err := os.WriteFile(w.path("a"), fmt.Appendf(nil, "by hand %d", n), 0o600); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]string{"a content"}, whats(a.Drift())); diff != "" {
					t.Error(diff)
				}
				outcome, err := a.Apply(t.Context(), generation(1, w.file("a", "one", reload("signal:HUP"))), false)
				if err != nil || !slices.Equal(outcome.Changed, []string{w.path("a")}) || !slices.Equal(outcome.Reloads, []string{"signal:HUP"}) {
					t.Fatalf("got %+v, %v", outcome, err)
				}
				if err := holds(w.path("a"), "one"); err != nil || a.Drift() != nil || a.Kept() != nil {
					t.Error(err, a.Drift(), a.Kept())
				}
			}
			if err := holds(filepath.Join(w.state, driftedDir, sum([]byte("by hand 11"))), "by hand 11"); err != nil {
				t.Error(err)
			}
			kept, err := os.ReadDir(filepath.Join(w.state, driftedDir))
			if err != nil || len(kept) != maxDrifted {
				t.Errorf("%d files are kept, %v", len(kept), err)
			}
		})
	}
}

// Kept, it stays whatever comes, until it is what was written, or what is to be, or is removed.
func TestDriftIsKept(t *testing.T) {
	for _, tt := range []struct {
		name            string
		change, resolve func(w *world) error
		drift           string
		// kept is what stays, resolved what the next generation makes of it.
		kept, resolved map[string]string
	}{
		{"content, taken back", func(w *world) error { return os.WriteFile(w.path("a"), []byte("by hand"), 0o644) },
			func(w *world) error { return os.WriteFile(w.path("a"), []byte("one"), 0o644) }, "a content",
			map[string]string{"a": "-rw-r--r-- by hand", "b": "-rw-r--r-- two"}, map[string]string{"a": "-rw-r--r-- three", "b": "-rw-r--r-- three"}},
		{"content, removed", func(w *world) error { return os.WriteFile(w.path("a"), []byte("by hand"), 0o644) },
			func(w *world) error { return os.Remove(w.path("a")) }, "a content",
			map[string]string{"a": "-rw-r--r-- by hand", "b": "-rw-r--r-- two"}, map[string]string{"a": "-rw-r--r-- three", "b": "-rw-r--r-- three"}},
		{"content, right by itself", func(w *world) error { return os.WriteFile(w.path("a"), []byte("by hand"), 0o644) },
			func(w *world) error { return os.WriteFile(w.path("a"), []byte("three"), 0o644) }, "a content",
			map[string]string{"a": "-rw-r--r-- by hand", "b": "-rw-r--r-- two"}, map[string]string{"a": "-rw-r--r-- three", "b": "-rw-r--r-- three"}},
		{"mode", func(w *world) error { return os.Chmod(w.path("a"), 0o600) },
			func(w *world) error { return os.Chmod(w.path("a"), 0o644) }, "a mode",
			map[string]string{"a": "-rw------- two", "b": "-rw-r--r-- two"}, map[string]string{"a": "-rw-r--r-- three", "b": "-rw-r--r-- three"}},
		{"type", func(w *world) error { return errors.Join(os.Remove(w.path("a")), syscall.Mkfifo(w.path("a"), 0o644)) },
			func(w *world) error { return os.Remove(w.path("a")) }, "a type",
			map[string]string{"a": "prw-r--r-- ", "b": "-rw-r--r-- two"}, map[string]string{"a": "-rw-r--r-- three", "b": "-rw-r--r-- three"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.drift = DriftKeep
			a := w.applier()
			apply := func(n uint64, text string) {
				t.Helper()
				if _, err := a.Apply(t.Context(), generation(n, w.file("a", text), w.file("b", text)), false); err != nil {
					t.Fatal(err)
				}
			}
			apply(1, "one")
			if err := tt.change(w); err != nil {
				t.Fatal(err)
			}
			for _, after := range []string{"", "two", "two"} {
				if a = w.applier(); after != "" {
					apply(2, after)
					if diff := cmp.Diff(tt.kept, w.tree()); diff != "" {
						t.Error(diff)
					}
				}
				if diff := cmp.Diff([]string{tt.drift}, whats(a.Kept())); diff != "" || a.Drift() != nil {
					t.Errorf("%s and %+v", diff, a.Drift())
				}
			}
			if err := tt.resolve(w); err != nil {
				t.Fatal(err)
			}
			apply(3, "three")
			if diff := cmp.Diff(tt.resolved, w.tree()); diff != "" || a.Drift() != nil || a.Kept() != nil {
				t.Error(diff, a.Drift(), a.Kept())
			}
		})
	}
}

// A target that is missing is written again under every policy, and what others are checked with is what stays.
func TestDriftKeepsForChecks(t *testing.T) {
	w := withOne(t)
	w.drift = DriftKeep
	a := w.applier()
	if err := os.Remove(w.path("a")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a missing"}, whats(a.Drift())); diff != "" || a.Kept() != nil {
		t.Error(diff, a.Kept())
	}
	if _, err := a.Apply(t.Context(), generation(1, w.file("a", "one")), false); err != nil || holds(w.path("a"), "one") != nil {
		t.Error(err, w.tree())
	}
	w.write("a", "by hand", 0o644)
	w.actions = map[string][]string{"whole": {"sh", "-c", `test "$(cat "$0` + w.path("a") + `")" = "by hand"`, "{{root}}"}}
	a = w.applier()
	if _, err := a.Apply(t.Context(), generation(2, w.file("a", "two"), w.file("b", "two", check("whole"))), false); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "-rw-r--r-- by hand", "b": "-rw-r--r-- two"}, w.tree()); diff != "" {
		t.Error(diff)
	}
}

// elsewhere is a child in which the targets are on another file system, as in another container of the same image.
func elsewhere(base string) int {
	w := inside(base)
	w.drift = DriftKeep
	ctx := context.Background()
	g := generation(1, w.file("a", "one"), w.file("key", "one", secret))
	_, err := w.applier().Apply(ctx, g, true)
	w.must(err, syscall.Mount("another container", w.etc, "tmpfs", 0, ""))
	w.write("a", "the newer image's", 0o644)
	w.write("key", "the newer image's", 0o644)
	a := w.applier()
	_, err = a.Apply(ctx, g, true)
	w.must(err, holds(w.path("a"), "one"), holds(w.path("key"), "one"))
	if a.Drift() != nil || a.Kept() != nil {
		w.t.Fatal("drifted: ", a.Drift(), a.Kept())
	}
	if _, err := os.Stat(filepath.Join(w.state, driftedDir)); err == nil {
		w.t.Fatal("the image's file is taken for one that was changed by hand")
	}
	_, err = a.Apply(ctx, generation(2), true)
	w.must(err, holds(w.path("a"), "the newer image's"), holds(w.path("key"), "the newer image's"))
	return 0
}

// What another container of a newer image brings was changed by nobody: it is written over, and comes back.
func TestAnotherContainerIsNoDrift(t *testing.T) { newWorld(t).unshared("elsewhere") }

// Under another owner a file is written, and stays its owner's.
func TestDriftOfOwnerIsKept(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a file away needs root")
	}
	w := newWorld(t)
	w.drift = DriftKeep
	a := w.applier()
	owned := func(f *render.File) { f.Owner = "0:0" }
	for n, text := range []string{"one", "two"} {
		if _, err := a.Apply(t.Context(), generation(uint64(n), w.file("a", text, owned)), true); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(w.path("a"), 4711, 4712); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Apply(t.Context(), generation(3, w.file("a", "three", owned)), true); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(w.path("a"))
	if err := errors.Join(err, holds(w.path("a"), "three")); err != nil || info.Sys().(*syscall.Stat_t).Uid != 4711 {
		t.Error(err, info)
	}
	if diff := cmp.Diff([]string{"a owner"}, whats(a.Kept())); diff != "" {
		t.Error(diff)
	}
}
