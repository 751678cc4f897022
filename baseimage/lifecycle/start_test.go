// SPDX-License-Identifier: AGPL-3.0-or-later

package lifecycle

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/genesistest"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/spiffe"
)

// TestFreshStart is the main job, from a one-time token to a page, health and logs.
func TestFreshStart(t *testing.T) {
	t.Parallel()
	g := genesistest.New(t)
	c := newNginx(t, g)
	began := time.Now()
	c.up("first")
	t.Logf("fresh start to the first page: %v", time.Since(began).Round(time.Millisecond))

	t.Run("identity", func(t *testing.T) {
		status := c.identity()
		if status.State != "valid" || status.ID != c.id.String() || !status.NotAfter.After(time.Now()) {
			t.Errorf("identity.json: %+v", status)
		}
	})
	t.Run("health at the host", func(t *testing.T) { waitHealth(t, g, c, health.Pass) })
	t.Run("logs at genesis", func(t *testing.T) {
		for stream, text := range map[string]string{
			"stdout": "GET / HTTP/1.1", "stderr": "start worker process", "file": "GET / HTTP/1.1",
		} {
			key, value := "log.iostream", stream
			if stream == "file" {
				key, value = "log.file.path", c.site+"/access.log"
			}
			waitEvents(t, g, c, stream, func(e genesistest.Event) bool {
				return e.Text(key) == value && strings.Contains(asJSON(t, e), text)
			})
		}
	})
	t.Run("applied at genesis", func(t *testing.T) {
		a := g.WaitApplied(t, "web.shop.vm1", "applied", "", soon)
		operator := g.CA.Dir(t, genesistest.ID(t)(spiffe.ForOperator(genesistest.TrustDomain, "desk")))
		table := g.Run(t, "confighub", "fleet", "--server", g.Config.URL, "--identity", operator)
		row := regexp.MustCompile(fmt.Sprintf(`(?m)^web\.shop\.vm1 +- +%d +%d +- +applied +\d+s ago +24h +-$`, a.Desired, a.Serial))
		if !row.MatchString(table) {
			t.Errorf("confighub fleet shows no row %s:\n%s", row, table)
		}
	})
	t.Run("a change of the tree is a new page of the same process", func(t *testing.T) {
		before := c.state().Service
		setNginx(t, g, "page", "second")
		t.Logf("write of the tree to the new page: %v", c.waitPage("second").Round(time.Millisecond))
		if after := c.state().Service; after.PID != before.PID || after.Restarts != before.Restarts {
			t.Errorf("the service was %+v, is %+v", before, after)
		}
	})
	t.Run("stop", func(t *testing.T) {
		if code, took := c.stop(); code != 0 || took > 2*time.Second {
			t.Errorf("exit code %d after %v, want 0 within 2 s", code, took)
		}
	})
	t.Run("start again", func(t *testing.T) {
		serial := c.identity().Serial
		began := time.Now()
		c.start()
		c.waitPage("second")
		t.Logf("start with a cached identity to the first page: %v", time.Since(began).Round(time.Millisecond))
		if now := c.identity(); now.Serial != serial {
			t.Errorf("the certificate's serial was %s, is %s: it was enrolled again", serial, now.Serial)
		}
	})
}

// waitHealth waits until the host has the container in a state.
func waitHealth(t *testing.T, g *genesistest.Genesis, c *container, want health.State) health.Node {
	t.Helper()
	var root, node health.Node
	name := c.id.Service + "." + c.id.Stack + "." + c.id.Host
	if !genesistest.Eventually(t.Context(), soon, func() bool {
		root, _ = g.Snapshot(t)
		node, _ = findContainer(root, c)
		return node.Kind != "" && node.State == want
	}) {
		t.Fatalf("the host does not show %s as %v:\n%s", name, want, asJSON(t, root))
	}
	return node
}

// findContainer finds the container below a host, whatever the host calls it.
func findContainer(root health.Node, c *container) (health.Node, bool) {
	for _, name := range []string{c.id.Service + "." + c.id.Stack, c.id.BundleName(), c.id.Stack + "/" + c.id.Service, c.id.String()} {
		if node, ok := genesistest.Find(root, health.KindContainer, name); ok {
			return node, true
		}
	}
	return health.Node{}, false
}

// waitEvents waits for an event of the container that is what is wanted.
func waitEvents(t *testing.T, g *genesistest.Genesis, c *container, what string, is func(genesistest.Event) bool) {
	t.Helper()
	var events []genesistest.Event
	if !genesistest.Eventually(t.Context(), soon, func() bool {
		events = g.Events(t, c.id)
		for _, e := range events {
			if is(e) {
				return true
			}
		}
		return false
	}) {
		t.Fatalf("no event of %s arrived; %d events did:\n%s\nloghub receive says:\n%s", what, len(events), asJSON(t, events), g.Log.Output)
	}
}

// TestSlots is docker compose --scale 2 and docker compose run on one state volume.
func TestSlots(t *testing.T) {
	t.Parallel()
	g := genesistest.New(t)
	first := newService(t, g, "signal:HUP")
	// One token for each of two replicas, as confighub token --replicas 2 writes them.
	tokens := g.Token(t, first.id) + "\n" + g.Token(t, genesistest.Container(t, "shop", "web", "1")) + "\n"
	first.env = []string{initctl.EnvToken + "=" + tokens}
	first.start()
	first.waitPage("first")

	second := first.sibling().withService()
	second.env = first.env
	// Both write the same bundle's target, each in the container's own file system; here that is the first one's site.
	second.site, second.settings["config"] = first.site, first.settings["config"]
	second.withService()
	second.start()
	second.waitPage("first")
	if got, want := second.identity().ID, genesistest.Container(t, "shop", "web", "1").String(); got != want {
		t.Errorf("the second replica is %s, want %s", got, want)
	}

	run := first.sibling()
	run.env, run.site, run.settings["config"] = first.env, first.site, first.settings["config"]
	run.argv = []string{"sh", "-c", "echo a one-off task with $HUB_SLOT; exit 5"}
	run.start()
	if code, _ := run.wait(soon); code != 5 {
		t.Errorf("exit code %d of the one-off task, want 5:\n%s", code, run.output)
	}
	run.output.Wait(t, soon, "without identity")
	if run.output.Line("a one-off task") == "" {
		t.Errorf("the task's output is missing:\n%s", run.output)
	}

	// Recreated, each replica has its identity again.
	first.stop()
	serial := second.identity().Serial
	second.stop()
	again := first.sibling()
	again.site, again.settings["config"] = first.site, first.settings["config"]
	again.withService()
	again.start()
	again.waitPage("first")
	if got := again.identity(); got.ID != first.id.String() || got.Serial == serial {
		t.Errorf("after recreating, slot 0 has %+v", got)
	}
}
