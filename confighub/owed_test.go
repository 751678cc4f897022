// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/health"
)

// A reload that cannot be done, of a new version or of one that was taken back, is done once it can.
func TestOwed(t *testing.T) {
	t.Parallel()
	g, c := newGenesis(t), newContainer(t)
	reload := c.path("bin/reload")
	// It removes itself when the configuration is fatal, and fails.
	script := fmt.Sprintf("#!/bin/sh\nif grep -q fatal %[1]s; then rm %[2]s; exit 1; fi\ncat %[1]s >>%[3]s\n", c.path("etc/app/app.conf"), reload, c.path("reloaded"))
	install := func() {
		t.Helper()
		if err := os.WriteFile(reload+".new", []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(reload+".new", reload); err != nil {
			t.Fatal(err)
		}
	}
	publish(g, c, "one", "")
	g.write("services/web/bundle.json", fmt.Sprintf(`{"targets": {%q: {"template": "app.conf", "reload": "app-reload"}}}`, c.path("etc/app/app.conf")))
	g.start()
	settings := webSettings(g, c)
	settings["config"].(map[string]any)["actions"] = map[string]any{"app-reload": []string{reload}}
	c.configure(settings)
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.runsWith("one")
	pid := c.init().PID

	g.write("services/web/data/web.json", `{"value": "two"}`)
	owes := func() bool {
		n, s := c.state()
		return s.Owed != nil && n.State == health.Warn && strings.Contains(n.Text, "the service has not taken up "+s.Owed.Version.String()+" yet: ") &&
			strings.Contains(n.Text, reload) && strings.Contains(n.Text, "; tried again at ")
	}
	c.waitFor("health to say what is owed", owes)
	if !strings.Contains(c.status(), "owed the service has not taken up ") || c.target() != "value=two host=vm1\n" {
		t.Errorf("%q is in place, status says\n%s", c.target(), c.status())
	}
	install()
	c.runsWith("two")
	c.waitFor("the reload", func() bool { return strings.HasSuffix(c.text("reloaded"), "value=two host=vm1\n") })

	g.write("services/web/data/web.json", `{"value": "fatal"}`)
	c.waitFor("the way back to be owed", func() bool {
		_, s := c.state()
		return s.Owed != nil && s.Rejected != nil && s.Rejected.State == bundle.StateRolledBack && c.target() == "value=two host=vm1\n"
	})
	install()
	c.waitFor("the way back to be taken up", func() bool {
		_, s := c.state()
		return s.Owed == nil && strings.Count(c.text("reloaded"), "value=two") == 2
	})
	if c.init().PID != pid {
		t.Error("the service was restarted")
	}
}
