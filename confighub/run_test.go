// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/initctl"
)

// publish writes the bundle of web: a value, and the rest of the template.
func publish(g *genesis, c *container, value, more string) {
	g.write("services/web/data/web.json", fmt.Sprintf(`{"value": %q}`, value))
	g.write("services/web/templates/app.conf.mustache", "value={{value}} host={{hub.host}}\n"+more)
	g.write("services/web/bundle.json", fmt.Sprintf(`{"targets": {%q: {"template": "app.conf", "check": "app-test", "reload": "signal:HUP"}}}`, c.path("etc/app/app.conf")))
}

func webSettings(g *genesis, c *container) map[string]any {
	return g.settings(c, map[string]any{"settle": "500ms", "actions": map[string]any{
		"app-test": []string{"sh", "-c", "if grep -n bad {{path}}; then exit 1; fi"}}})
}

// A container comes up from nothing, follows its genesis, refuses what is wrong and survives what kills its service.
func TestContainer(t *testing.T) {
	t.Parallel()
	g := newGenesis(t)
	c := newContainer(t)
	publish(g, c, "one", "")
	g.start()
	c.configure(webSettings(g, c))
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.waitFor("the service to see one", func() bool { return strings.Contains(c.text("seen"), "value=one host=vm1\n") })
	if info, err := os.Stat(c.path("var/0/identity/id.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("id.pem: %v, %v", info, err)
	}
	c.says("the service lives with the configuration")
	pid := c.init().PID

	begin := time.Now()
	publish(g, c, "two", "")
	c.waitFor("the service to see two", func() bool { return strings.Contains(c.text("seen"), "value=two") })
	t.Logf("a change of the tree reached the service in %s", time.Since(begin))
	c.waitFor("a healthy state", func() bool { n, s := c.state(); return n.State == health.Pass && s.Applied != nil })

	publish(g, c, "three", "{{missing}}\n")
	c.says("app.conf.mustache:2:1: missing: not in the data")
	publish(g, c, "bad", "")
	c.says(c.path("etc/app/app.conf") + ": check app-test: exit status 1: 1:value=bad host=vm1")
	node, s := c.state()
	if s.Rejected == nil || s.Rejected.State != bundle.StateRejected || node.State != health.Warn || !strings.Contains(node.Text, "check app-test") {
		c.waitFor("the refusal in config.json", func() bool {
			node, s = c.state()
			return s.Rejected != nil && s.Rejected.State == bundle.StateRejected && node.State == health.Warn && strings.Contains(node.Text, "check app-test")
		})
	}
	waitFor(t, 10*time.Second, "genesis to hear of the refusal", func() bool { return strings.Contains(g.log.String(), "missing: not in the data") }, g.log.String)
	if c.target() != "value=two host=vm1\n" || c.init().PID != pid {
		t.Errorf("something changed: %q, pid %d of %d", c.target(), c.init().PID, pid)
	}

	publish(g, c, "die", "")
	c.says("the service exited with code 9 on the new configuration")
	c.waitFor("the service to be back", func() bool { return c.init().State == initctl.ServiceRunning && c.init().PID != pid })
	if c.target() != "value=two host=vm1\n" {
		t.Errorf("not taken back: %q", c.target())
	}
	waitFor(t, 10*time.Second, "genesis to hear of the way back", func() bool { return strings.Contains(g.log.String(), bundle.StateRolledBack) }, g.log.String)
	publish(g, c, "four", "")
	c.waitFor("the service to see four", func() bool { return strings.Contains(c.text("seen"), "value=four") })
	if code := c.stop(); code != 0 {
		t.Errorf("the container ended with %d", code)
	}
}

// A service that only reads its configuration at its start is restarted in its container, and back when that fails.
func TestReloadByRestart(t *testing.T) {
	t.Parallel()
	g := newGenesis(t)
	c := newContainer(t)
	publish(g, c, "one", "")
	manifest := fmt.Sprintf(`{"targets": {%q: {"template": "app.conf", "reload": "restart"}}}`, c.path("etc/app/app.conf"))
	g.write("services/web/bundle.json", manifest)
	g.start()
	c.configure(webSettings(g, c))
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.says("the service lives with the configuration")
	first := c.init()
	g.write("services/web/data/web.json", `{"value": "two"}`)
	c.waitFor("the service to see two", func() bool { return strings.Contains(c.text("seen"), "value=two") })
	c.waitFor("genesis to hear of it", func() bool { return strings.Count(g.log.String(), `"state":"applied"`) >= 2 })
	second := c.init()
	if second.PID == first.PID || second.Restarts != 1 {
		t.Errorf("restarts %d, pid %d after %d", second.Restarts, second.PID, first.PID)
	}
	g.write("services/web/data/web.json", `{"value": "die"}`)
	c.says("the service exited with code 9 on the new configuration")
	c.waitFor("the service to be back on two", func() bool {
		now := c.init()
		return now.State == initctl.ServiceRunning && now.PID != second.PID && c.target() == "value=two host=vm1\n"
	})
	waitFor(t, 10*time.Second, "genesis to hear of the way back", func() bool { return strings.Contains(g.log.String(), `"state":"rolled_back"`) }, g.log.String)
	select {
	case <-c.exited:
		t.Error("the container ended")
	default:
	}
}

// Without its genesis a container starts from what it had, marked stale, and catches up.
func TestGenesisDown(t *testing.T) {
	t.Parallel()
	g := newGenesis(t)
	c := newContainer(t)
	publish(g, c, "one", "")
	g.start()
	c.configure(webSettings(g, c))
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.says("the service lives with the configuration")

	g.stop()
	g.ca.Stop()
	c.says("the source of configuration is in trouble, what is in place stays")
	c.waitFor("health to say stale", func() bool { n, s := c.state(); return s.Stale && n.State == health.Warn })
	c.stop()
	os.Remove(c.path("etc/app/app.conf"))
	begin := time.Now()
	c.start()
	c.says("starting from the last good configuration, which may be stale")
	c.waitFor("the service to run", func() bool { return c.init().State == initctl.ServiceRunning })
	if took := time.Since(begin); took < 2*time.Second || c.target() != "value=one host=vm1\n" {
		t.Errorf("the service ran after %s with %q", took, c.target())
	}
	publish(g, c, "two", "")
	g.start()
	c.waitFor("the service to see two", func() bool { return strings.Contains(c.text("seen"), "value=two") })
	c.waitFor("health to pass", func() bool { n, s := c.state(); return !s.Stale && n.State == health.Pass })
}

// A first start without a genesis waits and says what for.
func TestFirstStartWaits(t *testing.T) {
	t.Parallel()
	g := newGenesis(t)
	c := newContainer(t)
	g.start()
	settings := webSettings(g, c)
	settings["config"].(map[string]any)["source"] = "https://genesis.invalid:8443"
	c.configure(settings)
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.says("the service waits for the configuration: genesis.invalid:8443: ")
	c.says(`add extra_hosts: \"genesis.invalid:<address>\"`)
	if state := c.init().State; state != initctl.ServiceWaiting {
		t.Errorf("the service is %s", state)
	}
}

// A configuration with which the service twice does not get through its start is taken back at the third.
func TestUnconfirmedAtTwoStarts(t *testing.T) {
	t.Parallel()
	g := newGenesis(t)
	c := newContainer(t)
	publish(g, c, "one", "")
	g.start()
	c.configure(webSettings(g, c))
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.says("the service lives with the configuration")
	c.stop()
	g.stop() // a start reads the whole tree, so that nothing half written is published
	publish(g, c, "die", "")
	g.start()
	for range 2 {
		if code := c.start().wait(); code != 9 {
			t.Fatalf("the container ended with %d\n%s", code, c.out)
		}
	}
	c.start()
	c.says("the configuration is taken back")
	c.waitFor("the service to live", func() bool { return c.init().State == initctl.ServiceRunning && c.target() == "value=one host=vm1\n" })
}

// Replicas share a volume: the second has an identity of its own, the third has no token and goes without.
func TestReplicas(t *testing.T) {
	t.Parallel()
	g := newGenesis(t)
	c := newContainer(t)
	publish(g, c, "one", "")
	g.start()
	c.configure(webSettings(g, c))
	tokens := "HUB_TOKEN=" + g.ca.Token(t, g.web("")) + "\n" + g.ca.Token(t, g.web("1"))
	c.start(tokens)
	c.says("the configuration is in place")
	var others []*container
	for n := 1; n <= 2; n++ {
		o := *c
		o.dir = c.dir
		run := c.path(fmt.Sprintf("run%d", n))
		if err := os.Mkdir(run, 0o755); err != nil {
			t.Fatal(err)
		}
		o.start(tokens, "HUB_RUN_DIR="+run)
		others = append(others, &o)
		waitFor(t, 20*time.Second, "the replica to run", func() bool {
			state, err := initctl.ReadState(run)
			return err == nil && state.Service.State == initctl.ServiceRunning
		}, o.out.String)
	}
	who, err := identity.ReadStatus(c.path("run1"))
	if err != nil || who.ID != g.web("1").String() || who.State != identity.StateValid {
		t.Errorf("the second replica is %+v, %v", who, err)
	}
	if log := others[1].out.String(); !strings.Contains(log, "runs without identity") || !strings.Contains(log, "a sibling replica") {
		t.Errorf("the third replica says\n%s", log)
	}
}

// Bad settings end a first start with 78, and let a later one run on the last that were good.
func TestBadSettings(t *testing.T) {
	t.Parallel()
	g := newGenesis(t)
	c := newContainer(t)
	publish(g, c, "one", "")
	g.start()
	token := "HUB_TOKEN=" + g.ca.Token(t, g.web(""))
	settings := webSettings(g, c)
	c.configure(map[string]any{"config": map[string]any{"sorce": "x", "settle": "1h"}})
	if code := c.start(token).wait(); code != 78 {
		t.Errorf("ended with %d\n%s", code, c.out)
	}
	for _, want := range []string{"config.sorce: unknown key", "config.settle: must be between 0s and 5m"} {
		if !strings.Contains(c.out.String(), want) {
			t.Errorf("nothing says %s:\n%s", want, c.out)
		}
	}
	c.configure(settings)
	c.start(token).says("the service lives with the configuration")
	c.stop()
	settings["config"].(map[string]any)["settle"] = "soon"
	c.configure(settings)
	c.start().says("the settings are wrong: this start uses the last that were good")
	c.waitFor("the service to run", func() bool { return c.init().State == initctl.ServiceRunning })
	if _, s := c.state(); !strings.Contains(s.Settings, "config.settle") {
		t.Errorf("config.json says %+v", s)
	}
}

// A directory is a source too, and needs no identity.
func TestDirectory(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(c.path("etc/bundle/"+name[:strings.LastIndexByte("/"+name, '/')]), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.path("etc/bundle/"+name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("templates/app.conf", "value={{value}} {{secrets.pw}} {{env.WHO}}\n")
	write("data/a.json", `{"value": 1}`)
	write("bundle.json", fmt.Sprintf(`{"targets": {%q: {"template": "app.conf", "reload": "signal:HUP"}, "env": {"template": "env", "env": true}}}`, c.path("etc/app/app.conf")))
	write("templates/env", "APP_VALUE={{value}}\n")
	if err := os.WriteFile(c.path("etc/pw"), []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.configure(map[string]any{"config": map[string]any{
		"settle": "300ms", "targets": []string{c.path("etc/app")}, "env": []string{"WHO"}, "secrets": map[string]string{"pw": c.path("etc/pw")}}})
	c.start("WHO=me")
	c.says("the service lives with the configuration")
	if c.target() != "value=1 s3cret me\n" || c.text("run/service.env") != "APP_VALUE=1\x00" {
		t.Errorf("got %q, %q", c.target(), c.text("run/service.env"))
	}
	if info, err := os.Stat(c.path("etc/app/app.conf")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a file with a secret has mode %v, %v", info.Mode(), err)
	}
	write("data/a.json", `{"value": 2}`)
	c.waitFor("the service to see 2", func() bool { return strings.Contains(c.text("seen"), "value=2") })
	write("data/a.json", `{"value": }`)
	c.says("data/a.json:1: column 11")
	if strings.Contains(c.out.String(), "s3cret") {
		t.Errorf("the log shows the secret:\n%s", c.out)
	}
}

// A certificate is a target: it follows the renewals, under a hold too, and the service hears of each.
func TestIdentityTargets(t *testing.T) {
	t.Parallel()
	g := newGenesis(t, identitytest.Lifetime(8*time.Second))
	c := newContainer(t)
	g.write("services/web/templates/app.conf", "x\n")
	g.write("services/web/bundle.json", fmt.Sprintf(`{"targets": {%q: {"template": "app.conf"}, %q: {"identity": "combined", "reload": "signal:HUP"}, %q: {"identity": "roots"}}}`,
		c.path("etc/app/app.conf"), c.path("etc/app/web.pem"), c.path("etc/app/roots.pem")))
	g.start()
	c.configure(webSettings(g, c))
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.says("the service lives with the configuration")
	first := c.text("etc/app/web.pem")
	if !strings.Contains(first, "PRIVATE KEY") || strings.Count(first, "BEGIN CERTIFICATE") != 2 || !strings.Contains(c.text("etc/app/roots.pem"), "BEGIN CERTIFICATE") {
		t.Errorf("web.pem is %q", first)
	}
	if info, err := os.Stat(c.path("etc/app/web.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("web.pem: %v, %v", info, err)
	}
	pid := c.init().PID
	c.steered("hold", "--reason", "certificates go on")
	c.waitFor("a renewed certificate", func() bool { now := c.text("etc/app/web.pem"); return now != first && now != "" })
	c.waitFor("the service to hear of it", func() bool { return strings.Count(c.text("seen"), "x") >= 2 })
	if c.init().PID != pid {
		t.Error("the service was restarted")
	}
}

func TestNothingToDo(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.start()
	c.waitFor("confighub to be done", func() bool {
		state, err := initctl.ReadState(c.path("run"))
		return err == nil && state.Hubs["confighub"] != nil && state.Hubs["confighub"].State == initctl.HubDone
	})
}
