// SPDX-License-Identifier: AGPL-3.0-or-later

package lifecycle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/genesistest"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// TestBadBundleChangesNothing: a template error and a failing check leave files, process and page as they were, and are
// told where people look.
func TestBadBundleChangesNothing(t *testing.T) {
	t.Parallel()
	g := genesistest.New(t)
	c := newNginx(t, g)
	c.up("first")
	g.WaitApplied(t, "web.shop.vm1", "applied", "", soon)
	waitHealth(t, g, c, health.Pass)
	before, files := c.state().Service, readAll(t, c.site)

	tests := []struct {
		name string
		tree map[string]string
		// says is in docker logs, health and the fleet.
		says []string
	}{
		{
			name: "a template error",
			tree: map[string]string{"services/web/templates/nginx.conf": "# one\n# two\nlisten {{port_of_nobody}};\n"},
			says: []string{"nginx.conf:3", "port_of_nobody"},
		},
		{
			name: "a failing check",
			tree: map[string]string{"services/web/templates/nginx.conf": nginxTemplate + "\nnonsense on;\n"},
			says: []string{"nonsense"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g.WriteTree(t, test.tree)
			told := g.WaitApplied(t, "web.shop.vm1", "rejected", test.says[0], soon)
			all := strings.Join(told.Errors, "\n")
			for _, words := range test.says {
				if !strings.Contains(all, words) {
					t.Errorf("the fleet does not say %q: %q", words, told.Errors)
				}
				c.output.Wait(t, soon, words)
			}
			waitHub(t, g, c, "config", test.says[0])
			if page, err := c.get(); err != nil || page != "first" {
				t.Errorf("the page is %q (%v)", page, err)
			}
			if diff := cmp.Diff(files, readAll(t, c.site)); diff != "" {
				t.Errorf("files (-before +after):\n%s", diff)
			}
			if after := c.state().Service; after.PID != before.PID || !after.StartedAt.Equal(before.StartedAt) {
				t.Errorf("the service was %+v, is %+v", before, after)
			}
		})
	}
	t.Run("mended", func(t *testing.T) {
		g.WriteTree(t, map[string]string{"services/web/templates/nginx.conf": nginxTemplate})
		setNginx(t, g, "page", "second")
		c.waitPage("second")
		g.WaitApplied(t, "web.shop.vm1", "applied", "", soon)
		waitHealth(t, g, c, health.Pass)
	})
}

// readAll reads what a bundle may have written; nginx' own log grows by itself.
func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range list {
		if !item.Type().IsRegular() || strings.HasSuffix(item.Name(), ".log") {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, item.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[item.Name()] = string(raw)
	}
	return files
}

// waitHub waits until the host shows the trouble of a hub, as a warning that does not fail the container.
func waitHub(t *testing.T, g *genesistest.Genesis, c *container, hub, text string) {
	t.Helper()
	var root health.Node
	if !genesistest.Eventually(t.Context(), soon, func() bool {
		root, _ = g.Snapshot(t)
		container, ok := findContainer(root, c)
		if !ok || container.State != health.Warn {
			return false
		}
		node, ok := genesistest.Find(container, health.KindCheck, "hub/"+hub)
		return ok && strings.Contains(asJSON(t, node), text)
	}) {
		t.Fatalf("the host does not show hub/%s with %q:\n%s", hub, text, asJSON(t, root))
	}
}

// TestDiesOnNewConfiguration: hold, roll back, restart, all inside of the same container.
func TestDiesOnNewConfiguration(t *testing.T) {
	t.Parallel()
	g := genesistest.New(t)
	c := newService(t, g, "restart")
	c.up("first")
	g.WaitApplied(t, "web.shop.vm1", "applied", "", soon)
	waitHealth(t, g, c, health.Pass)
	before := c.state()

	setPage(t, g, "deadly", 9)
	g.WaitApplied(t, "web.shop.vm1", "rolled_back", "", soon)
	c.waitPage("first")
	after := c.until("the service runs again", func(s *initctl.State) bool { return s.Service.State == "running" && s.Hold == nil })
	if after.PID != before.PID || after.Boot != before.Boot || c.ended() {
		t.Errorf("hubinit was %d of boot %s, is %d of boot %s", before.PID, before.Boot, after.PID, after.Boot)
	}
	if after.Service.Restarts <= before.Service.Restarts {
		t.Errorf("%d restarts before, %d after", before.Service.Restarts, after.Service.Restarts)
	}
	c.output.Wait(t, soon, "cannot live with deadly")

	t.Run("a good one is taken again", func(t *testing.T) {
		setPage(t, g, "third", 0)
		c.waitPage("third")
		g.WaitApplied(t, "web.shop.vm1", "applied", "", soon)
	})
}
