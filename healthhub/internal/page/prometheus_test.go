// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

// shipped is where the files are that users take.
const shipped = "../../../examples/monitoring"

// Prometheus' own tests of the rules that are shipped.
func TestAlerts(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), program(t, "promtool"), "test", "rules", "alerts_test.yml")
	cmd.Dir = shipped
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// genesis answers like healthhub serve at genesis, and counts who asked for OpenMetrics.
func genesis(t *testing.T, ca *identitytest.CA) (address string, asked *atomic.Int64) {
	n := village()
	cert := health.Node{Kind: health.KindCheck, Name: "tls", Runs: 1, Values: []health.Value{{Name: "lifetime_left", Value: 0.6, Unit: "1"}}}
	n.Children[0].Children[1].Children = append(n.Children[0].Children[1].Children, cert)
	asked = new(atomic.Int64)
	readers := New(func() Snapshot { return Snapshot{Node: n, Generation: 1, At: time.Now()} }).Handler()
	refused := func(r mtls.Refusal) { t.Logf("refused: %+v", r) }
	server := mtls.Server(ca.Files(t, spiffe.ID{TrustDomain: "cloud4.internal", Role: spiffe.Genesis, Name: spiffe.KindHealth}),
		mtls.Require(mtls.Operator("cloud4.internal", ""), refused, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.Header.Get("Accept"), "application/openmetrics-text") {
				asked.Add(1)
			}
			readers.ServeHTTP(w, r)
		})), refused)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { server.Close(); <-served })
	return l.Addr().String(), asked
}

// prometheus runs the real one with the configuration that is shipped, but for places and times.
func prometheus(t *testing.T, target, certificates string) (url string) {
	t.Helper()
	path, dir := program(t, "prometheus"), t.TempDir()
	config, err := os.ReadFile(filepath.Join(shipped, "prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs(filepath.Join(shipped, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"genesis.internal:8444", target}, {"/etc/prometheus/hub", certificates}, {"[alerts.yml]", "[" + rules + "]"}, {": 15s", ": 200ms"},
	} {
		if !bytes.Contains(config, []byte(change[0])) {
			t.Fatalf("prometheus.yml has no %q", change[0])
		}
		config = bytes.ReplaceAll(config, []byte(change[0]), []byte(change[1]))
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	var log bytes.Buffer
	cmd := exec.Command(path, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus said:\n%s", &log)
		}
	})
	return "http://" + address
}

// ask asks Prometheus' API, which says {"status":"success","data":…}.
func ask(base, path string, query url.Values, data any) error {
	resp, err := http.Get(base + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status != "success" {
		return fmt.Errorf("%s: %s %v", path, body, err)
	}
	return json.Unmarshal(answer.Data, data)
}

type series struct {
	Result []struct {
		Metric map[string]string
		Value  [2]any
	}
}

// A real Prometheus scrapes over mutual TLS, finds every series, takes the rules, and has something to show for every query of the
// dashboard.
func TestPrometheus(t *testing.T) {
	t.Parallel() // Prometheus waits for five seconds before it begins
	ca := identitytest.New(t)
	target, asked := genesis(t, ca)
	base := prometheus(t, target, ca.Dir(t, spiffe.ID{TrustDomain: "cloud4.internal", Role: spiffe.Operator, Name: "prometheus"}))
	query := func(expr string) (series, error) {
		var s series
		return s, ask(base, "/api/v1/query", url.Values{"query": {expr}}, &s)
	}

	deadline := time.Now().Add(time.Minute)
	for { // until it has looked often enough for a rate
		s, err := query(`count_over_time(up{job="hub-health"}[1m]) >= 3`)
		if err == nil && len(s.Result) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not scraped: %v %v", s, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if s, err := query(`up{job="hub-health"}`); err != nil || len(s.Result) != 1 || s.Result[0].Value[1] != "1" {
		t.Fatalf("not up: %v %v", s, err)
	}
	if asked.Load() < 3 {
		t.Errorf("OpenMetrics was asked for %d times", asked.Load())
	}
	for expr, want := range map[string]string{
		`hub_health{kind="container",host="vm1",container="web.shop.vm1",hub_health="fail"}`: "1",
		`hub_health_check_runs_total{container="web.shop.vm1",check="page"}`:                 "360",
		`hub_health_check_state{container="backup.ops.vm1",check="age"}`:                     "2",
		`hub_health_value{host="vm1",check="host/disk",value="used",unit="1"}`:               "0.92",
		`sum(hub_health)`: "7", // each of seven things is in one state
	} {
		if s, err := query(expr); err != nil || len(s.Result) != 1 || s.Result[0].Value[1] != want {
			t.Errorf("%s: %v %v, want %s", expr, s, err, want)
		}
	}

	expressions := dashboardExpressions(t)
	if len(expressions) < 10 {
		t.Errorf("the dashboard has %d queries", len(expressions))
	}
	for _, expr := range expressions {
		if s, err := query(expr); err != nil || len(s.Result) == 0 {
			t.Errorf("the dashboard shows nothing for %s: %v", expr, err)
		}
	}

	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if err := ask(base, "/api/v1/rules", nil, &rules); err != nil || len(rules.Groups) != 1 || len(rules.Groups[0].Rules) < 10 {
		t.Fatalf("%v: %+v", err, rules)
	}
	for _, rule := range rules.Groups[0].Rules {
		if rule.Health == "err" {
			t.Errorf("rule %s: %s", rule.Name, rule.LastError)
		}
	}
}

// dashboardExpressions are the queries of the dashboard that is shipped, with its variables filled in as Grafana does.
func dashboardExpressions(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(shipped, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	var out []string
	taken := map[[2]int]string{}
	for _, p := range dashboard.Panels {
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %s lies over %s, or out of sight", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			out = append(out, strings.NewReplacer("$host", ".*", "$__rate_interval", "1m").Replace(target.Expr))
		}
	}
	return out
}
