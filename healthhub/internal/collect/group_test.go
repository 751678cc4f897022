// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"testing"
	"testing/synctest"

	"cloud4.internal/hub/healthhub/internal/manifest"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/spiffe"
)

// Of replicas that say how many they need, and of groups, some may fail; criticality tempers what is left.
func TestGroupsAndCriticality(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := must(spiffe.ForContainer(td, "vm1", "shop", "cache", ""))
		list := &manifest.List{Containers: map[string]manifest.Container{
			"web.shop.vm1":   {Replicas: 2, Need: 1},
			"db.shop.vm1":    {Group: "store"},
			"cache.shop.vm1": {Criticality: "degrading"},
			"store.shop.vm1": {},
		}}
		c := collector(t, Config{Self: vm1, Expected: list, Rules: rollup.Rules{Groups: []rollup.Group{{Name: "store", Need: 1, Members: []string{"store.shop.vm1"}}}}})
		state := func(path string) health.State {
			t.Helper()
			c.sum()
			root := c.Node()
			chain, err := root.Find(path)
			if err != nil {
				t.Fatal(err)
			}
			return chain[len(chain)-1].State
		}
		wants := func(when string, host health.State, states map[string]health.State) {
			t.Helper()
			c.sum()
			if n := c.Node(); n.State != host {
				t.Errorf("%s: the host is %v: %s", when, n.State, n.Text)
			}
			for path, want := range states {
				if got := state(path); got != want {
					t.Errorf("%s: %s is %v, want %v", when, path, got, want)
				}
			}
		}
		take(t, c, web, says(web, one, 1, health.Pass))
		take(t, c, web1, says(web1, two, 1, health.Fail))
		take(t, c, db, says(db, one, 1, health.Pass))
		take(t, c, cache, says(cache, one, 1, health.Fail))
		store := must(spiffe.ForContainer(td, "vm1", "shop", "store", ""))
		take(t, c, store, says(store, one, 1, health.Fail))
		wants("one of each is left", health.Warn, map[string]health.State{
			"replicas/web.shop.vm1": health.Warn, "store": health.Warn, "web.shop.vm1": health.Pass, "web.shop.vm1/1": health.Fail, "cache.shop.vm1": health.Fail,
		})
		take(t, c, web, says(web, one, 2, health.Fail))
		wants("no web is left", health.Fail, map[string]health.State{"replicas/web.shop.vm1": health.Fail})
		take(t, c, web, says(web, one, 3, health.Pass))
		take(t, c, web1, says(web1, two, 2, health.Pass))
		take(t, c, store, says(store, one, 2, health.Pass))
		take(t, c, cache, says(cache, one, 2, health.Pass))
		wants("all are back", health.Pass, map[string]health.State{"replicas/web.shop.vm1": health.Pass, "store": health.Pass})
		root := c.Node()
		if err := root.Accept(health.HostLimits); err != nil {
			t.Errorf("the fleet would refuse it: %v", err)
		}
		fleet := collector(t, Config{Self: fleet})
		_, say := hosts(1)
		r := say(0, 1, health.Pass)
		r.Node = root
		take(t, fleet, vm1, r)
		want(t, fleet, "fleet pass", "vm1 pass")
	})
}
