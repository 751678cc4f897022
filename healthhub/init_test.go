// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/proctest"
)

// container is one with the real hubinit as process 1 of a PID namespace, healthhub and a service.
type container struct {
	machine
	t   *testing.T
	out *output
}

// newContainer makes the directories and the programs.
func newContainer(t *testing.T, settings string) container {
	t.Helper()
	c := container{newMachine(t, settings), t, new(output)}
	if err := os.Mkdir(c.path("bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	proctest.Link(t, c.path("bin"), "healthhub")
	if out, err := exec.Command("go", "build", "-o", c.path("bin/hubinit"), "cloud4.internal/hub/baseimage/hubinit").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	return c
}

// run starts the service, a shell script, under hubinit.
func (c container) run(script string, env ...string) {
	c.t.Helper()
	cmd := proctest.Init(c.t, c.path("bin/hubinit"), "--", "sh", "-c", script)
	cmd.Dir = c.dir
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HUB_HUBS=healthhub", "HUB_RUN_DIR=" + c.path("run"), "HUB_VAR_DIR=" + c.path("state"), "HUB_CONFIG=" + c.path("hub.json"),
	}, env...)
	cmd.Stdout, cmd.Stderr = c.out, c.out
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); cmd.Wait() }()
	c.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(15 * time.Second):
			c.t.Error("the container does not end")
		}
		if c.t.Failed() {
			c.t.Logf("output:\n%s", c.out)
		}
	})
}

func (c container) init() *initctl.State {
	s, err := initctl.ReadState(c.path("run"))
	if err != nil {
		return &initctl.State{Hubs: map[string]*initctl.HubState{}}
	}
	return s
}

// check is what health.json says of a check: "pass", or "" while it says nothing.
func (c container) check(name string) string {
	f, err := health.ReadFile(c.path("run"), health.HealthFile)
	if err != nil {
		return ""
	}
	for _, n := range f.Health.Children {
		if n.Name == name {
			return strings.TrimSpace(n.State.String() + " " + n.Text)
		}
	}
	return ""
}

// healthhub is the process of the container's healthhub, as seen from here.
func (c container) healthhub() int {
	c.t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		c.t.Fatal(err)
	}
	for _, path := range lines {
		if line, err := os.ReadFile(path); err == nil && bytes.HasPrefix(line, []byte(c.path("bin/healthhub")+"\x00")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	c.t.Fatal("healthhub does not run")
	return 0
}

func (c container) touch(name string) {
	c.t.Helper()
	if err := os.WriteFile(c.path(name), nil, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// The service starts when what it needs is there, and not before; when it hangs, it is restarted where it is.
func TestWaitsAndRestarts(t *testing.T) {
	t.Parallel()
	c := newContainer(t, "")
	settings := fmt.Sprintf(`{"health": {"wait_for": ["file://%s"], "restart": {"after": "5s", "max": 1},
		"checks": {"alive": {"kind": "file", "path": %q, "class": "live", "criticality": "critical", "interval": "1s", "fall": 1, "rise": 1}}}}`,
		c.path("there"), c.path("alive"))
	if err := os.WriteFile(c.path("hub.json"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	c.run("touch alive; exec sleep 1000")
	waitFor(t, 10*time.Second, "what is waited for", func() bool {
		return strings.Contains(c.init().Service.Waiting, "healthhub: file://"+c.path("there"))
	})
	c.touch("there")
	waitFor(t, 10*time.Second, "the service", func() bool {
		return c.init().Service.State == initctl.ServiceRunning && strings.HasPrefix(c.check("alive"), "pass")
	})
	before := c.init().Service
	if err := os.Remove(c.path("alive")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 20*time.Second, "the restart", func() bool { return c.init().Service.Restarts == 1 && strings.HasPrefix(c.check("alive"), "pass") })
	after := c.init().Service
	if after.PID == before.PID || after.LastExit == nil || after.LastExit.Signal != "TERM" {
		t.Errorf("after the restart: %+v", after)
	}
	if told := c.check("hub/restart"); !strings.HasPrefix(told, "warn the service is restarted (1 of 1 in 1h): alive failed for 5s") {
		t.Error(told)
	}
	history, err := os.ReadFile(c.path("run/restarts.json"))
	if err != nil || !bytes.Contains(history, []byte(`"boot":[`)) {
		t.Errorf("%s, %v", history, err)
	}
}

// A healthhub that is killed, or stopped, is its own trouble alone.
func TestKilledAndStopped(t *testing.T) {
	t.Parallel()
	c := newContainer(t, "{}")
	c.run("echo socket $NOTIFY_SOCKET; exec sleep 1000", "HUB_NOTIFY=1")
	waitFor(t, 10*time.Second, "health", func() bool { return strings.HasPrefix(c.check("service"), "pass") })
	if want := "socket " + c.path("run/notify.sock"); !strings.Contains(c.out.String(), want) {
		t.Errorf("the service was not given %s", want)
	}
	service := c.init().Service.PID
	pid := c.healthhub()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 10*time.Second, "another healthhub", func() bool {
		h := c.init().Hubs[initctl.Healthhub]
		return h != nil && h.Restarts == 1 && h.Ready && strings.HasPrefix(c.check("service"), "pass")
	})
	// While it is stopped nobody waits for it, and what it wrote is believed for a minute at most.
	if err := syscall.Kill(c.healthhub(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	f, err := health.ReadFile(c.path("run"), health.HealthFile)
	if err != nil {
		t.Fatal(err)
	}
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	var now float64
	fmt.Sscan(string(uptime), &now)
	if left := f.ValidUntilBoot - now; left > 60 || left < 20 {
		t.Errorf("a stopped healthhub is believed for %.0f s more", left)
	}
	if s := c.init().Service; s.PID != service || s.State != initctl.ServiceRunning || s.Restarts != 0 {
		t.Errorf("the service was %d, is %+v", service, s)
	}
	if err := syscall.Kill(c.healthhub(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}
