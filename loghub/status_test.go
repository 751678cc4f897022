// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/slim/otlp/collector/metrics/v1"
	"google.golang.org/protobuf/proto"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/terminal"
	"cloud4.internal/hub/loghub/internal/mask"
	"cloud4.internal/hub/loghub/internal/sink"
	"cloud4.internal/hub/loghub/internal/source"
	"cloud4.internal/hub/loghub/internal/spool"
)

// someStatus is one with trouble.
func someStatus(now time.Time) *status {
	return &status{
		node: health.Node{State: health.Warn, Text: "logs wait", Action: "see that it runs"},
		section: section{
			Receiver: "https://genesis.internal:4318/v1/logs", Stdout: "raw", Dropped: 2048, Durable: "a kill takes nothing", Where: "/var/lib/hub/0/log",
			Spool:      &spool.Stats{Bytes: 3 << 20, Quota: 64 << 20, Backlog: 17, Corrupt: 1, Skipped: 100, Foreign: 1, AtRisk: 1024, WrittenToday: 5 << 20, DiskPerDay: 10 << 20},
			Sender:     &sink.State{Error: "connection refused", Since: now.Add(-90 * time.Second), LastAck: now.Add(-100 * time.Second), Sent: 5, Requests: 2, Bytes: 700, Dead: 2},
			Severities: &source.Severities{Warn: 3, Error: 2},
			Masked:     &mask.Found{Hidden: []string{"DB_PASSWORD", "API_TOKEN"}, LeftOut: []mask.Left{{Name: "KEY", Why: "too short"}}},
			Skipped:    []source.Skip{{Path: "/var/log/a", Reason: "a link"}}, SkippedMore: 2,
			Sources: []source.Stat{
				{Name: "stdout", Position: 5 << 20, Records: 12345, Rate: 12.34, Format: "json"},
				{Name: "/var/log/nginx/access.log", Position: 100, Lag: 7, Records: 1, Lost: 4, LostBytes: 4096, Format: "access", Misfits: 2},
			},
		},
	}
}

func TestStatusText(t *testing.T) {
	now := time.Now()
	want := `state     ! warn  logs wait
          → see that it runs
receiver  https://genesis.internal:4318/v1/logs  has taken none for 90 s: connection refused  (5 events in 2 requests, 700 B; 2 dead letters)
spool     /var/lib/hub/0/log  17 events wait  (3.0 MiB of 64.0 MiB, 1.0 KiB of it in memory alone)  5.0 MiB written to the disk in 24 h, at most 10.0 MiB  1 left alone there, of a later version or no plain file  1 damaged place, 100 B skipped
copy      raw  2.0 KiB missing: the container's own output took no more
durable   a kill takes nothing
not read  /var/log/a: a link
          and 2 more files
levels    3 warn, 2 error, 0 fatal since the start
secrets   hidden: DB_PASSWORD, API_TOKEN; not hidden: KEY (too short)

SOURCE                     FORMAT          POSITION  LAG    RATE  RECORDS         LOST
stdout                     json             5.0 MiB    -  12.3/s    12345            -
/var/log/nginx/access.log  access (not 2)     100 B  7 B       -        1  4 (4.0 KiB)
`
	if diff := cmp.Diff(want, someStatus(now).text(terminal.Terminal{}, now)); diff != "" {
		t.Error(diff)
	}
	for ago, want := range map[time.Duration]string{0: "a moment", 1600 * time.Millisecond: "2 s", 9900 * time.Millisecond: "10 s", 200 * time.Second: "3 min"} {
		if got := age(now, now.Add(-ago)); got != want {
			t.Errorf("%s ago is %q, want %q", ago, got, want)
		}
	}
	late := someStatus(now)
	late.written = now.Add(-20 * time.Second)
	if text := late.text(terminal.Terminal{}, now); !strings.Contains(text, "\n          this was so 20 s ago") {
		t.Error(text)
	}
	coloured := someStatus(now).text(terminal.Terminal{Colour: true}, now)
	if !strings.Contains(coloured, "\x1b[33m! warn\x1b[0m") || !strings.Contains(coloured, "\x1b[31m4 (4.0 KiB)\x1b[0m") {
		t.Errorf("%q", coloured)
	}
	copied := &status{section: section{Stdout: "json"}}
	want = "state     ✓ pass  \nreceiver  none: events are only copied to the container's output\nspool     none: nothing has to wait\ncopy      json\n"
	if diff := cmp.Diff(want, copied.text(terminal.Terminal{}, now)); diff != "" {
		t.Error(diff)
	}
}

// The command reads what a loghub has written, and says so when there is none.
func TestStatus(t *testing.T) {
	c := newContainer(t, `{"log": {"stdout": "json"}}`)
	ask := func(args ...string) (string, string, int) {
		return command(t, "", []string{"HUB_RUN_DIR=" + c.run}, append([]string{"status"}, args...)...)
	}
	if out, errs, code := ask(); code != 1 || out != "" || !strings.Contains(errs, "loghub does not run here: there is no "+c.run) {
		t.Errorf("without: %d %q %q", code, out, errs)
	}
	h := c.start()
	waitFor(t, 60*time.Second, "log.json", func() bool {
		_, s := c.logState()
		return len(s.Sources) == 3
	})
	if out, errs, code := ask(); code != 0 || errs != "" || !strings.Contains(out, "✓ pass") || !strings.Contains(out, "\nstdout  ") {
		t.Errorf("%d %q\n%s", code, errs, out)
	}
	out, _, _ := ask("--json")
	var file struct {
		Health map[string]any
		Log    map[string]any
	}
	if err := json.Unmarshal([]byte(out), &file); err != nil || file.Health["name"] != "log" || file.Log["stdout"] != "json" {
		t.Errorf("%v %s", err, out)
	}
	if _, errs, code := ask("--json", "--metrics"); code != 2 || !strings.Contains(errs, "do not go together") {
		t.Errorf("%d %s", code, errs)
	}
	if _, errs, code := ask("web"); code != 2 || !strings.Contains(errs, "takes no arguments") {
		t.Errorf("%d %s", code, errs)
	}
	h.kill()
	if _, errs, code := ask(); code != 1 || !strings.Contains(errs, "does not run any more") {
		t.Errorf("killed: %d %s", code, errs)
	}
	h = c.start()
	waitFor(t, 60*time.Second, "another", func() bool {
		_, _, code := ask()
		return code == 0
	})
	h.stop(t)
	if _, errs, code := ask(); code != 1 || !strings.Contains(errs, "does not run any more") {
		t.Errorf("stopped: %d %s", code, errs)
	}
	if err := health.WriteFile(c.run, health.LogFile, health.Node{Kind: health.KindHub, Name: "log"}, section{}, time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := ask(); code != 1 || !strings.Contains(errs, "does not run any more: it last wrote at ") {
		t.Errorf("stale: %d %s", code, errs)
	}
}

func TestStatusWatch(t *testing.T) {
	c := newContainer(t, `{}`)
	cmd := exec.Command(os.Args[0])
	cmd.Args, cmd.Env = []string{"loghub", "status", "--watch"}, []string{"LOGHUB_TEST_MAIN=1", "HUB_RUN_DIR=" + c.run}
	shown := &lockedBuffer{}
	cmd.Stdout = shown
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	waitFor(t, 60*time.Second, "that it does not run", func() bool { return strings.Contains(shown.String(), "does not run here") })
	c.start()
	waitFor(t, 60*time.Second, "that it runs", func() bool { return strings.Contains(shown.String(), "✓ pass") })
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || strings.Contains(shown.String(), "\x1b") {
		t.Errorf("%v: %q", err, shown)
	}
}

// The text is one that Prometheus takes, in both forms.
func TestMetrics(t *testing.T) {
	s := someStatus(time.Now())
	s.section.Sources[0].Name = "a \"b\"\\\n"
	plain := string(openMetrics(metrics(s.node, s.section), true))
	for _, want := range []string{
		"# TYPE loghub_records_total counter\n# HELP loghub_records_total Records made of what a source gave.\nloghub_records_total{source=\"a \\\"b\\\"\\\\\\n\"} 12345\n",
		"loghub_lost_records_total{source=\"/var/log/nginx/access.log\"} 4\n", "# TYPE loghub_spool_waiting_records gauge\n", "loghub_spool_waiting_records 17\n",
		"loghub_severe_records_total{level=\"warn\"} 3\n", "loghub_receiver_up 0\n", "loghub_well 0\n",
	} {
		if !strings.Contains(plain, want) {
			t.Errorf("no %q in\n%s", want, plain)
		}
	}
	if open := string(openMetrics(metrics(s.node, s.section), false)); !strings.HasSuffix(open, "# EOF\n") || !strings.Contains(open, "# TYPE loghub_records counter\n") {
		t.Errorf("%s", open)
	}
	tool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	check := exec.Command(tool, "check", "metrics")
	check.Stdin = strings.NewReader(plain)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, out, plain)
	}
}

// Where the variables of OpenTelemetry ask for it, the figures go there.
func TestPush(t *testing.T) {
	var last atomic.Pointer[collector.ExportMetricsServiceRequest]
	var refuse atomic.Bool
	refuse.Store(true)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/metrics" || r.Header.Get("Authorization") != "x" || refuse.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, err := io.ReadAll(r.Body)
		request := new(collector.ExportMetricsServiceRequest)
		if err == nil {
			err = proto.Unmarshal(body, request)
		}
		if err != nil {
			t.Error(err)
		}
		last.Store(request)
	}))
	defer server.Close()
	c := newContainer(t, `{"log": {"stdout": "json", "otlp": "none"}}`)
	c.env = []string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=" + server.URL + "/v1/metrics", "OTEL_EXPORTER_OTLP_HEADERS=authorization=x", "OTEL_METRIC_EXPORT_INTERVAL=1"}
	h := c.start()
	fmt.Fprint(c.pipes["stdout"].w, "a line\n")
	waitFor(t, 60*time.Second, "that it is refused", func() bool { return strings.Contains(h.log.String(), "metrics are not taken") })
	refuse.Store(false)
	waitFor(t, 60*time.Second, "the record counted", func() bool {
		request := last.Load()
		return request != nil && strings.Contains(request.String(), "loghub.records")
	})
	request := last.Load()
	for _, m := range request.ResourceMetrics[0].ScopeMetrics[0].Metrics {
		if m.Name == "loghub.records" && (!m.GetSum().IsMonotonic || m.GetSum().DataPoints[0].StartTimeUnixNano == 0) {
			t.Errorf("%v", m)
		}
	}
	if !strings.Contains(request.ResourceMetrics[0].Resource.String(), "service.instance.id") {
		t.Errorf("%v", request.ResourceMetrics[0].Resource)
	}
	waitFor(t, 60*time.Second, "that it is taken again", func() bool { return strings.Contains(h.log.String(), "metrics are taken again") })
	h.stop(t)
	if n := strings.Count(h.log.String(), "metrics are not taken"); n != 1 {
		t.Errorf("said %d times", n)
	}
}
