// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cloud4.internal/hub/confighub/internal/tree"
)

// Containers with equal bundles share the bytes of one, also after a restart.
func TestEqualBundlesAreOne(t *testing.T) {
	root, state := t.TempDir(), t.TempDir()
	put := func(name, text string) {
		t.Helper()
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for host := range 3 {
		put(fmt.Sprintf("hosts/vm%d/host.json", host), `{"stacks": {"shop": {"services": ["web", "db"]}}}`)
	}
	put("services/db/data/db.json", `{"db": 1}`)
	put("hosts/vm2/stacks/shop/services/web/data/web.json", `{"page": "own"}`)
	published, err := OpenPublication(state)
	if err != nil {
		t.Fatal(err)
	}
	var compiler tree.Compiler
	check := func(p *Publication, what string) {
		t.Helper()
		if len(p.entries) != 6 {
			t.Fatalf("%s: %d entries", what, len(p.entries))
		}
		for _, same := range [][2]string{{"web.shop.vm0", "web.shop.vm1"}, {"db.shop.vm0", "db.shop.vm1"}, {"db.shop.vm0", "db.shop.vm2"}} {
			if p.entries[same[0]].blob != p.entries[same[1]].blob {
				t.Errorf("%s: %s and %s have bundles of their own", what, same[0], same[1])
			}
		}
		if p.entries["web.shop.vm0"].blob == p.entries["web.shop.vm2"].blob {
			t.Errorf("%s: different bundles are one", what)
		}
	}
	publish := func() {
		t.Helper()
		read, err := tree.Read(root)
		if err != nil {
			t.Fatal(err)
		}
		blobs, err := compiler.Compile(read)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := published.Publish(read, blobs, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	check(published, "at first")
	put("services/web/data/page.json", `{"title": "new"}`)
	publish()
	check(published, "after a change")
	if published.entries["web.shop.vm0"].before != published.entries["web.shop.vm1"].before {
		t.Error("the bundles before are not shared")
	}
	again, err := OpenPublication(state)
	if err != nil {
		t.Fatal(err)
	}
	check(again, "after a restart")
}
