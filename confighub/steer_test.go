// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// steer runs a command of confighub as somebody in the container does, and returns its output, its errors and its code.
func (c *container) steer(args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(c.t.Context(), c.path("bin/confighub"), args...)
	cmd.Env = c.env
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if _, exited := errors.AsType[*exec.ExitError](err); !exited {
			c.t.Fatal(err)
		}
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// steered runs one that must succeed and returns what it printed.
func (c *container) steered(args ...string) string {
	c.t.Helper()
	out, errs, code := c.steer(args...)
	if code != 0 {
		c.t.Fatalf("%v ended with %d: %s\n%s", args, code, errs, c.out)
	}
	return out
}

// status is what `confighub status` prints, with single spaces.
func (c *container) status() string {
	c.t.Helper()
	return strings.Join(strings.Fields(c.steered("status")), " ")
}

// fails runs one that must end with a code and say why.
func (c *container) fails(code int, want string, args ...string) {
	c.t.Helper()
	if out, errs, got := c.steer(args...); got != code || !strings.Contains(errs, want) {
		c.t.Errorf("%v ended with %d: %q, %s, want %s", args, got, out, errs, want)
	}
}

// runsWith waits until a value is in place and the service runs and is healthy with it.
func (c *container) runsWith(value string) bundle.Version {
	c.t.Helper()
	var v bundle.Version
	c.waitFor("a service that runs with "+value, func() bool {
		n, s := c.state()
		if s.Applied == nil || s.Trial || s.Pending != nil || n.State != health.Pass {
			return false
		}
		v = s.Applied.Version
		return c.init().State == initctl.ServiceRunning && c.target() == "value="+value+" host=vm1\n"
	})
	return v
}

// again starts the container anew and waits until its confighub can be asked.
func (c *container) again() {
	c.t.Helper()
	if code := c.stop(); code != 0 {
		c.t.Errorf("the container ended with %d\n%s", code, c.out)
	}
	c.start()
	c.waitFor("confighub to listen and the service to run", func() bool {
		_, err := os.Stat(c.path("run/config.sock"))
		return err == nil && c.init().State == initctl.ServiceRunning
	})
}

// webContainer is a container that runs with version one of its genesis.
func webContainer(t *testing.T) (*genesis, *container) {
	g, c := newGenesis(t), newContainer(t)
	publish(g, c, "one", "")
	g.start()
	c.configure(webSettings(g, c))
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.runsWith("one")
	// A signal to a service that is reading still would end that.
	c.waitFor("the service to see one", func() bool { return strings.Contains(c.text("seen"), "value=one") })
	return g, c
}

// Frozen at night: nothing new is taken, across restarts, until somebody resumes or the time is over.
func TestHold(t *testing.T) {
	t.Parallel()
	g, c := webContainer(t)
	c.fails(1, "nothing is held", "resume")
	c.fails(2, "--for: must be between 1s", "hold", "--for", "1ms")
	out := c.steered("hold", "--reason", "looking at it")
	if !strings.Contains(out, "stays in place: held since ") || !strings.Contains(out, " by root: looking at it") {
		t.Errorf("hold says %q", out)
	}
	c.waitFor("health to name the hold", func() bool {
		n, s := c.state()
		return s.Hold != nil && n.State == health.Pass && strings.Contains(n.Text, "is in place, unsigned; held since ") && strings.HasSuffix(n.Text, " by root: looking at it")
	})
	publish(g, c, "two", "")
	waits := func() bool {
		n, s := c.state()
		return s.Pending != nil && s.Pending.Held && n.State == health.Warn && strings.Contains(n.Text, " waits, ") && strings.Contains(n.Text, "looking at it")
	}
	c.waitFor("the new version to wait", waits)
	_, s := c.state()
	waitFor(t, waitLimit, "genesis to know that it waits", func() bool {
		return strings.Contains(g.log.String(), fmt.Sprintf(`"serial":%d,"state":"pending"`, s.Pending.Version.Serial))
	}, g.log.String)
	if out := c.status(); !strings.Contains(out, "hold held since ") || !strings.Contains(out, ": held, confighub resume takes it") {
		t.Errorf("status says\n%s", out)
	}
	c.again()
	c.waitFor("the new version to wait after a restart", waits)
	if c.target() != "value=one host=vm1\n" || c.init().State != initctl.ServiceRunning {
		t.Errorf("held, and runs with %q", c.target())
	}
	if out := c.steered("resume"); !strings.Contains(out, "new versions are taken again\nversion ") || !strings.Contains(out, " is in place\n") {
		t.Errorf("resume says %q", out)
	}
	c.runsWith("two")

	c.steered("hold", "--for", "2s")
	publish(g, c, "three", "")
	c.says("a new version waits: held since ")
	c.runsWith("three")
	if _, s := c.state(); s.Hold != nil {
		t.Errorf("still %+v", s.Hold)
	}
	c.steered("hold")
	publish(g, c, "bad", "")
	c.waitFor("the bad one to wait", func() bool { _, s := c.state(); return s.Pending != nil && s.Pending.Held })
	c.fails(1, "was rejected: "+c.path("etc/app/app.conf")+": check app-test", "resume")
}

// A version that waits and that the genesis takes back is not taken at the end of the hold.
func TestHoldOutdated(t *testing.T) {
	t.Parallel()
	g, c := webContainer(t)
	c.steered("hold")
	publish(g, c, "two", "")
	c.waitFor("two to wait", func() bool { _, s := c.state(); return s.Pending != nil && s.Pending.Held })
	_, s := c.state()
	two := s.Pending.Version
	g.write("services/web/data/web.json", `{"value": "four"}`)
	c.waitFor("four to wait", func() bool { _, s := c.state(); return s.Pending != nil && s.Pending.Version != two })
	c.steered("resume")
	c.runsWith("four")
	if strings.Contains(c.text("seen"), "two") {
		t.Error("two was taken on the way")
	}
}

// A hold keeps no service from starting: where what was in place is lost, the version that is offered is taken.
func TestHoldGivesWay(t *testing.T) {
	t.Parallel()
	g, c := webContainer(t)
	c.steered("hold")
	c.stop()
	blobs, err := filepath.Glob(c.path("var/0/config/blobs/*.tar.gz"))
	if err != nil || len(blobs) != 1 {
		t.Fatalf("kept are %v, %v", blobs, err)
	}
	if err := os.WriteFile(blobs[0], []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	publish(g, c, "two", "")
	c.start()
	c.says("the version is taken although new ones are held, since nothing else can be put in place")
	c.runsWith("two")
	publish(g, c, "three", "")
	c.waitFor("three to wait", func() bool { _, s := c.state(); return s.Pending != nil && s.Pending.Held })
}

// A way back that is cut off is finished by the next confighub.
func TestRollbackKilled(t *testing.T) {
	t.Parallel()
	g, c := webContainer(t)
	publish(g, c, "two", "")
	two := c.runsWith("two")
	state, err := initctl.ReadState(c.path("run"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(c.path("bin/confighub"), "rollback", "--reason", "cut off")
	cmd.Env = c.env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.waitFor("one to be in place, and not yet settled", func() bool {
		n, _ := c.state()
		return c.target() == "value=one host=vm1\n" && strings.Contains(n.Text, " is being put in place, "+two.String()+" is the last good one")
	})
	if err := c.kill(state.Hubs["confighub"].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // it ends with 1, but where the machine was so slow that the rollback was done before the kill
	c.waitFor("the way back to be finished", func() bool {
		_, s := c.state()
		return s.Rejected != nil && s.Rejected.Version == two && s.Rejected.Errors[0] == "rolled back by hand: by root: cut off" &&
			s.Applied != nil && s.Applied.Version != two && s.Source.Reached && strings.Count(c.text("seen"), "value=one") >= 2
	})
	if c.target() != "value=one host=vm1\n" {
		t.Errorf("got %q", c.target())
	}
}

// Back by hand: the version left is not taken again and genesis knows; newer ones are.
func TestRollback(t *testing.T) {
	t.Parallel()
	g, c := webContainer(t)
	c.fails(1, "there is nothing to go back to", "rollback")
	publish(g, c, "two", "")
	two := c.runsWith("two")
	out := c.steered("rollback", "--reason", "too slow")
	if c.target() != "value=one host=vm1\n" || !strings.Contains(out, "is in place again; "+two.String()+" is not taken any more") {
		t.Errorf("%q is in place, and rollback says %q", c.target(), out)
	}
	c.waitFor("the service to see one again", func() bool { return strings.Count(c.text("seen"), "value=one") == 2 })
	_, s := c.state()
	waitFor(t, waitLimit, "genesis to hear of it, and of what is in place", func() bool {
		_, after, told := strings.Cut(g.log.String(), `"state":"rolled_back","errors":["rolled back by hand: by root: too slow"]`)
		return told && strings.Contains(after, fmt.Sprintf(`"serial":%d,"state":"applied"`, s.Applied.Version.Serial))
	}, g.log.String)
	rejected := func() bool {
		n, s := c.state()
		return s.Rejected != nil && s.Rejected.Version == two && n.State == health.Warn && strings.Contains(n.Text, "rolled back by hand: by root: too slow")
	}
	c.waitFor("status to say so", rejected)
	c.again()
	c.waitFor("status to say so after a restart", rejected)
	if c.target() != "value=one host=vm1\n" {
		t.Errorf("it was tried again: %q", c.target())
	}
	c.steered("accept", "--serial", fmt.Sprint(two.Serial))
	c.runsWith("two")
	publish(g, c, "three", "")
	c.runsWith("three")

	// A version that the container does not take any more is no way back.
	settings := webSettings(g, c)
	settings["config"].(map[string]any)["actions"] = map[string]any{"app-test": []string{"sh", "-c", "if grep -n two {{path}}; then exit 1; fi"}}
	c.configure(settings)
	c.again()
	three := c.runsWith("three")
	c.fails(1, "version "+three.String()+" stays in place, since ", "rollback")
	if c.runsWith("three") != three {
		t.Error("another version is in place")
	}
}

// A genesis that was restored from a backup is mended by one command.
func TestAccept(t *testing.T) {
	t.Parallel()
	g, c := webContainer(t)
	g.stop()
	backup := t.TempDir()
	if err := os.CopyFS(backup+"/state", os.DirFS(g.state)); err != nil {
		t.Fatal(err)
	}
	_, s := c.state()
	one := s.Applied.Version
	publish(g, c, "two", "")
	g.start()
	two := c.runsWith("two")
	g.stop()
	g.state = backup + "/state"
	publish(g, c, "one", "")
	g.start()
	want := fmt.Sprintf("genesis offers %d, older than %d applied here: restored from a backup? `confighub accept --serial %d` takes it", one.Serial, two.Serial, one.Serial)
	c.waitFor("status to say what is to be done", func() bool {
		n, s := c.state()
		return s.Source.Refused == want && s.Source.Reached && !s.Stale && n.State == health.Warn && n.Text == want
	})
	if out := c.status(); !strings.Contains(out, "refused "+want) {
		t.Errorf("status says\n%s", out)
	}
	c.fails(1, "the source offers version "+one.String()+", not 5", "accept", "--serial", "5")
	c.fails(2, "--serial is missing", "accept")
	if c.target() != "value=two host=vm1\n" {
		t.Errorf("taken without leave: %q", c.target())
	}
	c.steered("accept", "--serial", fmt.Sprint(one.Serial))
	if v := c.runsWith("one"); v != one {
		t.Errorf("%s is in place", v)
	}
	publish(g, c, "three", "")
	c.runsWith("three")
}

// A directory is steered like a genesis.
func TestSteerDirectory(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(c.path("etc/bundle/templates"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.path("etc/bundle/"+name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("templates/app.conf", "value=one host=vm1\n")
	write("bundle.json", fmt.Sprintf(`{"targets": {%q: {"template": "app.conf", "reload": "signal:HUP"}}}`, c.path("etc/app/app.conf")))
	c.configure(map[string]any{"config": map[string]any{"settle": "300ms", "targets": []string{c.path("etc/app")}}})
	c.start()
	c.runsWith("one")
	write("templates/app.conf", "value=two host=vm1\n")
	two := c.runsWith("two")
	c.steered("rollback")
	c.again()
	c.waitFor("one to stay, and two to be bad", func() bool {
		_, s := c.state()
		return c.init().State == initctl.ServiceRunning && s.Source.Reached && s.Rejected != nil && s.Rejected.Version == two && c.target() == "value=one host=vm1\n"
	})
	c.steered("accept", "--serial", fmt.Sprint(two.Serial))
	if v := c.runsWith("two"); v != two {
		t.Errorf("%s is in place", v)
	}
	c.steered("hold")
	write("templates/app.conf", "value=three host=vm1\n")
	c.waitFor("three to wait", func() bool { _, s := c.state(); return s.Pending != nil && s.Pending.Held })
	write("templates/app.conf", "value=two host=vm1\n")
	c.waitFor("nothing to wait, since two is in place", func() bool { _, s := c.state(); return s.Pending == nil })
	if out := c.steered("resume"); out != "new versions are taken again\n" {
		t.Errorf("resume says %q", out)
	}
	c.steered("hold")
	write("templates/app.conf", "value=four host=vm1\n")
	var four bundle.Version
	c.waitFor("four to wait", func() bool {
		_, s := c.state()
		if s.Pending == nil || !s.Pending.Held {
			return false
		}
		four = s.Pending.Version
		return true
	})
	if out := c.steered("resume"); out != "new versions are taken again\nversion "+four.String()+" is in place\n" {
		t.Errorf("resume says %q", out)
	}
}

// A directory that is not mounted, now or at a start, takes nothing away; one that says that it wants nothing does.
func TestEmptiedDirectory(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	held := c.path("etc/bundle")
	if err := os.MkdirAll(held+"/templates", 0o755); err != nil {
		t.Fatal(err)
	}
	manifest := fmt.Sprintf(`{"targets": {%q: {"template": "app.conf", "reload": "signal:HUP"}}}`, c.path("etc/app/app.conf"))
	for name, text := range map[string]string{"templates/app.conf": "value=one host=vm1\n", "bundle.json": manifest} {
		if err := os.WriteFile(filepath.Join(held, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c.configure(map[string]any{"config": map[string]any{"settle": "300ms", "start_wait": "200ms", "targets": []string{c.path("etc/app")}}})
	c.start()
	c.runsWith("one")
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	empty := func() bool {
		n, s := c.state()
		return s.Stale && n.State == health.Warn && strings.Contains(s.Source.Error, "is empty, and held a bundle before: is it mounted?")
	}
	move(held, c.path("etc/away"))
	if err := os.Mkdir(held, 0o755); err != nil {
		t.Fatal(err)
	}
	c.waitFor("health to say that it is empty", empty)
	c.again()
	c.waitFor("health to say so after a restart", empty)
	if c.target() != "value=one host=vm1\n" {
		t.Errorf("%q is in place", c.target())
	}
	if err := os.Remove(held); err != nil {
		t.Fatal(err)
	}
	move(c.path("etc/away"), held)
	c.runsWith("one")
	if err := os.RemoveAll(held + "/templates"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(held+"/bundle.json", []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.waitFor("the target to be taken away", func() bool { _, err := os.Stat(c.path("etc/app/app.conf")); return os.IsNotExist(err) })
}

// Commands say it when there is nobody to ask.
func TestSteerNobody(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	for _, args := range [][]string{{"hold"}, {"resume"}, {"rollback"}, {"accept", "--serial", "1"}} {
		c.fails(1, "confighub does not run here: there is no "+c.path("run/config.sock"), args...)
	}
	c.fails(2, `hold takes no arguments, got "now"`, "hold", "now")
}
