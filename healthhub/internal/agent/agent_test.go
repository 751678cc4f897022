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
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/monitor"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
)

// hubinit stands in for hubinit's side of the pipes: it keeps what an agent says.
type hubinit struct {
	supervised, open bool
	ready            chan struct{} // closed by Ready
	waits            chan string   // what Wait was for
	restarts         chan struct{} // one a Restart
	refuse           error         // of Restart
}

func newHubinit(supervised bool) *hubinit {
	return &hubinit{
		supervised: supervised, ready: make(chan struct{}), waits: make(chan string, 100), restarts: make(chan struct{}, 100),
	}
}

func (h *hubinit) Supervised() bool { return h.supervised }
func (h *hubinit) GateOpen() bool   { return h.open }
func (h *hubinit) Ready() error     { close(h.ready); return nil }

func (h *hubinit) Wait(_ time.Duration, what string) error {
	h.waits <- what
	return nil
}

func (h *hubinit) Restart(context.Context) error {
	if h.refuse == nil {
		h.restarts <- struct{}{}
	}
	return h.refuse
}

// start runs an agent until the test ends, and waits until it is ready.
func start(t *testing.T, dir string, s setting.Settings, supervised bool) *Agent {
	t.Helper()
	init := newHubinit(supervised)
	a := launch(t, dir, s, init)
	select {
	case <-init.ready:
	case <-time.After(5 * time.Second):
		t.Fatal("not ready within 5 s")
	}
	return a
}

// launch runs an agent until the test ends.
func launch(t *testing.T, dir string, s setting.Settings, init *hubinit) *Agent {
	t.Helper()
	a, _ := launchIn(t, Config{RunDir: dir, Settings: s, Init: init})
	return a
}

// launchIn is launch; stop ends the agent before the test does.
func launchIn(t *testing.T, c Config) (a *Agent, stop func()) {
	t.Helper()
	c.Name, c.Log = "web.shop.vm1", zerolog.New(t.Output())
	if c.Files == nil {
		c.Files = identity.Open(c.RunDir)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return a, stop
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
	t.Parallel()
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
	waitFor(t, 5*time.Second, func() bool { return states(t, dir) == "pass backup=pass page=pass hub/health=pass" })
	for path, want := range map[string]string{"/livez": "pass", "/readyz": "pass", "/health": `"status":"pass"`, "/v1/snapshot": `"name":"page"`} {
		if code, body := ask(t, dir, "GET", path, ""); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	broken.Store(true)
	waitFor(t, 10*time.Second, func() bool { return states(t, dir) == "fail backup=pass page=fail hub/health=pass" })
	if code, body := ask(t, dir, "GET", "/readyz", ""); code != 503 || body != "fail\n" {
		t.Errorf("readyz: %d %s", code, body)
	}
}

func TestReports(t *testing.T) {
	t.Parallel()
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
	for name, code := range map[string]int{"page": 409, "hub/health": 404, "": 404, "nothing": 404} {
		if got, body := ask(t, dir, "DELETE", "/v1/report?name="+name, ""); got != code {
			t.Errorf("withdrawing %q: %d %s", name, got, body)
		}
	}
	if code, body := ask(t, dir, "DELETE", "/v1/report?name=backup", ""); code != 204 {
		t.Errorf("withdrawing: %d %s", code, body)
	}
	waitFor(t, 5*time.Second, func() bool { return !strings.Contains(states(t, dir), "backup") })
}

// Whoever sums the checks up at the same moment, what was seen later is told later: nothing is well again, and ill, that never was.
func TestRefreshInOrder(t *testing.T) {
	t.Parallel()
	a, err := New(Config{Name: "web.shop.vm1", RunDir: t.TempDir(), Files: identity.Open(t.TempDir()), Log: zerolog.Nop(), Init: newHubinit(false)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for ctx.Err() == nil {
				a.refresh()
			}
		})
	}
	const reports = 2000
	for i := range reports {
		if err := a.monitor.Push(monitor.Push{Name: "backup", State: []health.State{health.Pass, health.Fail}[i%2], TTL: time.Hour}); err != nil {
			t.Error(err)
		}
		a.refresh()
		a.mu.Lock()
		if got, want := a.view.Node.Children[0].State == health.Pass, i%2 == 0; got != want && !a.view.Node.Children[0].HasFlag(health.FlagFlapping) {
			t.Errorf("report %d is not told", i)
		}
		a.mu.Unlock()
		if i%4 == 3 { // else it is flapping
			a.monitor.Withdraw("backup")
		}
	}
	cancel()
	others.Wait()
}

func TestSettleOnTheSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var broken atomic.Bool
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.Error(w, "broken", 500)
		}
	}))
	defer site.Close()
	start(t, dir, setting.Settings{Checks: map[string]setting.Check{"page": webCheck(site.URL)}}, false)
	waitFor(t, 5*time.Second, func() bool { return states(t, dir) == "pass page=pass hub/health=pass" })
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
	t.Parallel()
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
	waitFor(t, 5*time.Second, func() bool {
		return states(t, dir) == "starting ports=starting service=starting hub/init=pass hub/health=pass"
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	state.Service = initctl.ServiceState{State: initctl.ServiceRunning, PID: os.Getpid(), StartedAt: time.Now()}
	write()
	waitFor(t, 5*time.Second, func() bool { return states(t, dir) == "pass ports=pass service=pass hub/init=pass hub/health=pass" })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if _, body := ask(t, dir, "GET", "/v1/snapshot", ""); !strings.Contains(body, "listens on ") || !strings.Contains(body, port) {
		t.Errorf("port %s is not known: %s", port, body)
	}
}

func TestAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, dir, setting.Settings{}, false)
	waitFor(t, 5*time.Second, func() bool { return states(t, dir) == "pass hub/health=pass" })
	f, err := health.ReadFile(dir, health.HealthFile)
	if err != nil || !f.Health.HasFlag(health.FlagUnchecked) {
		t.Errorf("%+v, %v", f, err)
	}
}

// A socket that a killed predecessor left is no hindrance.
func TestSocketLeftBehind(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
	url, files, reports := receiver(t)
	var log bytes.Buffer
	a, err := New(Config{
		Name: "web.shop.vm1", RunDir: filepath.Join(t.TempDir(), "none"), Settings: setting.Settings{ReportTo: url},
		Files: files, Log: zerolog.New(zerolog.SyncWriter(&log)), Init: newHubinit(false),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	waitFor(t, 5*time.Second, func() bool { return len(reports) > 0 })
	a.poke()
	waitFor(t, 5*time.Second, func() bool { return len(a.changed) == 0 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	const said = "the run directory cannot be used"
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, said) && strings.Count(line, "no such file") != 2 {
			t.Errorf("want socket and file named: %s", line)
		}
	}
	if strings.Count(log.String(), said) != 1 {
		t.Errorf("want one warning:\n%s", &log)
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
