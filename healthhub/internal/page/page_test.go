// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	counts := map[string]any{"total": 4.0, "pass": 2.0, "starting": 0.0, "warn": 0.0, "unknown": 1.0, "fail": 1.0, "missing": 0.0, "checks": 4.0}
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

func TestMetrics(t *testing.T) {
	server, _ := show(t, shop())
	_, body := get(t, server.URL+"/metrics")
	for _, line := range []string{
		`hub_health{kind="container",name="web.shop.vm1",hub_health="fail"} 1`,
		`hub_health{kind="container",name="web.shop.vm1",hub_health="pass"} 0`,
		`hub_health_check{container="web.shop.vm1",check="page"} 0`,
		`hub_health_stale{kind="container",name="mail.shop.vm1"} 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("%s is missing in\n%s", line, body)
		}
	}
	sample := regexp.MustCompile(`^(#.*|[a-z_]+\{?.*\}? -?[0-9]+)$`)
	for line := range strings.Lines(body) {
		if !sample.MatchString(strings.TrimSuffix(line, "\n")) {
			t.Errorf("not OpenMetrics: %q", line)
		}
	}
	if !strings.HasSuffix(body, "# EOF\n") {
		t.Error("no end")
	}
}

func TestDashboard(t *testing.T) {
	server, _ := show(t, shop())
	resp, body := get(t, server.URL+"/")
	if resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	if strings.Contains(body, "<script") {
		t.Error("what a check said became a script")
	}
	nonce := regexp.MustCompile(`nonce="([^"]+)"`).FindStringSubmatch(body)
	if policy := resp.Header.Get("Content-Security-Policy"); nonce == nil || !strings.Contains(policy, "default-src 'none'; style-src 'nonce-"+nonce[1]+"'") {
		t.Errorf("policy %q, nonce %q", policy, nonce)
	}
	for _, bad := range []string{"http://", "https://", "src=", " style=", "onclick", "ZgotmplZ"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has %q: outside assets, and styles in attributes, are refused by the policy", bad)
		}
	}
	order := []string{">web.shop.vm1<", ">mail.shop.vm1<", ">db.shop.vm1<", ">x.other.vm1<"}
	at := 0
	for _, name := range order {
		i := strings.Index(body[at:], name)
		if i < 0 {
			t.Fatalf("%s does not stand where it should: worst first, unexpected last", name)
		}
		at += i
	}
	for _, word := range []string{"fail", "unknown", "4 min", "3 s", "unexpected", `http-equiv="refresh"`} {
		if !strings.Contains(body, word) {
			t.Errorf("the page does not say %q", word)
		}
	}
	if n := strings.Count(body, "<details"); n != 4 || strings.Count(body, " open>") != 2 {
		t.Errorf("%d containers, %d open; want 4, 2", n, strings.Count(body, " open>"))
	}
	if _, all := get(t, server.URL+"/?all=1"); strings.Count(all, " open>") != 4 {
		t.Error("not everything is open")
	}
}

func TestDashboardOfFleetAndContainer(t *testing.T) {
	host := shop()
	fleet := rollup.Fleet("fleet", []health.Node{host, rollup.Silence(rollup.Host("vm2", nil), time.Now())})
	server, _ := show(t, fleet)
	if _, body := get(t, server.URL+"/"); !strings.Contains(body, ">vm2<") || !strings.Contains(body, ">web.shop.vm1<") {
		t.Error("the fleet does not show hosts and containers")
	}
	server, _ = show(t, host.Children[0])
	if _, body := get(t, server.URL+"/"); !strings.Contains(body, ">port<") {
		t.Error("a container does not show its checks")
	}
}

func TestCompression(t *testing.T) {
	var containers []health.Node
	for i := range 100 {
		containers = append(containers, rollup.Container(fmt.Sprintf("c%d.shop.vm1", i), []health.Node{check("a", health.Pass, "fine")}))
	}
	server, _ := show(t, rollup.Host("vm1", containers))
	resp, body := get(t, server.URL+"/v1/snapshot", "Accept-Encoding", "gzip")
	if resp.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%d bytes as they are", len(body))
	}
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var tree Tree
	if err := json.NewDecoder(z).Decode(&tree); err != nil || len(tree.Node.Children) != 100 {
		t.Errorf("%v", err)
	}
}

// A typo, or what does not exist yet, is never green.
func TestNotFound(t *testing.T) {
	server, _ := show(t, shop())
	for _, path := range []string{"/healthz", "/v1/events", "/badge/vm1.svg", "/v1/", "/favicon.ico", "/index.html"} {
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
