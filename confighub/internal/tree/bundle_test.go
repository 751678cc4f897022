// SPDX-License-Identifier: AGPL-3.0-or-later

package tree_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/tree"
)

// TestBundle holds that a bundle for people is the one that is published, with what its values prevailed over.
func TestBundle(t *testing.T) {
	root := write(t, shop())
	read, err := tree.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"db.shop.vm1", "web.blog.vm2", "web.shop.vm2", "web.shop.vm1"}, read.Placed(), cmp.Transformer("set", set)); diff != "" {
		t.Errorf("placed (-want +got):\n%s", diff)
	}
	if unplaced := read.Unplaced(); len(unplaced) > 0 {
		t.Errorf("all is placed, and not %v", unplaced)
	}
	put(t, root, "services/cache/data/a.json", "{}")
	put(t, root, "stacks/blog/services/db/data/a.json", "{}")
	put(t, root, "hosts/vm3/stacks/shop/services/web/data/a.json", "{}")
	if read, err = tree.Read(root); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"hosts/vm3/stacks/shop/services/web", "services/cache", "stacks/blog/services/db"}, read.Unplaced()); diff != "" {
		t.Errorf("unplaced (-want +got):\n%s", diff)
	}
	for name, published := range compile(t, root) {
		b, err := read.Bundle(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(published.Data, b.Data) + cmp.Diff(published.Manifest, b.Manifest) + cmp.Diff(published.Templates, b.Templates); diff != "" {
			t.Errorf("%s (-published +read):\n%s", name, diff)
		}
	}
	b, err := read.Bundle("web.shop.vm1")
	if err != nil {
		t.Fatal(err)
	}
	level, ok := b.Origins.Value("/level")
	if !ok || level.String() != "hosts/vm1/stacks/shop/services/web/data/x.json:1" || len(level.Replaced) != 5 {
		t.Errorf("level is of %s, over %v", level, level.Replaced)
	}
	for name, want := range map[string]string{
		"cache.shop.vm1": `cache.shop.vm1 is not placed: add the service in hosts/vm1/host.json: {"stacks": {"shop": {"services": ["cache","db","web"]}}}`,
		"web":            `name "web": must be <service>.<stack>.<host>, host.<host>, genesis.<kind> or operator.<name>`,
	} {
		if _, err := read.Bundle(name); err == nil || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func set(names []string) map[string]bool {
	all := map[string]bool{}
	for _, name := range names {
		all[name] = true
	}
	return all
}
