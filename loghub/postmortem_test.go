// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/initctl"
)

// tells has hubinit say how the service is.
func (c *container) tells(boot string, service initctl.ServiceState) {
	c.t.Helper()
	if err := (&initctl.State{Boot: boot, Slot: "0", Service: service}).Write(c.run); err != nil {
		c.t.Fatal(err)
	}
}

// died is a service that ended so long ago.
func died(before time.Duration, exit initctl.Exit) initctl.ServiceState {
	exit.At = time.Now().Add(-before).UTC()
	return initctl.ServiceState{State: initctl.ServiceExited, LastExit: &exit}
}

func postmortems(r received) bool { return r.text("event_name") == "hub.postmortem" }

// How the service ended is told once, with its last words, whatever happens to loghub.
func TestPostmortem(t *testing.T) {
	g := newGenesis(t)
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q}}`, g.url()))
	c.env = []string{"DB_PASSWORD=correct-horse-battery"}
	c.enrol(g.ca, webID)
	c.tells("b1", initctl.ServiceState{State: initctl.ServiceRunning})
	h := c.start()
	fmt.Fprint(c.pipes["stdout"].w, "it goes well\npassword is correct-horse-battery\n")
	g.waitMessages(2, nil)
	fmt.Fprint(c.pipes["stderr"].w, "\x1b[31mpanic: no more\x1b[0m\n\ngoroutine 1 [running]:")
	g.waitMessages(4, nil)
	c.tells("b1", died(0, initctl.Exit{Code: 2, Uptime: 3600}))
	got := g.waitMessages(1, postmortems)
	want := "the service exited with code 2 after 1h0m0s\nit goes well\npassword is ***DB_PASSWORD***\npanic: no more\ngoroutine 1 [running]:"
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Error(diff)
	}
	for _, e := range g.events() {
		if postmortems(e) && (e["level"] != "fatal" || e["process.exit.code"] != 2.0 || e["hub.exit.uptime"] != 3600.0 || e["hub.exit.lines"] != 4.0 || e["service.name"] != "web") {
			t.Errorf("%v", e)
		}
	}

	h.kill()
	h = c.start() // knows what was told
	// A second end, after a restart in place that a hub asked for; and the service runs again.
	second := died(0, initctl.Exit{Code: 143, Signal: "TERM", Uptime: 0.5, Asked: "restart by confighub"})
	second.State, second.StartedAt, second.Restarts = initctl.ServiceRunning, second.LastExit.At.Add(time.Millisecond), 1
	c.tells("b1", second)
	got = g.waitMessages(2, postmortems)
	if got[1] != "the service was killed by SIGTERM after 500ms (asked: restart by confighub)" {
		t.Errorf("%q", got)
	}
	// The last one comes with TERM.
	fmt.Fprint(c.pipes["stdout"].w, "out of memory soon\n")
	c.tells("b1", died(0, initctl.Exit{Code: 137, Signal: "KILL", OOM: true, Uptime: 60}))
	h.stop(t)
	got = g.messages(postmortems)
	if len(got) != 3 || got[2] != "the service was killed for memory (OOM) after 1m0s\nout of memory soon" {
		t.Errorf("%q", got)
	}
	_, state := c.logState()
	if state.Severities == nil || state.Severities.Fatal != 0 {
		t.Errorf("an event of ours counts as the service's: %+v", state.Severities)
	}
}

// Where there is no receiver the copy tells it.
func TestPostmortemInTheCopy(t *testing.T) {
	c := newContainer(t, `{"log": {"stdout": "json"}}`)
	c.tells("b1", died(time.Hour, initctl.Exit{Code: 1})) // before loghub was there: it cannot know whether that was told
	h := c.start()
	fmt.Fprint(c.pipes["stdout"].w, "last word\n")
	waitFor(t, 60*time.Second, "the line", func() bool { return strings.Contains(content(t, c.out), "last word") })
	c.tells("b1", died(0, initctl.Exit{Code: 3, Uptime: 1}))
	h.stop(t)
	if got := content(t, c.err); strings.Count(got, "hub.postmortem") != 1 || !strings.Contains(got, `"message":"the service exited with code 3 after 1s\nlast word"`) {
		t.Errorf("%s", got)
	}
}

// A container whose process 1 was killed says so when it starts again; one that was stopped does not.
func TestSilentEnd(t *testing.T) {
	g := newGenesis(t)
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q}}`, g.url()))
	c.enrol(g.ca, webID)
	mark := filepath.Join(c.state, "log", lifeFile)
	for i, boot := range []string{"b1", "b1", "b2", "b3"} {
		c.tells(boot, initctl.ServiceState{State: initctl.ServiceRunning})
		h := c.start()
		if _, err := os.Stat(mark); err != nil {
			t.Fatal(err)
		}
		want := 0
		if i >= 2 {
			want = 1
		}
		fmt.Fprintf(c.pipes["stdout"].w, "life %d\n", i)
		g.waitMessages(i+1, func(r received) bool { return strings.HasPrefix(r.text("message"), "life") })
		if got := g.messages(postmortems); len(got) != want {
			t.Errorf("start %d: %q", i, got)
		}
		if i == 2 {
			h.stop(t)
			if _, err := os.Stat(mark); err == nil {
				t.Error("the mark stays when the container is stopped")
			}
			continue
		}
		h.kill()
	}
	for _, e := range g.events() {
		if postmortems(e) && (e["level"] != "error" || !strings.Contains(e.text("message"), "ended without a word") || e.text("log.record.uid") != "b1end.1") {
			t.Errorf("%v", e)
		}
	}
}
