// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/healthhub/internal/repeat"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
)

func check(name string, s health.State, text string, flags ...string) health.Node {
	now := time.Now()
	return health.Node{
		Kind: health.KindCheck, Name: name, State: s, Text: text, Flags: flags,
		Since: now.Add(-4 * time.Minute), ObservedAt: now.Add(-3 * time.Second),
	}
}

// shop is a host with something of everything.
func shop() health.Node {
	web := rollup.Container("web.shop.vm1", []health.Node{
		check("page", health.Fail, `500 <script>alert("x")</script>`, health.FlagCritical), check("hub/log", health.Pass, "shipping"),
	})
	db := rollup.Container("db.shop.vm1", []health.Node{check("port", health.Pass, "127.0.0.1:6379 answers in 200µs", health.FlagCritical)})
	gone := rollup.Silence(rollup.Container("mail.shop.vm1", []health.Node{check("smtp", health.Pass, "220")}), time.Now())
	extra := rollup.Container("x.other.vm1", nil)
	extra.SetFlag(health.FlagUnexpected, true)
	host := rollup.Host("vm1", []health.Node{db, extra, gone, web})
	rollup.CarrySince(nil, &host, time.Now())
	return host
}

func show(t *testing.T, n health.Node) (*httptest.Server, *Snapshot) {
	t.Helper()
	s := &Snapshot{Node: &n, Generation: 1, At: time.Now()}
	server := httptest.NewServer(New(func() Snapshot { return *s }).Handler())
	t.Cleanup(server.Close)
	return server, s
}

func get(t *testing.T, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestVerdicts(t *testing.T) {
	for _, test := range []struct {
		state                health.State
		live, ready, healthy int
	}{
		{health.Pass, 200, 200, 200}, {health.Warn, 200, 200, 200}, {health.Starting, 200, 503, 503},
		{health.Unknown, 503, 503, 503}, {health.Fail, 503, 503, 503},
	} {
		t.Run(test.state.String(), func(t *testing.T) {
			c := rollup.Container("web.shop.vm1", []health.Node{check("a", test.state, "", health.FlagCritical, health.FlagLive)})
			server, _ := show(t, c)
			var got [3]int
			for i, path := range []string{"/livez", "/readyz", "/health"} {
				resp, _ := get(t, server.URL+path)
				got[i] = resp.StatusCode
			}
			if diff := cmp.Diff([3]int{test.live, test.ready, test.healthy}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHealthDocument(t *testing.T) {
	server, _ := show(t, shop())
	resp, body := get(t, server.URL+"/health")
	if got := resp.Header.Get("Content-Type"); got != "application/health+json" {
		t.Errorf("content type %s", got)
	}
	var doc struct {
		Status string
		Checks map[string][]struct{ Status, State string }
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Status != "fail" || doc.Checks["mail.shop.vm1"][0].Status != "fail" || doc.Checks["mail.shop.vm1"][0].State != "unknown" {
		t.Errorf("%s", body)
	}
}

// The keys are an interface: widgets name them.
func TestSummary(t *testing.T) {
	server, s := show(t, shop())
	resp, body := get(t, server.URL+"/v1/summary")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"status": "fail", "up": 0.0, "host": "vm1", "time_unix": float64(s.At.Unix()), "time": s.At.UTC().Format(time.RFC3339),
	} {
		if diff := cmp.Diff(want, doc[key]); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
	counts := map[string]any{"total": 4.0, "pass": 2.0, "starting": 0.0, "warn": 0.0, "unknown": 1.0, "fail": 1.0, "missing": 0.0, "stale": 1.0, "muted": 0.0, "checks": 4.0}
	if diff := cmp.Diff(counts, doc["summary"]); diff != "" {
		t.Error(diff)
	}
	first := doc["containers"].([]any)[0].(map[string]any)
	for _, key := range []string{"name", "status", "ok", "since", "output", "critical", "stale"} {
		if _, ok := first[key]; !ok {
			t.Errorf("a container has no %s: %v", key, first)
		}
	}
}

func TestSnapshotHasAnETag(t *testing.T) {
	server, s := show(t, shop())
	for _, path := range []string{"/v1/snapshot", "/v1/summary", "/metrics"} {
		resp, _ := get(t, server.URL+path)
		etag := resp.Header.Get("ETag")
		if again, body := get(t, server.URL+path, "If-None-Match", `"x", W/`+etag); again.StatusCode != 304 || body != "" {
			t.Errorf("%s: %s with %d bytes for what the reader has", path, again.Status, len(body))
		}
		s.Generation++
		if again, _ := get(t, server.URL+path, "If-None-Match", etag); again.StatusCode != 200 || again.Header.Get("ETag") == etag {
			t.Errorf("%s: %s for a new generation", path, again.Status)
		}
	}
}

// Consul's HTTP checks take 429 for a warning. Another parameter may be a typo.
func TestConsul(t *testing.T) {
	for _, test := range []struct {
		state health.State
		want  int
	}{{health.Pass, 200}, {health.Warn, 429}, {health.Starting, 503}, {health.Unknown, 503}, {health.Fail, 503}} {
		c := rollup.Container("web.shop.vm1", []health.Node{check("a", test.state, "", health.FlagCritical)})
		server, _ := show(t, c)
		for _, path := range []string{"/readyz", "/health"} {
			if resp, _ := get(t, server.URL+path+"?compat=consul"); resp.StatusCode != test.want {
				t.Errorf("%s %s: %s", test.state, path, resp.Status)
			}
			for _, query := range []string{"compat=consol", "compat", "verbose", "compat=consul&compat=nagios"} {
				if resp, _ := get(t, server.URL+path+"?"+query); resp.StatusCode != 400 {
					t.Errorf("%s?%s: %s", path, query, resp.Status)
				}
			}
		}
	}
}

// A warning, a hub's too, does not hide that another part has not come up yet: it is not to get requests, and no answer says otherwise.
func TestReadyBesideAWarning(t *testing.T) {
	c := rollup.Container("web.shop.vm1", []health.Node{check("a", health.Starting, "", health.FlagCritical), check("hub/config", health.Warn, "")})
	server, _ := show(t, rollup.Host("vm1", []health.Node{c}))
	for path, want := range map[string]string{
		"/readyz":                  "starting\n",
		"/health":                  `{"status":"fail","state":"warn",`,
		"/health/web.shop.vm1":     `{"status":"fail","state":"warn",`,
		"/v1/summary":              `{"status":"warn","state":"warn","up":0,`,
		"/v1/summary/web.shop.vm1": `"up":0,`,
	} {
		code := 503
		if strings.HasPrefix(path, "/v1/") {
			code = 200
		}
		if resp, body := get(t, server.URL+path); resp.StatusCode != code || !strings.Contains(body, want) {
			t.Errorf("%s: %s: %s", path, resp.Status, body)
		}
	}
}

// A thing has started once everything in it came up, whatever became of it since.
func TestStarted(t *testing.T) {
	for name, test := range map[string]struct {
		checks []health.Node
		want   int
	}{
		"nothing":               {nil, 200},
		"one is coming up":      {[]health.Node{check("a", health.Pass, ""), check("b", health.Starting, "")}, 503},
		"all up":                {[]health.Node{check("a", health.Pass, "")}, 200},
		"failed later":          {[]health.Node{check("a", health.Fail, "", health.FlagCritical)}, 200},
		"never came up":         {[]health.Node{check("a", health.Fail, "", health.FlagCritical, health.FlagStarted)}, 503},
		"only of interest":      {[]health.Node{check("a", health.Starting, "", health.FlagInfo)}, 200},
		"a hub is coming up":    {[]health.Node{check("hub/log", health.Starting, "")}, 200},
		"one that is degrading": {[]health.Node{check("a", health.Fail, "", health.FlagStarted)}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			c := rollup.Container("web.shop.vm1", test.checks)
			extra := rollup.Container("x.other.vm1", []health.Node{check("a", health.Starting, "")})
			extra.SetFlag(health.FlagUnexpected, true)
			for _, n := range []health.Node{c, rollup.Host("vm1", []health.Node{c, extra})} {
				server, _ := show(t, n)
				if resp, body := get(t, server.URL+"/startedz"); resp.StatusCode != test.want {
					t.Errorf("%s: %s %s", n.Kind, resp.Status, body)
				}
			}
		})
	}
}

// A typo, or what does not exist yet, is never green.
func TestNotFound(t *testing.T) {
	server, _ := show(t, shop())
	for _, path := range []string{"/healthz", "/v1/", "/favicon.ico", "/index.html", "/health/", "/health/nothing", "/health/web.shop.vm1/pag", "/health/vm1/web.shop.vm1",
		"/v1/summary/nothing", "/v1/summary/", "/badge/nothing.svg", "/badge/vm1", "/badge/.svg", "/badge/vm1.png", "/badge/vm1.svg.svg"} {
		if resp, _ := get(t, server.URL+path); resp.StatusCode != 404 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

func TestAge(t *testing.T) {
	now := time.Now()
	for d, want := range map[time.Duration]string{
		-time.Hour: "0 s", 0: "0 s", 119 * time.Second: "119 s", 2 * time.Minute: "2 min", 119 * time.Minute: "119 min",
		2 * time.Hour: "2 h", 47 * time.Hour: "47 h", 48 * time.Hour: "2 d",
	} {
		if got := Age(now, now.Add(-d)); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

// TestRepeated: who asks again on the same connection has the newest generation, whoever answers.
func TestRepeated(t *testing.T) {
	n := town(100)
	var generation atomic.Uint64
	handler := New(func() Snapshot { return Snapshot{Node: &n, Generation: generation.Load()} }).Handler()
	var handled atomic.Int64
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handled.Add(1); handler.ServeHTTP(w, r) })}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go repeat.Serve(server, l)
	t.Cleanup(func() { server.Close() })
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(client.CloseIdleConnections)
	for i := range 2000 {
		if i%100 == 0 {
			generation.Add(1)
		}
		resp, err := client.Get("http://" + l.Addr().String() + "/v1/snapshot")
		if err != nil {
			t.Fatal(err)
		}
		var tree Tree
		if err := json.NewDecoder(resp.Body).Decode(&tree); err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if want := generation.Load(); tree.Generation != want || len(tree.Node.Children) != len(n.Children) {
			t.Fatalf("request %d: generation %d with %d children, want %d with %d", i, tree.Generation, len(tree.Node.Children), want, len(n.Children))
		}
	}
	if handled.Load() == 2000 {
		t.Error("every answer was made by the handler: none was repeated")
	}
}
