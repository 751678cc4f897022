// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// A full volume keeps no container from starting: with what it had, or with what its genesis has.
func TestFullVolume(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	g := newGenesis(t)
	c := newContainer(t)
	if err := syscall.Mount("tmpfs", c.path("var"), "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(c.path("var"), syscall.MNT_DETACH) })
	publish(g, c, "one", "")
	g.start()
	c.configure(webSettings(g, c))
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.says("the service lives with the configuration")
	c.stop()
	g.stop()
	if err := os.WriteFile(c.path("var/filler"), make([]byte, 2<<20), 0o600); err == nil {
		t.Fatal("the volume is not full")
	}

	os.Remove(c.path("etc/app/app.conf"))
	c.start()
	c.says("the way back cannot be kept: this start goes on without one")
	c.waitFor("the service to run", func() bool { return c.init().State == initctl.ServiceRunning })
	if c.target() != "value=one host=vm1\n" {
		t.Errorf("it runs with %q", c.target())
	}
	c.stop()

	publish(g, c, "two", "")
	g.start()
	c.start()
	c.says("could not be kept")
	c.waitFor("the service to see two", func() bool { return strings.Contains(c.text("seen"), "value=two") })
	c.waitFor("config.json and health to say so", func() bool {
		n, s := c.state()
		return s.Applied != nil && s.Pending == nil && n.State == health.Warn && strings.Contains(n.Text, "is in place and cannot be kept")
	})
}

// In a full run directory, where nobody can say that the service runs, a confighub that is started again changes
// nothing under it without telling it.
func TestFullRunDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	g, c := newGenesis(t), newContainer(t)
	if err := syscall.Mount("tmpfs", c.path("run"), "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(c.path("run"), syscall.MNT_DETACH) })
	publish(g, c, "one", "")
	g.start()
	c.configure(webSettings(g, c))
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.runsWith("one")
	c.waitFor("the service to see one", func() bool { return strings.Contains(c.text("seen"), "value=one") })
	state, err := initctl.ReadState(c.path("run"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.path("run/filler"), make([]byte, 2<<20), 0o600); err == nil {
		t.Fatal("the run directory is not full")
	}
	if err := os.Remove(c.path("run/init.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.path("run/filler2"), make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the run directory is not full")
	}
	g.stop()
	publish(g, c, "two", "")
	if err := c.kill(state.Hubs["confighub"].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	g.start() // before confighub is back, which has not opened the gate itself when it hears of two
	c.says("cannot write init.json")
	waitFor(t, waitLimit, "two to be fetched", func() bool { return strings.Count(g.log.String(), "blobs/sha256/") > 0 }, g.log.String)
	if c.target() != "value=one host=vm1\n" {
		t.Errorf("%q is in place, and nobody told the service", c.target())
	}
	for _, name := range []string{"run/filler", "run/filler2"} {
		os.Remove(c.path(name))
	}
	c.waitFor("the service to see two", func() bool { return strings.Contains(c.text("seen"), "value=two") })
	c.runsWith("two")
}
