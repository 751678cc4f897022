// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/openmetrics"
)

// program is the path of what a test needs. Without it a test is left out on a developer's machine, and fails in CI.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed: see .ci/needs", name)
		}
		t.Skipf("left out: %s is not installed", name)
	}
	return path
}

func TestMetrics(t *testing.T) {
	server, _ := show(t, *village())
	resp, body := get(t, server.URL+"/metrics", "Accept", openmetrics.ContentType)
	if resp.Header.Get("Content-Type") != openmetrics.ContentType || resp.Header.Get("Vary") != "Accept, Accept-Encoding" {
		t.Errorf("%v", resp.Header)
	}
	for _, line := range []string{
		`hub_health{kind="container",host="vm1",container="web.shop.vm1",hub_health="fail"} 1`,
		`hub_health{kind="container",host="vm1",container="web.shop.vm1",hub_health="pass"} 0`,
		`hub_health{kind="fleet",hub_health="fail"} 1`,
		`hub_health_check_state{host="vm1",container="backup.ops.vm1",check="age"} 2`, // muted, and still what it is
		`hub_health_flag{kind="check",host="vm1",container="backup.ops.vm1",check="age",flag="muted"} 1`,
		`hub_health_flag{kind="host",host="vm2",flag="stale"} 1`,
		`hub_health_check_runs_total{host="vm1",container="web.shop.vm1",check="page"} 360`,
		`hub_health_check_info{host="vm1",container="web.shop.vm1",check="page",criticality="critical",class="live"} 1`,
		`hub_health_value{host="vm1",check="host/disk",value="used",unit="1"} 0.92`,
		`hub_health_value_limit{host="vm1",check="host/disk",value="used",limit="warn"} 0.9`,
		`hub_health_check_observed_timestamp_seconds{host="vm1",container="web.shop.vm1",check="page"} 1772366395`,
		`hub_health_confidence_ratio{kind="fleet"} 0.75`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("%s is missing in\n%s", line, body)
		}
	}
	sample := regexp.MustCompile(`^(#.*|[a-z_]+(\{.*\})? -?[0-9.]+)$`)
	seen := map[string]bool{}
	for line := range strings.Lines(body) {
		line = strings.TrimSuffix(line, "\n")
		series := line[:strings.LastIndex(line, " ")]
		if !sample.MatchString(line) || seen[series] {
			t.Errorf("not OpenMetrics, or there twice: %q", line)
		}
		seen[series] = true
	}
	if !strings.HasSuffix(body, "# EOF\n") {
		t.Error("no end")
	}
	plain, _ := get(t, server.URL+"/metrics")
	if plain.Header.Get("Content-Type") != openmetrics.PlainType || plain.Header.Get("ETag") == resp.Header.Get("ETag") {
		t.Errorf("the older form: %v", plain.Header)
	}
}

// Prometheus' own check finds nothing to say.
func TestPromtoolCheck(t *testing.T) {
	promtool := program(t, "promtool")
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	n := village()
	cmd.Stdin = strings.NewReader(string(metricsDocument(Snapshot{Node: n, Generation: 1, At: villageTime}, true)))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// A fleet too large for a series for each check says so instead of being cut somewhere.
func TestMetricsBound(t *testing.T) {
	host := health.Node{Kind: health.KindHost, Name: "vm1"}
	for i := range maxDetails/100 + 1 {
		c := health.Node{Kind: health.KindContainer, Name: fmt.Sprintf("c%d.shop.vm1", i), Children: make([]health.Node, 100)}
		for j := range c.Children {
			c.Children[j] = health.Node{Kind: health.KindCheck, Name: fmt.Sprintf("check%d", j)}
		}
		host.Children = append(host.Children, c)
	}
	body := string(metricsDocument(Snapshot{Node: &host}, false))
	if !strings.Contains(body, fmt.Sprintf("hub_health_checks_left_out %d\n", maxDetails+100)) || strings.Contains(body, "check0") ||
		strings.Count(body, `,hub_health="fail"} `) != len(host.Children)+1 {
		t.Errorf("%d bytes: %s", len(body), body[max(0, len(body)-500):])
	}
	host.Children = host.Children[1:]
	if body := string(metricsDocument(Snapshot{Node: &host}, false)); strings.Count(body, "\nhub_health_check_state{") != maxDetails {
		t.Error("left out although there are few enough")
	}
}
