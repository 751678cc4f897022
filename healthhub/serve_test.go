// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
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
		"hosts at a host":   {m, []string{"--expect", write("a.json", `{"hosts": {"vm1": {}}}`)}, "is for the fleet"},
		"other's container": {m, []string{"--expect", write("b.json", `{"containers": {"web.shop.vm2": {}}}`)}, "is no container of host vm1"},
		"unknown key":       {m, []string{"--expect", write("c.json", `{"container": {}}`)}, `c.json:1: container: unknown key`},
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
	t.Parallel()
	ca := identitytest.New(t)
	m := newMachine(t, "{}")
	ca.Issue(t, parse(t, "/host/vm1"), m.path("state/identity"))
	for value, want := range map[string]string{
		"http://genesis.internal:8444": "health.report_to: must be https://",
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

// The settings say what the flags do not: where to report to, what is expected, and what else to look at.
func TestServeTakesSettings(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	m := newMachine(t, "")
	settings := `{"health": {"report_to": "https://127.0.0.1:1", "expect": "` + m.path("expect.json") + `",
		"host_checks": {"backup": {"kind": "file", "path": "/nowhere", "start_deadline": "0s", "interval": "1s"}}}}`
	for file, text := range map[string]string{"hub.json": settings, "expect.json": `{"containers": {"web.shop.vm1": {}}}`} {
		if err := os.WriteFile(m.path(file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca.Issue(t, parse(t, "/host/vm1"), m.path("state/identity"))
	page := freeAddress(t)
	log, _ := m.start(t, "serve", "--listen", "127.0.0.1:0", "--dashboard", page)
	shown := func(want string) func() bool {
		return func() bool {
			_, out, _ := m.call(t, "status", "--all", "--dashboard", "http://"+page)
			return strings.Contains(strings.Join(strings.Fields(out), " "), want)
		}
	}
	waitFor(t, 20*time.Second, "what is expected", shown("web.shop.vm1 … starting"))
	waitFor(t, 20*time.Second, "its own check", shown("host/backup ✕ fail"))
	waitFor(t, 20*time.Second, "a check that every machine has", shown("host/memory"))
	waitFor(t, 20*time.Second, "that its reports do not arrive", shown("hub/report ! warn"))
	if !strings.Contains(log.String(), "health reports do not arrive") {
		t.Error(log)
	}
}

// What stands in the settings of the container that serve runs in may be meant for the container's own healthhub.
func TestServeDoesNotReportToItself(t *testing.T) {
	ca := identitytest.New(t)
	m := newMachine(t, `{"health": {"report_to": "https://vm1.internal:8444"}}`)
	ca.Issue(t, parse(t, "/host/vm1"), m.path("state/identity"))
	log, _ := m.start(t, "serve", "--listen", "127.0.0.1:0", "--dashboard", "")
	waitFor(t, 10*time.Second, "serving", func() bool { return strings.Contains(log.String(), "taking reports") })
	if !strings.Contains(log.String(), "is this server itself") {
		t.Error(log)
	}
}

// Readers who never read cost a connection each: others are answered, and the memory stays what it was.
func TestServeAndReadersThatNeverRead(t *testing.T) {
	ca := identitytest.New(t)
	m := newMachine(t, "")
	ca.Issue(t, parse(t, "/host/vm1"), m.path("state/identity"))
	address, page := freeAddress(t), freeAddress(t)
	cmd := m.command("serve", "--listen", address, "--dashboard", page)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	get := func() (int, error) {
		client := &http.Client{Timeout: 5 * time.Second}
		resp, err := client.Get("http://" + page + "/v1/snapshot")
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return len(body), err
	}
	waitFor(t, 10*time.Second, "serving", func() bool { _, err := get(); return err == nil })
	web := &http.Client{Transport: mtls.Transport(ca.Files(t, parse(t, "/host/vm1/stack/shop/service/web")), nil), Timeout: 5 * time.Second}
	defer web.CloseIdleConnections()
	var checks []string
	for i := range 400 {
		checks = append(checks, fmt.Sprintf(`{"kind":"check","name":"c%d","state":"fail","text":%q}`, i, strings.Repeat("no ", 700)))
	}
	say := func(seq int) {
		t.Helper()
		resp, err := web.Post("https://"+address+report.Path, "application/json", strings.NewReader(fmt.Sprintf(
			`{"schema":1,"instance":"abcdefgh","seq":%d,"valid_for":90,"node":{"kind":"container","name":"web.shop.vm1","state":"fail","children":[%s]}}`, seq, strings.Join(checks, ","))))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			t.Fatal(resp.Status)
		}
	}
	say(1)
	waitFor(t, 10*time.Second, "a large document", func() bool { n, _ := get(); return n > 800_000 })
	memory := func() int {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		var kilobytes int
		_, rest, _ := strings.Cut(string(raw), "VmRSS:")
		fmt.Sscan(rest, &kilobytes)
		return kilobytes >> 10
	}
	before := memory()
	for i := range 150 {
		conn, err := net.Dial("tcp", page)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		path := []string{"/v1/snapshot", "/v1/events", "/?all=1"}[i%3]
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, page); err != nil {
			t.Fatal(err)
		}
	}
	for seq := range 3 {
		say(seq + 2)
		start := time.Now()
		if n, err := get(); err != nil || n < 800_000 {
			t.Errorf("another reader: %d bytes, %v", n, err)
		}
		t.Logf("another reader was answered within %s", time.Since(start))
	}
	if grown := memory() - before; grown > 60 {
		t.Errorf("150 readers who do not read took %d MiB of memory", grown)
	} else {
		t.Logf("took %d MiB", grown)
	}
}

// An operator has a container forgotten that is away for good.
func TestForgetCommand(t *testing.T) {
	ca := identitytest.New(t)
	m, desk := newMachine(t, ""), newMachine(t, "")
	ca.Issue(t, parse(t, "/host/vm1"), m.path("state/identity"))
	ca.Issue(t, parse(t, "/operator/desk"), desk.path("state/identity"))
	address := freeAddress(t)
	log, _ := m.start(t, "serve", "--listen", address, "--dashboard", "")
	waitFor(t, 10*time.Second, "serving", func() bool { return strings.Contains(log.String(), "taking reports") })
	web := &http.Client{Transport: mtls.Transport(ca.Files(t, parse(t, "/host/vm1/stack/shop/service/web")), nil), Timeout: 5 * time.Second}
	defer web.CloseIdleConnections()
	say := func(seq int, rest string) {
		t.Helper()
		resp, err := web.Post("https://"+address+report.Path, "application/json", strings.NewReader(fmt.Sprintf(
			`{"schema":1,"instance":"abcdefgh","seq":%d,"valid_for":90,%s"node":{"kind":"container","name":"web.shop.vm1","state":"pass"}}`, seq, rest)))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	host := "https://" + address
	say(1, "")
	for _, test := range []struct {
		at   machine
		args []string
		code int
		want string
	}{
		{desk, []string{"web.shop.vm1"}, 2, "say whom and where"},
		{desk, []string{"web.shop.vm1", "--host", host}, 1, "web.shop.vm1 reports: stop it first"},
		{desk, []string{"web.shop.vm2", "--host", host}, 1, "has reported here"},
		{m, []string{"web.shop.vm1", "--host", host}, 1, "forgetting web.shop.vm1"},
	} {
		if code, _, errs := test.at.call(t, append([]string{"forget"}, test.args...)...); code != test.code || !strings.Contains(errs, test.want) {
			t.Errorf("%q: %d %s, want %d with %q", test.args, code, errs, test.code, test.want)
		}
	}
	say(2, `"stopping":true,`)
	if code, _, errs := desk.call(t, "forget", "web.shop.vm1", "--host", host); code != 0 {
		t.Errorf("%d %s", code, errs)
	}
	waitFor(t, 5*time.Second, "the sum without it", func() bool { // those of a tenth of a second are made together
		_, out, _ := desk.call(t, "status", "--host", host, "--json")
		return strings.Contains(out, `"node"`) && !strings.Contains(out, "web.shop.vm1")
	})
}
