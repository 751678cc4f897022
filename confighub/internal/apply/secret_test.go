// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/render"
)

const aSecret = "correct horse battery staple"

func secret(f *render.File) { f.Secret, f.Mode = true, 0o600 }

// holding lists the files below dir that hold the secret.
func holding(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(name)
		if bytes.Contains(raw, []byte(aSecret)) {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// At no moment of any transaction is a secret in the state, which is on a disk, and what is elsewhere is for this user
// alone; when it is over there are only the targets, and what is needed to give them up.
func TestSecretsStayInMemory(t *testing.T) {
	w := newWorld(t)
	seen := map[point]bool{}
	w.fault = func(at point) {
		seen[at] = true
		if names := holding(t, w.state); names != nil {
			t.Errorf("when %s, the state holds a secret: %q", at, names)
		}
		for _, name := range append(holding(t, w.shm), holding(t, w.run)...) {
			for dir := name; dir != w.shm && dir != w.run; dir = filepath.Dir(dir) {
				info, err := os.Stat(dir)
				if err != nil || info.Mode().Perm()&0o077 != 0 && filepath.Base(filepath.Dir(dir)) != filepath.Base(w.run) {
					t.Errorf("when %s, %s is %v, %v", at, dir, info.Mode(), err)
				}
			}
		}
	}
	w.actions = map[string][]string{
		"path": {"grep", "-q", aSecret, "{{path}}"},
		"root": {"sh", "-c", `case "$0" in ` + w.shm + `/*) grep -q "` + aSecret + `" "$0$1";; *) echo "$0"; exit 1; esac`, "{{root}}", w.path("key")},
		"bad":  {"false"},
	}
	w.write("key", "the image's: "+aSecret, 0o600)
	a := w.applier()
	apply := func(serial uint64, text, action string) error {
		g := generation(serial, w.file("key", text+aSecret, secret, check("root")), w.file("other/key", text+aSecret, secret, check("path"), reload(action)))
		g.Output.Env = []string{"PASSWORD=" + text + aSecret}
		_, err := a.Apply(t.Context(), g, serial == 1)
		return err
	}
	if err := apply(1, "one ", "signal:HUP"); err != nil {
		t.Fatal(err)
	}
	if err := apply(2, "two ", "signal:HUP"); err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*RolledBack](apply(3, "three ", "bad")); !ok {
		t.Error("not rolled back")
	}
	w.write("other/key", "by hand "+aSecret, 0o600)
	if err := apply(4, "four ", "signal:HUP"); err != nil {
		t.Fatal(err)
	}
	for _, at := range []point{pointCopied, pointRooted, pointKept, pointExchanged, pointReturned, pointRemembered} {
		if !seen[at] {
			t.Errorf("%s was never passed", at)
		}
	}
	kept := holding(t, w.shm)
	if len(kept) != 2 || !strings.Contains(kept[0]+kept[1], "/"+originalsDir+"/") || !strings.Contains(kept[0]+kept[1], "/"+driftedDir+"/"+sum([]byte("by hand "+aSecret))) {
		t.Errorf("kept are %q, want the image's file and what was written by hand", kept)
	}
	if _, err := a.Apply(t.Context(), generation(5), false); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(w.path("key")); string(raw) != "the image's: "+aSecret {
		t.Errorf("the image's file is not back: %q, %v", raw, err)
	}
}

// When nothing secret is kept any more, neither is the directory.
func TestSecretsDirectoryGoes(t *testing.T) {
	w := newWorld(t)
	a := w.applier()
	for serial, text := range []string{"one", "two"} {
		g := generation(uint64(serial), w.file("key", text, secret))
		g.Output.Env = []string{"PASSWORD=" + text}
		if _, err := a.Apply(t.Context(), g, true); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(w.shm)
		if _, pointer := os.Stat(filepath.Join(w.state, tmpfsFile)); err != nil || len(entries) != 0 || pointer == nil {
			t.Errorf("left: %v, %v, %v", entries, err, pointer)
		}
	}
}

func TestWhereSecretsAreKept(t *testing.T) {
	onDisk := t.TempDir()
	memory := newMemory(t)
	squatted := func(w *world) {
		name := filepath.Join(memory, "squatted")
		if err := errors.Join(os.Mkdir(name, 0o755), os.WriteFile(filepath.Join(w.state, tmpfsFile), []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	linked := func(w *world) {
		name := filepath.Join(memory, "linked")
		if err := errors.Join(os.Symlink(onDisk, name), os.WriteFile(filepath.Join(w.state, tmpfsFile), []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, run, shm string
		before         func(*world)
		within         string
		warned         bool
	}{
		{"run directory on a tmpfs", newMemory(t), memory, nil, "", false},
		{"shared memory", onDisk, memory, nil, memory, false},
		{"no tmpfs", onDisk, onDisk, nil, onDisk, true},
		{"none at all", onDisk, "/nowhere", nil, onDisk, true},
		{"a directory of others", onDisk, memory, squatted, memory, false},
		{"a link", onDisk, memory, linked, memory, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			var log bytes.Buffer
			w.run, w.shm, w.log = tt.run, tt.shm, zerolog.New(&log)
			w.control.run = w.run
			w.control.start()
			w.write("key", "image", 0o600)
			if tt.before != nil {
				tt.before(w)
			}
			if tt.within == "" {
				tt.within = tt.run
			}
			a := w.applier()
			if _, err := a.Apply(t.Context(), generation(1, w.file("key", aSecret, secret)), true); err != nil {
				t.Fatal(err)
			}
			dir := a.knownSecretDir()
			if raw, err := os.ReadFile(filepath.Join(dir, originalsDir, sum([]byte("image")))); filepath.Dir(dir) != tt.within || string(raw) != "image" {
				t.Errorf("kept in %q, want it in %s: %q, %v", dir, tt.within, raw, err)
			}
			if warned := strings.Count(log.String(), "no tmpfs can be written to"); (warned == 1) != tt.warned || warned > 1 {
				t.Errorf("warned %d times: %s", warned, &log)
			}
			if _, err := w.applier().Apply(t.Context(), generation(2), true); err != nil {
				t.Fatal(err)
			}
			if raw, err := os.ReadFile(w.path("key")); string(raw) != "image" {
				t.Errorf("the image's file is not back: %q, %v", raw, err)
			}
		})
	}
}

// A target that becomes secret, or is no longer, still gives back what it was.
func TestSecretsComeAndGo(t *testing.T) {
	for _, first := range []bool{false, true} {
		w := newWorld(t)
		w.write("key", "image", 0o600)
		a := w.applier()
		for n, is := range []bool{first, !first} {
			g := generation(uint64(n), w.file("key", "text "+strconv.Itoa(n)))
			g.Output.Files[0].Secret = is
			if _, err := a.Apply(t.Context(), g, true); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := a.Apply(t.Context(), generation(3), true); err != nil {
			t.Fatal(err)
		}
		if err := holds(w.path("key"), "image"); err != nil || a.knownSecretDir() != "" {
			t.Errorf("%v, kept in %q", err, a.knownSecretDir())
		}
	}
}
