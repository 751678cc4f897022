// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/monitor"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

// start runs an agent until the test ends.
func start(t *testing.T, dir string, s setting.Settings, supervised bool) *Agent {
	t.Helper()
	ready := make(chan struct{})
	a, err := New(Config{
		Name: "web.shop.vm1", RunDir: dir, Settings: s, Supervised: supervised, Files: identity.Open(dir),
		Log: zerolog.New(t.Output()), Ready: func() error { close(ready); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case <-time.After(5 * time.Second):
		t.Fatal("not ready within 5 s")
	}
	return a
}

func waitFor(t *testing.T, within time.Duration, done func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s", within)
		}
	}
}

// ask sends a request to the socket.
func ask(t *testing.T, dir, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://healthhub"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := Client(dir).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// states is what health.json says: "pass page=pass hub/init=warn".
func states(t *testing.T, dir string) string {
	t.Helper()
	f, err := health.ReadFile(dir, health.HealthFile)
	if err != nil {
		return err.Error()
	}
	if f.Stale() {
		t.Error("health.json is stale")
	}
	out := f.Health.State.String()
	for _, n := range f.Health.Children {
		out += fmt.Sprintf(" %s=%v", n.Name, n.State)
	}
	return out
}

func webCheck(url string) setting.Check {
	c := setting.DefaultCheck(setting.KindHTTP)
	c.URL, c.Criticality, c.Interval = url, setting.Critical, time.Second
	return c
}

func TestWatchesAndTells(t *testing.T) {
	dir := t.TempDir()
	var broken atomic.Bool
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.Error(w, "broken", 500)
		}
	}))
	defer site.Close()
	start(t, dir, setting.Settings{Checks: map[string]setting.Check{
		"page": webCheck(site.URL), "backup": setting.DefaultCheck(setting.KindPush),
	}}, false)
	if info, err := os.Stat(filepath.Join(dir, Socket)); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	waitFor(t, 5*time.Second, func() bool { return states(t, dir) == "pass backup=pass page=pass" })
	for path, want := range map[string]string{"/livez": "pass", "/readyz": "pass", "/health": `"status":"pass"`, "/v1/snapshot": `"name":"page"`} {
		if code, body := ask(t, dir, "GET", path, ""); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	broken.Store(true)
	waitFor(t, 10*time.Second, func() bool { return states(t, dir) == "fail backup=pass page=fail" })
	if code, body := ask(t, dir, "GET", "/readyz", ""); code != 503 || body != "fail\n" {
		t.Errorf("readyz: %d %s", code, body)
	}
}

func TestReports(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, setting.Settings{Checks: map[string]setting.Check{"page": webCheck("http://127.0.0.1:1/")}}, false)
	for _, test := range []struct {
		body string
		code int
		want string
	}{
		{`{"name": "backup", "state": "warn", "text": "slow", "ttl": "26h"}`, 204, ""},
		{`{"name": "page", "state": "pass"}`, 409, "a report cannot set it"},
		{`{"name": "hub/log", "state": "pass"}`, 400, "belong to the hubs"},
		{`{"name": "backup", "state": "green"}`, 400, "must be pass, starting, warn, unknown or fail"},
		{`{"name": "backup", "state": "unknown"}`, 400, "must be pass, warn or fail"},
		{`{"name": "backup", "state": "pass", "ttl": "1ms"}`, 400, "at least a second"},
		{`{"name": "Backup", "state": "pass"}`, 400, "must consist"},
		{`{`, 400, "reading the report"},
		{`{"name": "` + strings.Repeat("x", maxBody) + `"}`, 400, "too large"},
	} {
		if code, body := ask(t, dir, "POST", "/v1/report", test.body); code != test.code || !strings.Contains(body, test.want) {
			t.Errorf("%.60s: %d %s, want %d with %q", test.body, code, body, test.code, test.want)
		}
	}
	waitFor(t, 5*time.Second, func() bool { return strings.Contains(states(t, dir), "backup=warn") })
}

func TestSettleOnTheSocket(t *testing.T) {
	dir := t.TempDir()
	var broken atomic.Bool
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.Error(w, "broken", 500)
		}
	}))
	defer site.Close()
	start(t, dir, setting.Settings{Checks: map[string]setting.Check{"page": webCheck(site.URL)}}, false)
	waitFor(t, 5*time.Second, func() bool { return states(t, dir) == "pass page=pass" })
	settle := func() monitor.Verdict {
		code, body := ask(t, dir, "POST", "/v1/settle?for=1s", "")
		var v monitor.Verdict
		if err := json.Unmarshal([]byte(body), &v); err != nil || code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		return v
	}
	if v := settle(); v.Verdict != monitor.VerdictOK {
		t.Errorf("nothing happened: %+v", v)
	}
	broken.Store(true)
	if v := settle(); v.Verdict != monitor.VerdictWorse || len(v.Reasons) != 1 || !strings.Contains(v.Reasons[0], "500") {
		t.Errorf("the page broke: %+v", v)
	}
	for _, bad := range []string{"", "?for=", "?for=1ms", "?for=1h", "?for=soon"} {
		if code, _ := ask(t, dir, "POST", "/v1/settle"+bad, ""); code != 400 {
			t.Errorf("%q: %d", bad, code)
		}
	}
}

// Without settings the service's process and its ports are watched.
func TestWithoutSettings(t *testing.T) {
	dir := t.TempDir()
	state := &initctl.State{Service: initctl.ServiceState{State: initctl.ServiceWaiting, Waiting: "confighub"}}
	write := func() {
		t.Helper()
		if err := state.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	write()
	start(t, dir, setting.Settings{}, true)
	waitFor(t, 5*time.Second, func() bool { return states(t, dir) == "starting ports=starting service=starting hub/init=pass" })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	state.Service = initctl.ServiceState{State: initctl.ServiceRunning, PID: os.Getpid(), StartedAt: time.Now()}
	write()
	waitFor(t, 5*time.Second, func() bool { return states(t, dir) == "pass ports=pass service=pass hub/init=pass" })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if _, body := ask(t, dir, "GET", "/v1/snapshot", ""); !strings.Contains(body, "listens on ") || !strings.Contains(body, port) {
		t.Errorf("port %s is not known: %s", port, body)
	}
}

func TestAlone(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, setting.Settings{}, false)
	waitFor(t, 5*time.Second, func() bool { return states(t, dir) == "pass" })
	f, err := health.ReadFile(dir, health.HealthFile)
	if err != nil || !f.Health.HasFlag(health.FlagUnchecked) {
		t.Errorf("%+v, %v", f, err)
	}
}

// A socket that a killed predecessor left is no hindrance.
func TestSocketLeftBehind(t *testing.T) {
	dir := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, Socket), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	start(t, dir, setting.Settings{}, false)
	if code, _ := ask(t, dir, "GET", "/livez", ""); code != 200 {
		t.Errorf("livez: %d", code)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, setting.Settings{}, false)
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range 2 * maxConnections {
		c, err := net.Dial("unix", filepath.Join(dir, Socket))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	last := open[len(open)-1]
	last.SetReadDeadline(time.Now().Add(3 * time.Second))
	if _, err := last.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a connection too many: %v, want it closed", err)
	}
	for _, c := range open {
		c.Close()
	}
	open = nil
	waitFor(t, 5*time.Second, func() bool {
		resp, err := Client(dir).Get("http://healthhub/livez")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
}

// Without a run directory it is said once what does not work, and the next level is told all the same.
func TestNoRunDirectory(t *testing.T) {
	ca := identitytest.New(t)
	id := func(uri string) spiffe.ID {
		id, err := spiffe.Parse("spiffe://cloud4.internal" + uri)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	var reports atomic.Int64
	server := mtls.Server(ca.Files(t, id("/host/vm1")), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reports.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}), func(r mtls.Refusal) { t.Errorf("refused: %+v", r) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); server.ServeTLS(l, "", "") }()
	defer func() { server.Close(); <-served }()

	var log bytes.Buffer
	a, err := New(Config{
		Name: "web.shop.vm1", RunDir: filepath.Join(t.TempDir(), "none"), Settings: setting.Settings{ReportTo: "https://" + l.Addr().String()},
		Files: ca.Files(t, id("/host/vm1/stack/shop/service/web")), Log: zerolog.New(zerolog.SyncWriter(&log)), Ready: func() error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	waitFor(t, 5*time.Second, func() bool { return reports.Load() > 0 })
	a.poke()
	waitFor(t, 5*time.Second, func() bool { return len(a.changed) == 0 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "no such file"); n != 2 || strings.Count(log.String(), `"level":"warn"`) != 1 {
		t.Errorf("want one warning that names socket and file:\n%s", &log)
	}
}

func acted(n *health.Node, action string) *health.Node {
	n.Children[0].Action = action
	return n
}

func TestSame(t *testing.T) {
	node := func(state health.State, text string) *health.Node {
		return &health.Node{State: state, Children: []health.Node{{Name: "hub/config", State: state, Text: text}}}
	}
	tests := []struct {
		name string
		a, b *health.Node
		want bool
	}{
		{"nothing new", node(health.Warn, "line 3: a"), node(health.Warn, "line 3: a"), true},
		{"another state", node(health.Warn, "a"), node(health.Pass, "a"), false},
		{"another reason for the same state", node(health.Warn, "line 3: port"), node(health.Warn, "line 3: name"), false},
		{"another thing to do", acted(node(health.Warn, "a"), "restart it"), acted(node(health.Warn, "a"), "ask the operator"), false},
		{"waits for something else", node(health.Starting, "waits for confighub"), node(health.Starting, "waits for the database"), false},
		{"counts grow", node(health.Warn, "9 events wait"), node(health.Warn, "1234 events wait"), true},
		{"words of what is well", node(health.Pass, "200 OK in 1ms"), node(health.Pass, "204 in 980µs"), true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := same(test.a, test.b); got != test.want {
				t.Errorf("same = %v", got)
			}
		})
	}
}
