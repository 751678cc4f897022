// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"fmt"
	"testing"
	"testing/fstest"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
)

// BenchmarkUnchanged is a pass over a bundle of which nothing has changed: its targets are rendered, and each is compared
// with what is on the disk, content, mode and owner.
func BenchmarkUnchanged(b *testing.B) {
	for _, targets := range []int{1, 20} {
		b.Run(fmt.Sprintf("targets=%d", targets), func(b *testing.B) {
			w := newWorld(b)
			bundled := manyTargets(b, w, targets)
			a := w.applier()
			next := func() Generation {
				out, err := render.Render(bundled, render.Inputs{})
				if err != nil {
					b.Fatal(err)
				}
				return Generation{Version: bundle.Version{Serial: 1, Digest: "d"}, Output: out}
			}
			if _, err := a.Apply(context.Background(), next(), true); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				p, err := a.plan(next(), a.targets)
				if err != nil || len(p.changes) != 0 {
					b.Fatalf("%d changes, %v", len(p.changes), err)
				}
				p.close()
			}
		})
	}
}

// manyTargets is a bundle with n targets of a template of its own each, 20 lines with values.
func manyTargets(b *testing.B, w *world, n int) *bundle.Bundle {
	files := fstest.MapFS{"data/a.json": {Data: []byte(`{"host": "10.0.0.1", "port": 8080, "names": ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]}`)}}
	targets := ""
	for i := range n {
		files[fmt.Sprintf("templates/t%d", i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "# %d\n{{#names}}\nserver {{.}} {{host}}:{{port}};\nweight {{@index}};\n{{/names}}\n", i)}
		targets += fmt.Sprintf(", %q: {\"template\": \"t%d\"}", w.path(fmt.Sprintf("t%d.conf", i)), i)
	}
	files["bundle.json"] = &fstest.MapFile{Data: []byte(`{"targets": {` + targets[2:] + `}}`)}
	read, err := bundle.Read(files)
	if err != nil {
		b.Fatal(err)
	}
	return read
}
