// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"cloud4.internal/hub/internal/hubfile"
)

// place is what the origin of a problem must look like: every one in a file has its line.
var place = regexp.MustCompile(`^(hub\.json(:[1-9][0-9]*)?|hub\.d/a\.json:[1-9][0-9]*|HUB_[A-Z_]+)$`)

// FuzzLoad feeds settings, a drop-in and a variable: whatever they are, Load returns, and every problem has a place and
// fits on a line.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.txtar", "testdata/bad/*.txtar"} {
		seeds, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, seed := range seeds {
			ar, err := txtar.ParseFile(seed)
			if err != nil {
				f.Fatal(err)
			}
			for _, file := range ar.Files {
				if filepath.Ext(file.Name) == ".json" {
					f.Add(file.Data, []byte(`{"health": {"checks": {"page": null}}}`), "1s")
					f.Add([]byte(`{"health": {"checks": {"page": {}}}}`), file.Data, "x")
				}
			}
		}
	}
	dir := f.TempDir()
	if ram, err := os.MkdirTemp("/dev/shm", "hubfile"); err == nil { // a disk is slower than what is tested
		f.Cleanup(func() { os.RemoveAll(ram) })
		dir = ram
	}
	path, dropIn := filepath.Join(dir, "hub.json"), filepath.Join(dir, "hub.d", "a.json")
	if err := os.Mkdir(filepath.Dir(dropIn), 0o755); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, base, patch []byte, variable string) {
		for name, data := range map[string][]byte{path: base, dropIn: patch} {
			if err := os.WriteFile(name, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		_, _, asked := sections()
		_, err := hubfile.Load(hubfile.Source{Path: path, Environ: []string{"HUB_HEALTH_EVERY=" + variable}}, asked...)
		var problems hubfile.Problems
		if err != nil && !errors.As(err, &problems) {
			t.Fatalf("want Problems, got %v", err)
		}
		for _, problem := range problems {
			if !place.MatchString(problem.Origin) {
				t.Errorf("no place: %q", problem.Origin)
			}
			for _, r := range problem.String() {
				if r < ' ' || r == 0x7f {
					t.Fatalf("control character in %q", problem.String())
				}
			}
		}
	})
}
