// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/apply"
	"cloud4.internal/hub/internal/health"
)

// driftContainer runs one under a policy of drift.
func driftContainer(t *testing.T, policy string) *container {
	g, c := newGenesis(t), newContainer(t)
	publish(g, c, "one", "")
	g.start()
	settings := webSettings(g, c)
	settings["config"].(map[string]any)["drift"], settings["config"].(map[string]any)["drift_every"] = policy, "1s"
	c.configure(settings)
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.runsWith("one")
	return c
}

// driftNode is what health says of drift.
func (c *container) driftNode() (health.Node, driftState) {
	node, s := c.state()
	for _, child := range node.Children {
		if child.Name == "drift" && s.Drift != nil {
			return child, *s.Drift
		}
	}
	return health.Node{}, driftState{}
}

// byHand are the ways in which somebody changes a target, each with how it is named.
var byHand = []struct {
	what   string
	change func(file string) error
}{
	{"content", func(file string) error { return os.WriteFile(file, []byte("value=mine host=vm1\n"), 0o644) }},
	{"mode", func(file string) error { return os.Chmod(file, 0o600) }},
	{"owner", func(file string) error { return os.Chown(file, 65534, 65534) }},
	{"missing", os.Remove},
}

// What is changed by hand is told, and stays as it is until somebody puts it back.
func TestDriftReport(t *testing.T) {
	t.Parallel()
	c := driftContainer(t, apply.DriftReport)
	file := c.path("etc/app/app.conf")
	for _, by := range byHand {
		if err := by.change(file); err != nil {
			t.Fatal(err)
		}
		c.waitFor("health to warn of "+by.what, func() bool {
			n, s := c.driftNode()
			return n.State == health.Warn && strings.Contains(n.Text, "changed by hand: "+file+": ") && len(s.Found) == 1 && s.Found[0].What == by.what
		})
		if whole, _ := c.state(); whole.State != health.Warn || !strings.Contains(c.status(), "drift changed by hand "+file+": ") {
			t.Errorf("%s: the hub is %s, status says\n%s", by.what, whole.State, c.status())
		}
		if err := errors.Join(os.WriteFile(file, []byte("value=one host=vm1\n"), 0o644), os.Chmod(file, 0o644), os.Chown(file, 0, 0)); err != nil {
			t.Fatal(err)
		}
		c.waitFor("health to pass", func() bool { n, s := c.driftNode(); return n.State == health.Pass && len(s.Found) == 0 })
	}
	if n := strings.Count(c.out.String(), "a target was changed by hand: "); n != len(byHand) {
		t.Errorf("said %d times\n%s", n, c.out)
	}
}

// What is changed by hand is put back, and the service hears of it.
func TestDriftRepair(t *testing.T) {
	t.Parallel()
	c := driftContainer(t, apply.DriftRepair)
	file := c.path("etc/app/app.conf")
	for n, by := range byHand[1:] {
		if err := by.change(file); err != nil {
			t.Fatal(err)
		}
		c.waitFor("a repair of "+by.what, func() bool { node, s := c.driftNode(); return s.Repairs == n+1 && node.State == health.Pass })
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o644 || c.target() != "value=one host=vm1\n" {
			t.Errorf("%s: %v, %v, %q", by.what, info, err, c.target())
		}
	}
	if n := strings.Count(c.out.String(), `"message":"signal for the service"`); n != len(byHand)-1 {
		t.Errorf("the service was told %d times\n%s", n, c.out)
	}
	if !strings.Contains(c.status(), "drift none; repaired 3 times") {
		t.Errorf("status says\n%s", c.status())
	}
	// A fourth time within ten minutes somebody else wants it otherwise.
	if err := byHand[0].change(file); err != nil {
		t.Fatal(err)
	}
	c.waitFor("the repairs to stop", func() bool {
		n, s := c.driftNode()
		return n.State == health.Warn && s.Repairs == 3 && strings.Contains(n.Text, "somebody else keeps writing it")
	})
	if c.target() != "value=mine host=vm1\n" {
		t.Errorf("got %q", c.target())
	}
}

// What is changed by hand is wanted so.
func TestDriftKeep(t *testing.T) {
	t.Parallel()
	c := driftContainer(t, apply.DriftKeep)
	file := c.path("etc/app/app.conf")
	for _, by := range byHand[:3] {
		if err := by.change(file); err != nil {
			t.Fatal(err)
		}
		c.waitFor("health to name "+by.what, func() bool {
			n, s := c.driftNode()
			return n.State == health.Pass && strings.HasPrefix(n.Text, "changed by hand, and kept so: ") && len(s.Kept) > 0 && s.Kept[len(s.Kept)-1].What == by.what
		})
	}
	if c.target() != "value=mine host=vm1\n" {
		t.Errorf("got %q", c.target())
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	c.waitFor("health to warn of what is gone", func() bool { n, _ := c.driftNode(); return n.State == health.Warn })
}

// Repairs that do not last, or fail, end; an hour later, or with a new version, they begin anew.
func TestDriftGivesUp(t *testing.T) {
	log := zerolog.New(zerolog.NewTestWriter(t))
	found := []apply.Drift{{Target: "/a", What: "mode", Detail: "x"}, {Target: "/b", What: "content", Detail: "y"}}
	for name, failure := range map[string]error{"does not last": nil, "fails": errors.New("no space left")} {
		t.Run(name, func(t *testing.T) {
			d, now := newDrift(apply.DriftRepair, time.Second), time.Now()
			for n := range maxRepairs {
				if repair := d.look(found, nil, now, log); len(repair) != 2 {
					t.Fatalf("look %d: repairs %v", n, repair)
				}
				d.repaired([]string{"/a", "/b"}, now, failure)
				now = now.Add(time.Minute)
			}
			if repair := d.look(found, nil, now, log); len(repair) != 0 {
				t.Errorf("goes on: %v", repair)
			}
			if s := d.state(); s.Found[0].Lost == "" || failure != nil && !strings.Contains(s.Found[0].Lost, failure.Error()) {
				t.Errorf("says %+v", s)
			}
			if repair := d.look(nil, nil, now, log); len(repair) != 0 || len(d.state().Found) != 0 {
				t.Error("what is as it was written is found")
			}
			if repair := d.look(found, nil, now.Add(time.Hour), log); len(repair) != 2 {
				t.Errorf("an hour later: %v", repair)
			}
			d.forget()
			if repair := d.look(found, nil, now, log); len(repair) != 2 {
				t.Errorf("with a new version: %v", repair)
			}
		})
	}
}
