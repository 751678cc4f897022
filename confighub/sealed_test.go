// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/spiffe"
)

// patience is for a loaded machine.
const patience = 30 * time.Second

// operator has a certificate to ask genesis with.
type operator struct {
	g   *genesis
	dir string
}

func newOperator(t *testing.T, g *genesis) operator {
	return operator{g, g.ca.Dir(t, id(t)(spiffe.ForOperator(identity.DefaultTrustDomain, "desk")))}
}

// seals asks genesis for the recipients of web, once so many replicas told theirs, and seals a value for them.
func (o operator) seals(value, key string, replicas int) string {
	o.g.t.Helper()
	var text, said string
	waitFor(o.g.t, patience, "genesis to know the recipients", func() bool {
		var err error
		text, said, err = sealing(o.g.t, value, "--server", "https://"+o.g.address, "--identity", o.dir, "--for", "web.shop.vm1", "--key", key)
		return err == nil && strings.Count(said, "sealed for web.shop.vm1 age1") == replicas
	}, o.g.log.String)
	return text
}

// fleet is what genesis says of web's first replica.
func (o operator) fleet() serve.Instance {
	ask, err := newFleetClient("https://"+o.g.address, identity.Open(o.dir))
	if err != nil {
		o.g.t.Fatal(err)
	}
	defer ask.close()
	fleet, _, err := ask.fleet(o.g.t.Context())
	if err != nil || len(fleet.Containers) != 1 || len(fleet.Containers[0].Instances) == 0 {
		return serve.Instance{}
	}
	return fleet.Containers[0].Instances[0]
}

// hears waits for genesis to be told so by web's first replica.
func (o operator) hears(state, text string) {
	o.g.t.Helper()
	waitFor(o.g.t, patience, "genesis to hear: "+text, func() bool {
		i := o.fleet()
		return i.State == state && strings.Contains(strings.Join(i.Errors, "\n"), text)
	}, func() string { return fmt.Sprintf("%+v\n%s", o.fleet(), o.g.log) })
}

// publishSealed makes the bundle of web of these data; its templates use password and title.
func publishSealed(g *genesis, c *container, password, title string) {
	g.write("services/web/templates/app.conf.mustache", "value={{password}} {{title}}\n")
	g.write("services/web/templates/env", "PASSWORD={{password}}\n")
	g.write("services/web/bundle.json", fmt.Sprintf(`{"targets": {%q: {"template": "app.conf", "check": "app-test", "reload": "signal:HUP"}, "env": {"template": "env", "env": true}}}`,
		c.path("etc/app/app.conf")))
	g.write("services/web/data/web.json", `{"password": `+password+`, "title": `+title+`}`)
}

func sealedObject(text string) string { return fmt.Sprintf(`{%q: %q}`, seal.Member, text) }

// nowhere looks for texts in all files below the directories, but for those to pass over.
func nowhere(t *testing.T, texts []string, except []string, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		seen := 0
		err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a file that was being written has its name now
			}
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			for _, e := range except {
				if name == e {
					return nil
				}
			}
			raw, err := os.ReadFile(name)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			for _, text := range texts {
				if strings.Contains(string(raw), text) {
					t.Errorf("%s holds %q", name, text)
				}
			}
			seen++
			return err
		})
		if err != nil || seen == 0 {
			t.Errorf("%s: %d files were looked at, %v", dir, seen, err)
		}
	}
}

// A sealed value reaches its target and nothing else; one that is wrong changes nothing, and genesis is told why.
func TestSealedValue(t *testing.T) {
	g := newGenesis(t)
	c := newContainer(t)
	publishSealed(g, c, `"open"`, `"t"`)
	g.start()
	o := newOperator(t, g)
	c.configure(webSettings(g, c))
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.says("the service lives with the configuration")

	first, second, bad := "correct-horse-1", "battery-staple-2", "very-bad-3"
	good := o.seals(first+"\n", "password", 1)
	publishSealed(g, c, sealedObject(good), `"t"`)
	c.waitFor("the service to see the password", func() bool { return strings.Contains(c.text("seen"), "value="+first) })
	if info, err := os.Stat(c.path("etc/app/app.conf")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the target has mode %v, %v", info.Mode(), err)
	}
	if c.text("run/service.env") != "PASSWORD="+first+"\x00" {
		t.Errorf("the environment is %q", c.text("run/service.env"))
	}
	if _, s := c.state(); s.Recipient == "" || s.Recipient != o.fleet().Recipient {
		t.Errorf("the recipient is %q here and %q at genesis", s.Recipient, o.fleet().Recipient)
	}

	other, _ := newSealKey(t)
	foreign, err := seal.Seal(json.RawMessage(`"s3cret"`), seal.Place{Key: "password"}, []string{other.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	changed := []byte(good)
	if changed[len(good)-40] = 'A'; good[len(good)-40] == 'A' {
		changed[len(good)-40] = 'B'
	}
	for _, tt := range []struct{ password, title, want string }{
		{sealedObject(foreign), `"t"`, "services/web/data/web.json:1: password: is sealed for 1 recipient, and none is this container's, age1"},
		{sealedObject(string(changed)), `"t"`, "services/web/data/web.json:1: password: is damaged: it was changed, or is not whole. Seal the value anew"},
		{`"open"`, sealedObject(good), "services/web/data/web.json:1: title: is sealed for password, and stands at title: "},
		{sealedObject(o.seals(bad, "password", 1)), `"t"`, "check app-test: exit status 1: 1:value=*** t"}, // the check quotes the line
	} {
		publishSealed(g, c, tt.password, tt.title)
		c.says(tt.want)
		o.hears("rejected", tt.want)
		if c.target() != "value="+first+" t\n" {
			t.Errorf("%s: the target is %q", tt.want, c.target())
		}
	}
	publishSealed(g, c, sealedObject(o.seals(second, "password", 1)), `"t"`)
	c.waitFor("the service to see the new password", func() bool { return strings.Contains(c.text("seen"), "value="+second) })
	c.waitFor("a healthy state", func() bool { n, s := c.state(); return n.State == health.Pass && s.Rejected == nil && s.Pending == nil })

	// What is kept is sealed, and opens without genesis.
	c.stop()
	log := c.out.String()
	g.stop()
	os.Remove(c.path("etc/app/app.conf"))
	c.start().says("starting from the last good configuration, which may be stale")
	c.waitFor("the service to run", func() bool { return c.init().State == initctl.ServiceRunning })
	if c.target() != "value="+second+" t\n" {
		t.Errorf("it runs with %q", c.target())
	}
	secrets := []string{first, second, bad, "AGE-SECRET-KEY"}
	nowhere(t, secrets, []string{c.path("run/service.env"), c.path("var/0/identity/seal.key")}, c.path("var"), c.path("run"), g.tree, g.state)
	for _, secret := range secrets {
		if strings.Contains(log+c.out.String()+g.log.String(), secret) {
			t.Errorf("a log shows %s", secret)
		}
	}
}

// With its volume a container loses its key: it says so, keeps what is kept, and its new recipient is at genesis.
func TestSealKeyLost(t *testing.T) {
	g := newGenesis(t)
	c := newContainer(t)
	publishSealed(g, c, `"open"`, `"t"`)
	g.start()
	o := newOperator(t, g)
	c.configure(webSettings(g, c))
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.says("the service lives with the configuration")
	publishSealed(g, c, sealedObject(o.seals("one-s3cret", "password", 1)), `"t"`)
	c.waitFor("the service to see the password", func() bool { return strings.Contains(c.text("seen"), "one-s3cret") })
	c.waitFor("it to be confirmed", func() bool { _, s := c.state(); return s.Applied != nil && s.Pending == nil && !s.Trial })
	file := c.path("var/0/identity/seal.key")
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	// A key that cannot be read stays, and is waited for; a service that runs runs on.
	if err := os.WriteFile(file, kept[:len(kept)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	service, target := c.init().PID, c.target()
	state, err := initctl.ReadState(c.path("run"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.kill(state.Hubs["confighub"].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.says("it holds sealed values: the key for sealed values is damaged: " + file)
	if c.init().PID != service || c.target() != target {
		t.Errorf("the service was pid %d and is %d; its target is %q", service, c.init().PID, c.target())
	}
	c.stop()
	c.start().says("it holds sealed values: the key for sealed values is damaged: " + file)
	o.hears("pending", "the key for sealed values is damaged")
	if _, s := c.state(); s.Recipient != "" || !strings.Contains(s.RecipientError, "is damaged") {
		t.Errorf("config.json says %+v", s)
	}
	if raw, err := os.ReadFile(file); err != nil || string(raw) != string(kept[:len(kept)/2]) {
		t.Errorf("the damaged key was changed: %v", err)
	}
	if err := os.WriteFile(file, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	c.waitFor("the service to run", func() bool {
		return c.init().State == initctl.ServiceRunning && strings.Contains(c.target(), "one-s3cret")
	})
	c.stop()

	// One that is gone is made anew, and opens nothing of before.
	before := o.fleet().Recipient
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	c.start().says("password: is sealed for 1 recipient, and none is this container's, age1")
	o.hears("pending", "password: is sealed for 1 recipient, and none is this container's, age1")
	if now := o.fleet().Recipient; now == "" || now == before {
		t.Errorf("genesis knows the recipient %q, before it was %q", now, before)
	}
	publishSealed(g, c, sealedObject(o.seals("two-s3cret", "password", 1)), `"t"`)
	c.waitFor("the service to see the password", func() bool { return strings.Contains(c.text("seen"), "two-s3cret") })
}

// Each replica has a key of its own; one without identity, as `compose run` makes them, opens with its sibling's.
func TestSealedForReplicas(t *testing.T) {
	g := newGenesis(t)
	c := newContainer(t)
	publishSealed(g, c, `"open"`, `"t"`)
	g.start()
	o := newOperator(t, g)
	c.configure(webSettings(g, c))
	tokens := "HUB_TOKEN=" + g.ca.Token(t, g.web("")) + "\n" + g.ca.Token(t, g.web("1"))
	replica := func(n int) *container {
		r := *c
		run := c.path(fmt.Sprintf("run%d", n))
		if err := os.Mkdir(run, 0o755); err != nil {
			t.Fatal(err)
		}
		return r.start(tokens, "HUB_RUN_DIR="+run)
	}
	has := func(n int) func() bool {
		return func() bool {
			file, err := health.ReadFile(c.path(fmt.Sprintf("run%d", n)), health.ConfigFile)
			var s section
			return err == nil && json.Unmarshal(file.Section, &s) == nil && s.Applied != nil && s.Pending == nil && s.Rejected == nil &&
				strings.HasPrefix(c.text(fmt.Sprintf("run%d/service.env", n)), "PASSWORD=one-s3cret")
		}
	}
	first := replica(0)
	waitFor(t, patience, "the first replica", func() bool { return strings.Contains(first.out.String(), "the configuration is in place") }, first.out.String)
	second := replica(1)
	publishSealed(g, c, sealedObject(o.seals("one-s3cret", "password", 2)), `"t"`)
	waitFor(t, patience, "the first replica to open it", has(0), first.out.String)
	waitFor(t, patience, "the second replica to open it", has(1), second.out.String)
	third := replica(2)
	waitFor(t, patience, "the third replica to open it", has(2), third.out.String)
	if log := third.out.String(); !strings.Contains(log, "runs without identity") || strings.Contains(log, "s3cret") {
		t.Errorf("the third replica says\n%s", log)
	}
}

// A bundle's directory can hold sealed values too; a container without identity shows its recipient in its status.
func TestSealedInDirectory(t *testing.T) {
	c := newContainer(t)
	putFiles(t, c.dir, map[string]string{
		"etc/bundle/data/a.json":        `{"password": "open"}`,
		"etc/bundle/templates/app.conf": "value={{password}}\n",
		"etc/bundle/bundle.json":        fmt.Sprintf(`{"targets": {%q: {"template": "app.conf", "reload": "signal:HUP"}}}`, c.path("etc/app/app.conf")),
	})
	c.configure(map[string]any{"config": map[string]any{"settle": "300ms", "targets": []string{c.path("etc/app")}}})
	c.start()
	c.says("the service lives with the configuration")
	t.Setenv(initctl.EnvRunDir, c.path("run"))
	status, _, err := runs(t, "status")
	_, line, found := strings.Cut(status, "recipient  ")
	recipient, _, _ := strings.Cut(line, "\n")
	if err != nil || !found || seal.CheckRecipient(recipient) != nil {
		t.Fatalf("%v: status is\n%s", err, status)
	}
	text, _, err := sealing(t, "one-s3cret", "--recipient", recipient, "--key", "password")
	if err != nil {
		t.Fatal(err)
	}
	named, _, err := sealing(t, "two-s3cret", "--recipient", recipient, "--key", "password", "--for", "web.shop.vm1")
	if err != nil {
		t.Fatal(err)
	}
	putFiles(t, c.dir, map[string]string{"etc/bundle/data/a.json": `{"password": ` + sealedObject(text) + `}`})
	c.waitFor("the service to see the password", func() bool { return strings.Contains(c.text("seen"), "one-s3cret") })
	putFiles(t, c.dir, map[string]string{"etc/bundle/data/a.json": `{"password": ` + sealedObject(named) + `}`})
	c.says("data/a.json:1: password: is sealed for web.shop.vm1, and this container has no name: set identity.host, stack and service")
	if c.target() != "value=one-s3cret\n" || strings.Contains(c.out.String(), "s3cret") {
		t.Errorf("the target is %q, the log\n%s", c.target(), c.out)
	}
}
