// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/identity/identitytest"
)

func TestServeRefuses(t *testing.T) {
	ca := identitytest.New(t)
	m := newMachine(t, "")
	ca.Issue(t, parse(t, "/host/vm1"), m.path("state/identity"))
	container := newMachine(t, "")
	ca.Issue(t, parse(t, "/host/vm1/stack/shop/service/web"), container.path("state/identity"))
	write := func(name, content string) string {
		if err := os.WriteFile(m.path(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return m.path(name)
	}
	for name, test := range map[string]struct {
		at   machine
		args []string
		want string
	}{
		"open dashboard":    {m, []string{"--dashboard", "0.0.0.0:8480"}, "--unsafe-open-dashboard"},
		"all interfaces":    {m, []string{"--dashboard", ":8480"}, "--unsafe-open-dashboard"},
		"plain report":      {m, []string{"--report-to", "http://genesis.internal:8444"}, "must be https://"},
		"argument":          {m, []string{"host"}, "takes no arguments"},
		"a container":       {container, nil, "only a docker host and genesis/health collect health"},
		"no list":           {m, []string{"--expect", "/nowhere"}, "no such file"},
		"hosts at a host":   {m, []string{"--expect", write("a.json", `{"hosts": ["vm1"]}`)}, "the fleet lists"},
		"other's container": {m, []string{"--expect", write("b.json", `{"containers": ["web.shop.vm2"]}`)}, "is no container of host vm1"},
		"unknown key":       {m, []string{"--expect", write("c.json", `{"container": ["web.shop.vm1"]}`)}, "unknown field"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, errs := test.at.call(t, append([]string{"serve", "--listen", "127.0.0.1:0"}, test.args...)...)
			if code != 2 || !strings.Contains(errs, test.want) {
				t.Errorf("%d %s, want 2 with %q", code, errs, test.want)
			}
		})
	}
}

func TestServeStopsWhileItWaits(t *testing.T) {
	m := newMachine(t, "")
	log, stop := m.start(t, "serve", "--listen", "127.0.0.1:0", "--dashboard", "")
	waitFor(t, 10*time.Second, "waiting", func() bool { return strings.Contains(log.String(), "waiting for the identity") })
	if code := stop(); code != 0 {
		t.Errorf("ended with %d: %s", code, log)
	}
}

// Who knocks without a certificate cannot fill the log.
func TestServeSaysStrangersOnce(t *testing.T) {
	ca := identitytest.New(t)
	m := newMachine(t, "")
	ca.Issue(t, parse(t, "/host/vm1"), m.path("state/identity"))
	address := freeAddress(t)
	log, stop := m.start(t, "serve", "--listen", address, "--dashboard", "")
	waitFor(t, 10*time.Second, "serving", func() bool { return strings.Contains(log.String(), "taking reports") })
	for range 20 {
		resp, err := http.Get("http://" + address + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	stop()
	if n := strings.Count(log.String(), `"message":"refused"`); n != 1 {
		t.Errorf("said %d times:\n%s", n, log)
	}
}

// Without the flag the next level is where a setting of the environment says.
func TestServeReportsWhereTheEnvironmentSays(t *testing.T) {
	ca := identitytest.New(t)
	m := newMachine(t, "{}")
	ca.Issue(t, parse(t, "/host/vm1"), m.path("state/identity"))
	for value, want := range map[string]string{
		"http://genesis.internal:8444": "HUB_HEALTH_REPORT_TO) must be https://",
		"https://127.0.0.1:1":          "health reports do not arrive",
	} {
		cmd := m.command("serve", "--listen", "127.0.0.1:0", "--dashboard", "")
		cmd.Env = append(cmd.Env, "HUB_HEALTH_REPORT_TO="+value)
		log := new(output)
		cmd.Stderr = log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		waitFor(t, 10*time.Second, want, func() bool { return strings.Contains(log.String(), want) })
	}
}
