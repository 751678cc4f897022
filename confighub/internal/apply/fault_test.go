// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// faulty makes system calls of some kinds fail: the n-th of them, or from that one on.
type faulty struct {
	errno   unix.Errno
	kinds   []operation
	left    int
	lasting bool
	hit     bool
}

func (f *faulty) inject(op operation, name string) error {
	if !slices.Contains(f.kinds, op) {
		return nil
	}
	f.left--
	if f.left == 0 || f.left < 0 && f.lasting {
		f.hit = true
		return f.errno
	}
	return nil
}

// Whatever write fails, once or from then on: either nothing changed, or everything is in place; the error says where
// and what to do; and once the trouble is over the same generation goes in, with nothing left over.
func TestEveryWriteFails(t *testing.T) {
	for _, tt := range []struct {
		name   string
		errno  unix.Errno
		kinds  []operation
		advice string
	}{
		{"full disk", unix.ENOSPC, []operation{opCreate, opWrite, opMkdir}, "no space left on device|: make room on that file system"},
		{"failing sync", unix.EIO, []operation{opSync}, "input/output error|: the device fails: the kernel's log says how"},
		{"failing device", unix.EIO, []operation{opWrite, opRename}, "input/output error|: the device fails: the kernel's log says how"},
		{"read-only", unix.EROFS, []operation{opCreate, opMkdir, opRename, opWrite}, "read-only file system|: mount a volume or a tmpfs there, or take the target out of the bundle"},
		{"not permitted", unix.EPERM, []operation{opCreate, opRename}, "operation not permitted|: make the directory writable for its owner"},
		{"busy without a mount", unix.EBUSY, []operation{opRename}, "device or resource busy"},
		{"no removing", unix.EPERM, []operation{opRemove}, ""},
	} {
		for _, lasting := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, lasting %v", tt.name, lasting), func(t *testing.T) {
				t.Parallel()
				w := newFaulty(t)
				for n, hit := 1, true; hit; n++ {
					f := &faulty{tt.errno, tt.kinds, n, lasting, false}
					w.fails(f, tt.advice)
					if hit = f.hit; n > 200 {
						t.Fatal("it fails for ever")
					}
				}
			})
		}
	}
}

// newFaulty has a target of each kind.
func newFaulty(t *testing.T) *world {
	w := newWorld(t)
	w.volatile = true
	w.actions = map[string][]string{"whole": {"test", "-s", "{{root}}" + w.path("a")}}
	w.write("image", "image", 0o640)
	return w
}

func (w *world) faultyGeneration(n uint64) Generation {
	text := fmt.Sprint("generation ", n)
	g := generation(n, w.file("a", text, reload("signal:HUP")), w.file(fmt.Sprintf("made-%d/b", n), text), w.file("key", text, secret))
	if n == 1 {
		g = generation(n, append(g.Output.Files, w.file("image", text))...)
	}
	if n == 2 {
		g.Output.Files[0].Check.Name = "whole"
	}
	g.Output.Env = []string{"TEXT=" + text}
	return g
}

// fails applies generation one and then, with faults, two.
func (w *world) fails(f *faulty, advice string) {
	w.t.Helper()
	w.inject = nil
	a := w.applier()
	if _, err := a.Apply(w.t.Context(), w.faultyGeneration(1), false); err != nil {
		w.t.Fatal(err)
	}
	one := w.files()
	w.inject = f.inject
	a = w.applier()
	if _, err := a.Recover(); err != nil {
		w.t.Fatal(err)
	}
	_, err := a.Apply(w.t.Context(), w.faultyGeneration(2), false)
	got := w.files()
	inPlace := strings.Contains(got["etc/a"], "generation 2")
	if a.stuck != nil {
		if !f.lasting || err == nil || !a.Owed() {
			w.t.Errorf("%+v: %v: it was not put back, though it could be", f, err)
		}
	} else if !inPlace {
		if diff := cmp.Diff(one, got); diff != "" {
			w.t.Errorf("%+v: %v: things changed: %s", f, err, diff)
		}
		if err == nil {
			w.t.Errorf("%+v: no error, and nothing is in place", f)
		}
	} else if err != nil && a.unrecorded == nil {
		w.t.Errorf("%+v: it is in place, with %v", f, err)
	}
	what, advice, _ := strings.Cut(advice, "|")
	if err != nil && (!strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), advice) || !strings.Contains(err.Error(), filepath.Dir(w.etc)) && !strings.Contains(err.Error(), w.shm)) {
		w.t.Errorf("%+v: the error does not say where, or what to do: %v", f, err)
	}
	if _, ok := errors.AsType[*RolledBack](err); ok {
		w.t.Errorf("%+v: the machine's trouble is held against the generation: %v", f, err)
	}
	f.kinds = nil
	for n := uint64(2); n < 4; n++ {
		if _, err := a.Apply(w.t.Context(), w.faultyGeneration(n), false); err != nil {
			w.t.Fatalf("%+v: once the trouble is over: %v", f, err)
		}
	}
	if got := w.files(); !strings.Contains(got["etc/a"], "generation 3") || got["etc/image"] != "-rw-r----- image" || len(got) != len(one)-1+1 {
		w.t.Errorf("%+v: not whole afterwards: %v", f, got)
	}
	if drifts := a.Drift(); drifts != nil || a.Owed() {
		w.t.Errorf("%+v: %+v, owed %v", f, drifts, a.Owed())
	}
}

// files is the tree and the environment, without what could not be removed.
func (w *world) files() map[string]string {
	files := map[string]string{}
	for name, text := range w.tree() {
		if !strings.Contains(name, ".hub-") {
			files["etc/"+name] = text
		}
	}
	env, err := os.ReadFile(filepath.Join(w.run, envFile))
	if err != nil {
		w.t.Fatal(err)
	}
	files["env"] = string(env)
	return files
}

// A file system that cannot exchange two files, as some network file systems, is given a copy of the old one.
func TestNoExchange(t *testing.T) {
	w := newFaulty(t)
	w.actions["bad"] = []string{"false"}
	exchanges := 0
	w.inject = func(op operation, name string) error {
		if op == opExchange {
			exchanges++
			return unix.EINVAL
		}
		return nil
	}
	a := w.applier()
	for n, text := range []string{"one", "two"} {
		if _, err := a.Apply(t.Context(), generation(uint64(n), w.file("a", text), w.file("b", text)), true); err != nil {
			t.Fatal(err)
		}
	}
	before := w.tree()
	if before["a"] != "-rw-r--r-- two" {
		t.Errorf("in place is %v", before)
	}
	exchanges = 0
	_, err := a.Apply(t.Context(), generation(3, w.file("a", "three", reload("bad")), w.file("b", "three")), false)
	if _, ok := errors.AsType[*RolledBack](err); !ok || exchanges != 2 {
		t.Errorf("got %v after %d exchanges, want it rolled back", err, exchanges)
	}
	if diff := cmp.Diff(before, w.tree()); diff != "" {
		t.Error(diff)
	}
	if left := w.leftovers(); left != nil {
		t.Errorf("left: %v", left)
	}
}

// Nor is what somebody writes meanwhile lost there.
func TestNoExchangeChangedMeanwhile(t *testing.T) {
	w := withOne(t)
	w.inject = func(op operation, _ string) error {
		if op == opExchange {
			return unix.EINVAL
		}
		return nil
	}
	w.fault = at("journaled", func(point) { w.write("a", "by hand", 0o644) })
	_, err := w.applier().Apply(t.Context(), generation(2, w.file("a", "two")), false)
	if err := errors.Join(says(err, "target "+w.path("a"), "was changed by somebody else meanwhile"), holds(w.path("a"), "by hand")); err != nil {
		t.Error(err)
	}
	if left := w.leftovers(); left != nil {
		t.Errorf("left: %v", left)
	}
}

// What happens to a target between its plan and its swap is not lost, and the generation is put back whole.
func TestChangedMeanwhile(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(w *world) error
		want   map[string]string
		says   string
	}{
		{"written", func(w *world) error { return os.WriteFile(w.path("d/b"), []byte("by hand"), 0o644) },
			map[string]string{"d/b": "-rw-r--r-- by hand"}, "was changed by somebody else meanwhile"},
		{"removed", func(w *world) error { return os.Remove(w.path("d/b")) }, map[string]string{}, "no such file or directory"},
		{"made a directory", func(w *world) error {
			return errors.Join(os.Remove(w.path("d/b")), os.Mkdir(w.path("d/b"), 0o755), os.WriteFile(w.path("d/b/in"), []byte("x"), 0o644))
		}, map[string]string{"d/b/in": "-rw-r--r-- x"}, "was changed by somebody else meanwhile"},
		{"made a link", func(w *world) error {
			return errors.Join(os.Remove(w.path("d/b")), os.Symlink("../a", w.path("d/b")))
		}, map[string]string{"d/b": "Lrwxrwxrwx "}, "was changed by somebody else meanwhile"},
		{"directory removed", func(w *world) error { return os.RemoveAll(w.path("d")) }, map[string]string{}, "no such file or directory"},
		{"appeared", func(w *world) error { return os.WriteFile(w.path("new"), []byte("by hand"), 0o644) },
			map[string]string{"d/b": "-rw-r--r-- one", "new": "-rw-r--r-- by hand"}, "was changed by somebody else meanwhile"},
		{"leaving one written", func(w *world) error { return os.WriteFile(w.path("leaves"), []byte("by hand"), 0o644) },
			map[string]string{"d/b": "-rw-r--r-- one", "leaves": "-rw-r--r-- by hand"}, "was changed by somebody else meanwhile"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.applier()
			if _, err := a.Apply(t.Context(), generation(1, w.file("a", "one"), w.file("d/b", "one"), w.file("leaves", "one")), true); err != nil {
				t.Fatal(err)
			}
			w.fault = at("journaled", func(point) {
				if err := tt.change(w); err != nil {
					t.Error(err)
				}
			})
			a = w.applier()
			_, err := a.Apply(t.Context(), generation(2, w.file("a", "two", reload("signal:HUP")), w.file("d/b", "two"), w.file("new", "two")), false)
			if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.HasPrefix(err.Error(), "target "+w.etc) {
				t.Errorf("got %v, want that the target %s", err, tt.says)
			}
			want := map[string]string{"a": "-rw-r--r-- one", "leaves": "-rw-r--r-- one"}
			maps.Copy(want, tt.want)
			if diff := cmp.Diff(want, w.tree()); diff != "" {
				t.Error(diff)
			}
			if left := w.leftovers(); left != nil {
				t.Errorf("left: %v", left)
			}
			if diff := cmp.Diff([]string{"hold", "release"}, w.control.requests()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
