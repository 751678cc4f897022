// SPDX-License-Identifier: AGPL-3.0-or-later

package lifecycle

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/genesistest"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// TestKillHubs kills each hub 20 times, all three at their own pace: the service does not notice, the hub is back, no line
// is lost.
func TestKillHubs(t *testing.T) {
	t.Parallel()
	const kills = 20
	g := genesistest.New(t)
	c := newService(t, g, "signal:HUP")
	// The pauses between restarts grow to 30 s, which would be minutes here.
	c.env = append(c.env, initctl.EnvRestartMax+"=200ms")
	c.up("first")
	waitHealth(t, g, c, health.Pass)
	before := c.state()
	stop := asking(c)
	t.Run("kills", func(t *testing.T) {
		for _, hub := range []string{initctl.Loghub, initctl.Healthhub, initctl.Confighub} {
			t.Run(hub, func(t *testing.T) {
				t.Parallel()
				c := c.in(t)
				for i := range kills {
					c.killHub(hub, fmt.Sprintf("kill %d of %s", i, hub))
				}
			})
		}
	})
	after := c.until("all hubs are back", func(s *initctl.State) bool {
		for _, hub := range s.Hubs {
			if hub.State != initctl.HubRunning || !hub.Ready || hub.Restarts < kills {
				return false
			}
		}
		return true
	})
	answers, failed := stop()
	if len(failed) > 0 || answers < 100 {
		t.Errorf("%d requests were answered, %d failed: %v", answers, len(failed), failed)
	}
	if after.Service.PID != before.Service.PID || !after.Service.StartedAt.Equal(before.Service.StartedAt) || after.Boot != before.Boot {
		t.Errorf("the service was %+v, is %+v", before.Service, after.Service)
	}
	t.Run("they work", func(t *testing.T) {
		setPage(t, g, "second", 0)
		c.waitPage("second")
		waitWell(t, g, c)
		c.say("stderr", "after all kills")
		g.WaitEvent(t, c.id, "after all kills", soon)
	})
	t.Run("no line is lost", func(t *testing.T) {
		counts := map[string]int{}
		for _, e := range g.Events(t, c.id) {
			counts[e.Text("message")]++
		}
		for i := range kills {
			for hub := range after.Hubs {
				for _, when := range []string{"before", "after"} {
					line := fmt.Sprintf("%s kill %d of %s", when, i, hub)
					if counts[line] != 1 {
						t.Errorf("%q arrived %d times", line, counts[line])
					}
				}
			}
		}
	})
	t.Run("stop", func(t *testing.T) {
		if code, took := c.stop(); code != 0 || took > 2*time.Second {
			t.Errorf("exit code %d after %v", code, took)
		}
	})
}

// waitWell waits until the host shows everything of the container as well but, at most, that hubs were restarted.
func waitWell(t *testing.T, g *genesistest.Genesis, c *container) {
	t.Helper()
	var root health.Node
	if !genesistest.Eventually(t.Context(), soon, func() bool {
		root, _ = g.Snapshot(t)
		node, ok := findContainer(root, c)
		for _, check := range node.Children {
			ok = ok && (check.State == health.Pass || check.Name == "hub/init" && check.State == health.Warn && strings.Contains(check.Text, "restarted"))
		}
		return ok
	}) {
		t.Fatalf("the host does not show the container as well:\n%s", asJSON(t, root))
	}
}

// killHub waits until a hub is at work, and kills it between two lines of the service.
func (c *container) killHub(hub, what string) {
	c.t.Helper()
	s := c.until(hub+" runs", func(s *initctl.State) bool { return s.Hubs[hub].State == initctl.HubRunning && s.Hubs[hub].Ready })
	c.say("stdout", "before "+what)
	c.kill(s.Hubs[hub].PID, syscall.SIGKILL)
	c.say("stdout", "after "+what)
	c.until(hub+" is known to be dead", func(now *initctl.State) bool { return now.Hubs[hub].PID != s.Hubs[hub].PID })
}

// TestStop: the code is the service's own, as fast as the service and as slow as it needs; its last line arrives.
func TestStop(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name           string
		args           []string
		code           int
		atLeast, below time.Duration
	}{
		{"at once", []string{"-code", "7"}, 7, 0, 2 * time.Second},
		{"in 3 s", []string{"-slow", "3s", "-code", "0"}, 0, 3 * time.Second, 5 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := genesistest.New(t)
			c := newService(t, g, "signal:HUP", test.args...)
			c.up("first")
			g.WaitEvent(t, c.id, "service: configuration read: first", soon)
			code, took := c.stop()
			if code != test.code || took < test.atLeast || took > test.below {
				t.Errorf("exit code %d after %v, want %d after %v to %v", code, took, test.code, test.atLeast, test.below)
			}
			// The container is gone: what arrives now was sent before its end.
			g.WaitEvent(t, c.id, "service: last line", time.Second)
		})
	}
}
