// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/render"
)

func TestDrift(t *testing.T) {
	tests := []struct {
		name   string
		change func(*world) error
		want   []string
	}{
		{"nothing", func(*world) error { return nil }, nil},
		{"content", func(w *world) error { return os.WriteFile(w.path("d/a"), []byte("two"), 0o644) }, []string{driftContent}},
		{"mode", func(w *world) error { return os.Chmod(w.path("d/a"), 0o600) }, []string{driftMode}},
		{"missing", func(w *world) error { return os.Remove(w.path("d/a")) }, []string{driftMissing}},
		{"directory missing", func(w *world) error { return os.RemoveAll(w.path("d")) }, []string{driftMissing}},
		{"link", func(w *world) error {
			return errors.Join(os.Remove(w.path("d/a")), os.Symlink("/etc/hostname", w.path("d/a")))
		}, []string{driftType}},
		{"link above", func(w *world) error {
			return errors.Join(os.Rename(w.path("d"), w.path("e")), os.Symlink("e", w.path("d")))
		}, []string{driftType}},
		{"pipe", func(w *world) error {
			return errors.Join(os.Remove(w.path("d/a")), syscall.Mkfifo(w.path("d/a"), 0o644))
		}, []string{driftType}},
		{"both", func(w *world) error {
			return errors.Join(os.WriteFile(w.path("d/a"), nil, 0o644), os.Chmod(w.path("d/a"), 0o640))
		}, []string{driftContent, driftMode}},
		{"once", func(w *world) error { return os.WriteFile(w.path("once"), nil, 0o644) }, nil},
		{"same bytes anew", func(w *world) error {
			return errors.Join(os.Remove(w.path("d/a")), os.WriteFile(w.path("d/a"), []byte("one"), 0o644))
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			once := func(f *render.File) { f.Once = true }
			g := generation(1, w.file("d/a", "one"), w.file("once", "one", once))
			g.Output.Env = []string{"A=1"}
			a := w.applier()
			if _, err := a.Apply(t.Context(), g, true); err != nil {
				t.Fatal(err)
			}
			if err := tt.change(w); err != nil {
				t.Fatal(err)
			}
			for name, a := range map[string]*Applier{"running": a, "started anew": w.applier(), "running on": a} {
				var got []string
				for _, drift := range a.Drift() {
					got = append(got, drift.What)
					if drift.Target != w.path("d/a") || drift.Detail == "" {
						t.Errorf("%s: %+v", name, drift)
					}
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
			}
		})
	}
}

func TestDriftOfOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a file away needs root")
	}
	w := newWorld(t)
	a := w.applier()
	if _, err := a.Apply(t.Context(), generation(1, w.file("a", "one")), true); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(w.path("a"), 4711, 4712); err != nil {
		t.Fatal(err)
	}
	want := []Drift{{Target: w.path("a"), What: driftOwner, Detail: "belongs to 4711:4712, was written for 0:0"}}
	if diff := cmp.Diff(want, a.Drift()); diff != "" {
		t.Error(diff)
	}
}

// A file that nobody touched is not read again, and one that was touched is, even when its size and times are as before.
func TestDriftIsCheap(t *testing.T) {
	w := newWorld(t)
	a := w.applier()
	if _, err := a.Apply(t.Context(), generation(1, w.file("a", "one")), true); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(w.path("a"))
	if err != nil {
		t.Fatal(err)
	}
	// A look at a file that was changed this moment is not relied upon.
	if a.Drift(); len(a.looks) != 0 {
		t.Error("a fresh file's look is kept")
	}
	deadline := time.Now().Add(30 * time.Second)
	for a.Drift(); len(a.looks) == 0; a.Drift() {
		if time.Now().After(deadline) {
			t.Fatal("a file that nobody touches is read again and again")
		}
		time.Sleep(50 * time.Millisecond)
	}
	known := a.looks[w.path("a")]
	known.sum = "not read"
	a.looks[w.path("a")] = known
	if drifts := a.Drift(); len(drifts) != 1 || drifts[0].What != driftContent {
		t.Errorf("it was read again: %+v", drifts)
	}
	if err := errors.Join(os.WriteFile(w.path("a"), []byte("two"), 0o644), os.Chtimes(w.path("a"), info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	if drifts := a.Drift(); len(drifts) != 1 || drifts[0].What != driftContent || len(a.looks) != 0 {
		t.Errorf("a change under the old times goes unseen: %+v, %+v", drifts, a.looks)
	}
}
