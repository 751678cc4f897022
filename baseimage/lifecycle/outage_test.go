// SPDX-License-Identifier: AGPL-3.0-or-later

package lifecycle

import (
	"fmt"
	"strings"
	"testing"

	"cloud4.internal/hub/internal/genesistest"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// stopAll takes the whole genesis machine away, and startAll brings it back.
func stopAll(t *testing.T, g *genesistest.Genesis) {
	t.Helper()
	g.CA.Stop()
	for _, s := range []*genesistest.Server{g.Config, g.Log, g.Fleet} {
		s.Stop(t)
	}
}

func startAll(t *testing.T, g *genesistest.Genesis) {
	t.Helper()
	g.CA.Start(t)
	for _, s := range []*genesistest.Server{g.Config, g.Log, g.Fleet} {
		s.Start(t)
	}
}

// TestOutageLater: nothing happens to a running service, logs wait and arrive, changes made meanwhile are caught up.
func TestOutageLater(t *testing.T) {
	t.Parallel()
	g := genesistest.New(t)
	c := newService(t, g, "signal:HUP")
	c.up("first")
	c.say("stdout", "line before the outage")
	g.WaitEvent(t, c.id, "line before the outage", soon)
	before := c.state()

	stopAll(t, g)
	for i := range 20 {
		c.say("stdout", fmt.Sprintf("line %d in the outage", i))
		if page, err := c.get(); err != nil || page != "first" {
			t.Errorf("the page is %q (%v)", page, err)
		}
	}
	waitHub(t, g, c, "log", "")
	setPage(t, g, "second", 0)

	startAll(t, g)
	c.waitPage("second")
	g.WaitEvent(t, c.id, "line 19 in the outage", 2*soon)
	counts := map[string]int{}
	for _, e := range g.Events(t, c.id) {
		counts[e.Text("message")]++
	}
	for i := range 20 {
		if n := counts[fmt.Sprintf("line %d in the outage", i)]; n != 1 {
			t.Errorf("line %d of the outage arrived %d times", i, n)
		}
	}
	waitHealth(t, g, c, health.Pass)
	if after := c.state(); after.Service.PID != before.Service.PID || after.Boot != before.Boot {
		t.Errorf("the service was %+v, is %+v", before.Service, after.Service)
	}

	t.Run("starting in an outage from last-good", func(t *testing.T) {
		c.stop()
		stopAll(t, g)
		c.start()
		c.waitPage("second")
		// The host is up; it hears that the configuration may be old.
		waitHub(t, g, c, "config", "stale")
		startAll(t, g)
		waitHealth(t, g, c, health.Pass)
	})
}

// TestOutageAtFirstStart: without last-good the container waits, and says for what.
func TestOutageAtFirstStart(t *testing.T) {
	t.Parallel()
	g := genesistest.New(t)
	c := newService(t, g, "signal:HUP")
	g.Config.Stop(t)
	c.env = []string{initctl.EnvToken + "=" + g.Token(t, c.id)}
	c.start()
	_, port, _ := strings.Cut(strings.TrimPrefix(g.Config.URL, "https://"), ":")
	words := []string{"genesis.internal:" + port, "connection refused"}
	c.output.Wait(t, soon, words...)
	if !genesistest.Eventually(t.Context(), soon, func() bool {
		said := 0
		for line := range strings.Lines(c.output.String()) {
			if strings.Contains(line, words[0]) && strings.Contains(line, words[1]) {
				said++
			}
		}
		return said >= 2
	}) {
		t.Errorf("what it waits for is not said again:\n%s", c.output)
	}
	if s := c.state(); s.Service.State != "waiting" || s.Service.Waiting == "" {
		t.Errorf("the service is %+v, want it to wait and to say for what", s.Service)
	}
	g.Config.Start(t)
	c.waitPage("first")
}
