// SPDX-License-Identifier: AGPL-3.0-or-later

package baseimage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/baseimage/dockertest"
)

// alive is a check that a test breaks by removing a file.
const alive = `"checks": {"alive": {"kind": "file", "path": "/tmp/alive", "class": "live", "criticality": "critical", "interval": "1s", "fall": 1, "rise": 1}}`

const touchAndSleep = "touch /tmp/alive; exec sleep infinity"

// TestBadDays is one day on one host, in order. What takes a minute begins first, and the rest happens meanwhile.
func TestBadDays(t *testing.T) {
	f := newFleet(t, `{"containers": {"web.shop.vm1": {}, "hung.shop.vm1": {}, "asleep.shop.vm1": {}, "mail.shop.vm1": {}}}`)
	web := f.run(t, "web", `{`+alive+`}`, nil, "sh", "-c", touchAndSleep)
	hung := f.run(t, "hung", `{`+alive+`}`, nil, "sh", "-c", touchAndSleep)
	asleep := f.run(t, "asleep", `{"restart": {"after": "5s"}, `+alive+`}`, nil, "sh", "-c", touchAndSleep)
	for _, m := range []member{web, hung, asleep} {
		f.shown(t, m.service+"/alive", "pass")
	}
	begun := map[string]initState{"web": web.init(t), "hung": hung.init(t), "asleep": asleep.init(t)}

	// Until the end of the day: an agent that hangs, a container that is paused, and the server of the host begins anew.
	stopped := hung.healthhub(t, 0)
	hung.Shell(t, fmt.Sprint("kill -STOP ", stopped))
	dockertest.Docker(t, "pause", string(asleep.Container))
	dockertest.Docker(t, "restart", string(f.host))
	// Its service hangs from now on.
	stuck := f.run(t, "stuck", `{"restart": {"after": "5s", "max": 1}, `+alive+`}`, nil, "sh", "-c", touchAndSleep)
	f.shown(t, "stuck/alive", "pass")
	before := stuck.init(t)
	stuck.Shell(t, "rm /tmp/alive")
	t.Run("what was well is unknown", func(t *testing.T) { f.shown(t, "asleep", "unknown", "stale", "silent since") })

	t.Run("a check that forks and hangs", func(t *testing.T) { testLeftovers(t, f) })
	t.Run("out of memory", func(t *testing.T) { testOutOfMemory(t, f) })
	t.Run("restarted again and again", func(t *testing.T) { testRestartLoop(t, f) })
	t.Run("a job", func(t *testing.T) { testJob(t, f) })
	t.Run("web before db", func(t *testing.T) { testWaitFor(t, f) })
	t.Run("a service that hangs", func(t *testing.T) { testRestartInPlace(t, f, stuck, before) })
	t.Run("settings that are wrong", func(t *testing.T) { testBadSettings(t, f) })
	t.Run("no entry point", testBypassed)
	t.Run("two with one identity", func(t *testing.T) { testTwins(t, f) })
	t.Run("an alarm that is tried, and one that is known", func(t *testing.T) { testChaosAndMute(t, f) })
	t.Run("the server of the host has begun anew", func(t *testing.T) {
		f.shown(t, "web", "pass")
		f.until(t, f.genesis, "vm1/web.shop.vm1/alive", "pass")
	})
	t.Run("killed again and again", func(t *testing.T) { testKilled(t, f, web) })
	t.Run("the host cut off", func(t *testing.T) { testCutOff(t, f) })
	t.Run("stopped and removed", func(t *testing.T) { testGoodbye(t, f) })

	t.Run("one that never came", func(t *testing.T) { f.shown(t, "mail", "fail", "missing") })
	t.Run("paused", func(t *testing.T) {
		f.shown(t, "asleep", "fail", "missing")
		dockertest.Docker(t, "unpause", string(asleep.Container))
		f.awake(t, asleep)
	})
	t.Run("hung", func(t *testing.T) {
		hung.docker(t, "unhealthy", "stale")
		hung.Shell(t, fmt.Sprint("kill -CONT ", stopped))
		hung.docker(t, "healthy")
		f.awake(t, hung)
	})
	for _, m := range []member{web, hung, asleep} {
		if now := m.init(t); now.Service != begun[m.service].Service {
			t.Errorf("the service of %s was %+v, is %+v", m.service, begun[m.service].Service, now.Service)
		}
	}
	t.Run("all gone", func(t *testing.T) {
		for _, m := range []member{web, hung, asleep} {
			dockertest.Docker(t, "stop", string(m.Container))
		}
		f.shown(t, "web", "warn", "stopping")
	})
}

// awake waits until a container that stood still is seen to be well, with no more said of it than that it was.
func (f *fleet) awake(t *testing.T, m member) {
	t.Helper()
	f.shown(t, m.service+"/alive", "pass", "!stale")
	f.shown(t, m.service+"/hub/health", "warn", "stood still")
	f.shown(t, m.service, "warn", "!forked", "!stale", "!missing")
}

func testKilled(t *testing.T, f *fleet, web member) {
	pid := web.healthhub(t, 0)
	for range 4 {
		web.Shell(t, fmt.Sprint("kill -9 ", pid))
		pid = web.healthhub(t, pid)
	}
	f.shown(t, "web/alive", "pass")
	f.shown(t, "web/hub/init", "warn", "healthhub", "restarted")
	f.shown(t, "web", "warn", "!forked")
	web.docker(t, "healthy")
}

// testLeftovers has a check that forks, hangs and hides from its process group: nothing of it is left.
func testLeftovers(t *testing.T, f *fleet) {
	const script = `setsid sleep 4001 & sleep 4002 & (setsid sh -c 'sleep 4003 & exec sleep 4004' &) ; sleep 4005`
	m := f.run(t, "forks", fmt.Sprintf(`{"checks": {"hangs": {"kind": "exec", "command": ["sh", "-c", %q], "interval": "1s", "timeout": "500ms",
		"fall": 2, "start_deadline": "1s"}}}`, script), nil, "sleep", "infinity")
	f.shown(t, "forks/hangs", "fail")
	const list = `for p in /proc/[0-9]*; do tr '\0' ' ' <$p/cmdline; echo; done 2>/dev/null | grep 'sleep 4[0]0' || true`
	for range 3 { // between two looks
		left := ""
		dockertest.WaitFor(t, late, "nothing left of the check", func() bool { left = m.Shell(t, list); return left == "" })
		m.Shell(t, "sleep 1")
	}
}

func testOutOfMemory(t *testing.T, f *fleet) {
	// The service stays, a child of it takes more than there is.
	m := f.run(t, "greedy", `{}`, []string{"--memory", "64m", "--memory-swap", "64m"},
		"sh", "-c", `while :; do [ ! -e /tmp/go ] || { rm /tmp/go; perl -e '$x = "x" x 200_000_000; sleep 9'; }; sleep 0.2; done`)
	f.shown(t, "greedy", "pass")
	m.Shell(t, "touch /tmp/go")
	f.shown(t, "greedy/hub/init", "warn", "killed for want of memory")
	f.shown(t, "greedy/service", "pass")
}

func testRestartLoop(t *testing.T, f *fleet) {
	f.run(t, "loops", `{}`, []string{"--restart", "always"}, "sh", "-c", "sleep 1; exit 3")
	f.shown(t, "loops/runtime/restarts", "fail", "restarted 3 times")
}

func testJob(t *testing.T, f *fleet) {
	m := f.run(t, "backup", `{"job": {"every": "1h"}}`, nil, "sh", "-c", "exit 3")
	if code := m.Wait(t); code != 3 {
		t.Errorf("the container ends with %d", code)
	}
	f.shown(t, "backup/job", "fail", "3")
	dockertest.Docker(t, "rm", string(m.Container))
	m = f.runOn(t, f.dir+"/volumes/backup:/var/lib/hub", "backup", `{"job": {"every": "1h"}}`, nil, "sh", "-c", "exit 0")
	if code := m.Wait(t); code != 0 {
		t.Errorf("the container ends with %d", code)
	}
	f.shown(t, "backup", "pass", "!stopping")
	dockertest.Docker(t, "rm", string(m.Container))
	f.shown(t, "backup", "pass", "!stopping", "!stale")
}

func testWaitFor(t *testing.T, f *fleet) {
	const wait = `{"wait_for": ["tcp://db:5432"]}`
	late := f.run(t, "late", wait, []string{"--env", "HUB_START_DEADLINE=3s"}, "sleep", "infinity")
	shop := f.run(t, "shop", wait, nil, "sleep", "infinity")
	shop.docker(t, "starting", "tcp://db:5432")
	f.shown(t, "shop", "starting")
	if code := late.Wait(t); code != 78 {
		t.Errorf("after the deadline the container ends with %d", code)
	}
	if said := late.Logs(t); !strings.Contains(said, "tcp://db:5432") {
		t.Errorf("nobody says what for:\n%s", said)
	}
	f.run(t, "db", `{}`, nil, "perl", "-MIO::Socket::INET", "-e",
		`$s = IO::Socket::INET->new(LocalPort => 5432, Listen => 5, ReuseAddr => 1) or die; while ($c = $s->accept) { close $c }`)
	dockertest.WaitFor(t, 30*time.Second, "the service starts", func() bool { return shop.init(t).Service.State == "running" })
	shop.docker(t, "healthy")
	f.shown(t, "shop", "pass")
}

func testRestartInPlace(t *testing.T, f *fleet, m member, begun initState) {
	dockertest.WaitFor(t, late, "a restart in place", func() bool { return m.init(t).Service.Restarts == 1 })
	f.shown(t, "stuck/alive", "pass")
	f.shown(t, "stuck/hub/restart", "warn", "alive failed for 5s")
	if after := m.init(t).Service; after.PID == begun.Service.PID || m.Inspect(t, "{{.RestartCount}}") != "0" {
		t.Errorf("the service was %+v, is %+v", begun.Service, after)
	}
	m.Shell(t, "rm /tmp/alive")
	f.shown(t, "stuck/hub/restart", "warn", "the next restart is not before")
}

func testBadSettings(t *testing.T, f *fleet) {
	m := f.run(t, "typo", `{"cheks": {}}`, nil, "sleep", "infinity")
	dockertest.WaitFor(t, late, "healthhub is off", func() bool { return m.init(t).Hubs["healthhub"].State == "off" })
	if s := m.init(t).Service; s.State != "running" {
		t.Errorf("the service: %+v", s)
	}
	m.docker(t, "healthy", "healthhub off")
	if said := m.Logs(t); !strings.Contains(said, "50-test.json:1") || !strings.Contains(said, "cheks") {
		t.Errorf("nobody says what is wrong:\n%s", said)
	}
}

// testBypassed replaces the entry point, as a compose file of old does.
func testBypassed(t *testing.T) {
	m := member{dockertest.Run(t, []string{"--entrypoint", "sleep", "--health-interval", "1s", "--health-retries", "1", "--health-start-period", "1s"},
		image, "infinity"), "bypassed"}
	m.docker(t, "unhealthy", "ENTRYPOINT")
	if out, code := m.Exec(t, "healthhub", "probe"); code != 1 || !strings.Contains(out, "does not run here") {
		t.Errorf("%d %s", code, out)
	}
}

// testTwins has two containers with copies of one identity, as a volume that was copied makes them.
func testTwins(t *testing.T, f *fleet) {
	settings := `{` + alive + `}`
	volume := f.volume(t, "twin", shop(t, "twin"))
	one := f.runOn(t, volume, "twin", settings, nil, "sh", "-c", touchAndSleep)
	f.shown(t, "twin", "pass")
	copied := f.volume(t, "twin-copy", shop(t, "twin"))
	two := f.runOn(t, copied, "twin", settings, nil, "sh", "-c", touchAndSleep)
	two.healthhub(t, 0)
	// Each of them goes on to say what it sees.
	for i, deadline := 0, time.Now().Add(late); ; i++ {
		one.Shell(t, fmt.Sprintf("healthhub report note %s", []string{"warn", "pass"}[i%2]))
		two.Shell(t, fmt.Sprintf("healthhub report note %s", []string{"pass", "warn"}[i%2]))
		if root, ok := f.page(t, f.host); ok {
			if chain, err := root.Find("twin.shop.vm1"); err == nil && chain[len(chain)-1].HasFlag("forked") {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("two report as one, and nobody says so")
		}
		time.Sleep(time.Second)
	}
	f.shown(t, "twin/hub/forked", "warn", "2 instances")
	dockertest.Docker(t, "stop", string(two.Container))
	one.Shell(t, "healthhub report note pass") // its last word may have been the other
	f.shown(t, "twin", "pass", "!forked")
}

// testChaosAndMute does what people do from outside, with docker exec.
func testChaosAndMute(t *testing.T, f *fleet) {
	m := f.run(t, "play", `{`+alive+`}`, nil, "sh", "-c", touchAndSleep)
	f.shown(t, "play/alive", "pass")
	m.Shell(t, "healthhub chaos alive fail --for 5m")
	f.shown(t, "play/alive", "fail", "forced")
	m.docker(t, "healthy", "forced") // a trial has nobody restart the service
	m.Shell(t, "healthhub chaos alive --end")
	f.shown(t, "play", "pass")
	m.docker(t, "healthy")
	m.Shell(t, "rm /tmp/alive; healthhub wait --for fail --timeout 60s alive; healthhub mute alive --for 1h --reason 'it is known'")
	f.shown(t, "play/alive", "fail", "muted")
	f.shown(t, "play", "pass")
	m.docker(t, "healthy")
	m.Shell(t, "touch /tmp/alive")
	f.shown(t, "play/alive", "pass", "!muted")
	if out := m.Shell(t, "healthhub history"); !strings.Contains(out, "alive") {
		t.Errorf("the history does not have it:\n%s", out)
	}
}

// testCutOff takes the host's network away, and has the fleet's server begin anew meanwhile.
func testCutOff(t *testing.T, f *fleet) {
	dockertest.Docker(t, "network", "disconnect", f.network, string(f.host))
	dockertest.Docker(t, "restart", string(f.genesis))
	f.until(t, f.genesis, "vm1", "unknown", "stale", "silent since")
	dockertest.Docker(t, "network", "connect", "--alias", "vm1.internal", f.network, string(f.host))
	f.until(t, f.genesis, "vm1/web.shop.vm1/alive", "pass")
	f.shown(t, "web/alive", "pass")
}

func testGoodbye(t *testing.T, f *fleet) {
	m := f.run(t, "stray", `{`+alive+`}`, nil, "sh", "-c", touchAndSleep)
	f.shown(t, "stray", "pass", "unexpected")
	dockertest.Docker(t, "stop", string(m.Container))
	f.shown(t, "stray", "warn", "stopping")
	dockertest.Docker(t, "start", string(m.Container))
	f.shown(t, "stray", "pass", "!stopping", "!forked")
}
