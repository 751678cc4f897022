// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// A version that the service does not live with is taken back once: no restart, of confighub or of the container, tries
// the same serial and digest again.
func TestBadStaysBad(t *testing.T) {
	t.Parallel()
	g, c := webContainer(t)
	publish(g, c, "die", "")
	const reason = "the service exited with code 9 on the new configuration"
	var bad bundle.Version
	taken := func() bool {
		_, s := c.state()
		if s.Rejected == nil || s.Rejected.State != bundle.StateRolledBack || s.Rejected.Errors[0] != reason || !s.Source.Reached {
			return false
		}
		bad = s.Rejected.Version
		return c.init().State == initctl.ServiceRunning && c.target() == "value=one host=vm1\n"
	}
	c.waitFor("the version to be taken back", taken)
	waitFor(t, waitLimit, "genesis to hear why", func() bool {
		return strings.Contains(g.log.String(), fmt.Sprintf(`"serial":%d,"state":"rolled_back","errors":[%q]`, bad.Serial, reason))
	}, g.log.String)
	polls := func() int { return strings.Count(g.log.String(), `"path":"/v1/bundles/web.shop.vm1/current"`) }
	asked := func(before int) { // an answer that was judged is followed by the next question
		t.Helper()
		waitFor(t, waitLimit, "genesis to be asked", func() bool { return polls() > before }, g.log.String)
	}
	before := polls()
	state, err := initctl.ReadState(c.path("run"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.kill(state.Hubs["confighub"].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	asked(before)
	c.waitFor("it to be bad after a crash", taken)
	before = polls()
	c.again()
	asked(before)
	c.waitFor("it to be bad after a restart", taken)
	if strings.Contains(c.out.String(), reason) || strings.Count(c.text("seen"), "die") != 0 {
		t.Errorf("it was tried again:\n%s", c.out)
	}
	publish(g, c, "two", "")
	c.runsWith("two")
}

// Only what gets worse is taken back: a service that was broken before keeps what is put in place, a mended one does
// not get broken again.
func TestOnlyWorseIsTakenBack(t *testing.T) {
	t.Parallel()
	healthhub, err := healthhubOnce()
	if err != nil {
		t.Fatal(err)
	}
	g, c := newGenesis(t), newContainer(t)
	if err := os.Link(healthhub, c.path("bin/healthhub")); err != nil {
		t.Fatal(err)
	}
	publish(g, c, "broken", "")
	g.start()
	settings := webSettings(g, c)
	settings["config"].(map[string]any)["settle"] = "2s"
	settings["health"] = map[string]any{"checks": map[string]any{"app": map[string]any{
		"kind": "exec", "command": []string{"sh", "-c", "! grep broken " + c.path("etc/app/app.conf")}, "interval": "1s", "fall": 1, "rise": 1, "criticality": "critical",
		"start_deadline": "1s"}}}
	c.configure(settings)
	c.start("HUB_HUBS=confighub,healthhub", "HUB_TOKEN="+g.ca.Token(t, g.web("")))
	check := func(want health.State) func() bool {
		return func() bool {
			file, err := health.ReadFile(c.path("run"), health.HealthFile)
			if err != nil {
				return false
			}
			for _, n := range file.Health.Children {
				if n.Name == "app" {
					return n.State == want
				}
			}
			return false
		}
	}
	c.waitFor("a broken service", check(health.Fail))
	c.runsWith("broken")
	publish(g, c, "broken, otherwise", "")
	c.runsWith("broken, otherwise")
	publish(g, c, "mended", "")
	fine := c.runsWith("mended")
	c.waitFor("a service that is mended", check(health.Pass))
	publish(g, c, "broken again", "")
	c.waitFor("what breaks it to be taken back", func() bool {
		_, s := c.state()
		return s.Rejected != nil && s.Rejected.State == bundle.StateRolledBack && strings.Contains(s.Rejected.Errors[0], "app") &&
			s.Applied.Version == fine && c.target() == "value=mended host=vm1\n"
	})
	c.waitFor("a service that is as it was", check(health.Pass))
}
