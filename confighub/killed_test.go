// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// A killed confighub comes back, at the worst moment too, and the service does not notice.
func TestKilled(t *testing.T) {
	t.Parallel()
	g := newGenesis(t)
	c := newContainer(t)
	publish(g, c, "start", "")
	g.start()
	c.configure(webSettings(g, c))
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.says("the service lives with the configuration")
	pid := c.init().PID
	for n := range 4 {
		var hub initctl.HubState
		c.waitFor("confighub to run", func() bool {
			state, err := initctl.ReadState(c.path("run"))
			if err == nil {
				hub = *state.Hubs["confighub"]
			}
			return err == nil && hub.State == initctl.HubRunning && hub.Restarts == n
		})
		value := fmt.Sprintf("v%d", n)
		publish(g, c, value, "")
		if n%2 == 1 { // in the middle of settling
			c.waitFor("the new file", func() bool { return strings.Contains(c.target(), value) })
		}
		// Pids in init.json are those of the container's namespace.
		if err := c.kill(hub.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		c.waitFor("the service to see "+value, func() bool { return strings.Contains(c.text("seen"), "value="+value) })
	}
	c.waitFor("a healthy state", func() bool { n, s := c.state(); return n.State == health.Pass && s.Applied != nil && s.Rejected == nil })
	if c.init().PID != pid || c.target() != "value=v3 host=vm1\n" {
		t.Errorf("pid %d, was %d; %q", c.init().PID, pid, c.target())
	}
}

// kill sends a signal to a process by its pid inside of the container.
func (c *container) kill(inside int, signal syscall.Signal) error {
	children, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", c.cmd.Process.Pid))
	if err != nil {
		return err
	}
	for _, name := range children {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(raw)) {
			status, err := os.ReadFile("/proc/" + field + "/status")
			if err != nil || !strings.Contains(string(status), fmt.Sprintf("\t%d\n", inside)) {
				continue
			}
			for line := range strings.Lines(string(status)) {
				numbers := strings.Fields(line)
				if numbers[0] == "NSpid:" && numbers[len(numbers)-1] == strconv.Itoa(inside) {
					outside, err := strconv.Atoi(field)
					if err != nil {
						return err
					}
					return syscall.Kill(outside, signal)
				}
			}
		}
	}
	return fmt.Errorf("no process %d in the container", inside)
}

// A TERM from nowhere does not start the service without its configuration.
func TestTermBeforeReady(t *testing.T) {
	t.Parallel()
	g, c := newGenesis(t), newContainer(t)
	publish(g, c, "one", "")
	g.start()
	g.stop()
	c.configure(webSettings(g, c))
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.says("the service waits for the configuration")
	confighub := func() initctl.HubState {
		state, err := initctl.ReadState(c.path("run"))
		if err != nil || state.Hubs["confighub"] == nil {
			return initctl.HubState{}
		}
		return *state.Hubs["confighub"]
	}
	if err := c.kill(confighub().PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	c.waitFor("confighub to be started again", func() bool { h := confighub(); return h.Restarts == 1 && h.State == initctl.HubRunning })
	if exit := confighub().LastExit; exit.Code != 1 || c.init().State != initctl.ServiceWaiting {
		t.Errorf("confighub ended with %+v, the service is %s", exit, c.init().State)
	}
	g.start()
	c.runsWith("one")
}
