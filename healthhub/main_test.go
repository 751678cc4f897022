// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/healthhub/internal/agent"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/proctest"
	"cloud4.internal/hub/internal/spiffe"
	"cloud4.internal/hub/internal/terminal"
)

// TestMain makes this binary healthhub itself when a test starts it as that.
func TestMain(m *testing.M) {
	if os.Getenv("BE_HEALTHHUB") != "" {
		os.Unsetenv("BE_HEALTHHUB")
		main()
		return
	}
	os.Exit(proctest.Main(m, map[string]proctest.Program{"healthhub": func([]string) int { main(); return 0 }}))
}

// machine is where healthhub runs: directories and settings of its own.
type machine struct{ dir string }

func newMachine(t testing.TB, settings string) machine {
	t.Helper()
	m := machine{t.TempDir()}
	for _, dir := range []string{"run", "state"} {
		if err := os.Mkdir(filepath.Join(m.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(m.path("hub.json"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m machine) path(name string) string { return filepath.Join(m.dir, name) }

func (m machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = []string{
		"BE_HEALTHHUB=1", "PATH=" + os.Getenv("PATH"), "HUB_RUN_DIR=" + m.path("run"), "HUB_STATE_DIR=" + m.path("state"), "HUB_CONFIG=" + m.path("hub.json"),
	}
	return cmd
}

// call runs a command to its end.
func (m machine) call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := m.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second
	defer time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() }).Stop()
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// output is what a process wrote so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}
func (o *output) String() string { o.mu.Lock(); defer o.mu.Unlock(); return o.buf.String() }

// start runs a command until the test ends; stop ends it with TERM and gives its exit code.
func (m machine) start(t *testing.T, args ...string) (log *output, stop func() int) {
	t.Helper()
	log = new(output)
	cmd := m.command(args...)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() int {
		once.Do(func() {
			cmd.Process.Signal(syscall.SIGTERM)
			limit := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
			cmd.Wait()
			limit.Stop()
		})
		return cmd.ProcessState.ExitCode()
	}
	t.Cleanup(func() { stop() })
	return log, stop
}

// waitLimit is how long a test waits for what another process does: the machine may be busy.
const waitLimit = 20 * time.Second

func waitFor(t testing.TB, within time.Duration, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func parse(t testing.TB, uri string) spiffe.ID {
	t.Helper()
	id, err := spiffe.Parse("spiffe://cloud4.internal" + uri)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A container, its host and the fleet, as processes, over real TLS.
func TestContainerHostFleet(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	defer site.Close()

	fleetAddress, hostAddress := freeAddress(t), freeAddress(t)
	fleetPage, hostPage := freeAddress(t), freeAddress(t)
	fleet := newMachine(t, `{"identity": {"genesis": "health"}}`)
	ca.Issue(t, parse(t, "/genesis/health"), fleet.path("state/identity"))
	fleet.start(t, "serve", "--listen", fleetAddress, "--dashboard", fleetPage)

	// The host's identity comes later than the host.
	host := newMachine(t, `{"identity": {"host": "vm1"}}`)
	if err := os.WriteFile(host.path("expect.json"), []byte(`{"containers": {"web.shop.vm1": {}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	hostLog, stopHost := host.start(t, "serve", "--listen", hostAddress, "--dashboard", hostPage,
		"--report-to", "https://"+fleetAddress, "--expect", host.path("expect.json"))
	waitFor(t, 10*time.Second, "the host says what it waits for", func() bool {
		return strings.Contains(hostLog.String(), "waiting for the identity")
	})
	ca.Issue(t, parse(t, "/host/vm1"), host.path("state/identity"))

	web := newMachine(t, fmt.Sprintf(`{
		"identity": {"host": "vm1", "stack": "shop", "service": "web"},
		"health": {"report_to": "https://%s", "checks": {"page": {"kind": "http", "url": %q, "criticality": "critical"}}}
	}`, hostAddress, site.URL))
	ca.Issue(t, parse(t, "/host/vm1/stack/shop/service/web"), web.path("state/identity"))
	_, stopWeb := web.start(t, "run")

	seen := func(page, want string) func() bool {
		return func() bool {
			_, out, _ := fleet.call(t, "status", "--all", "--dashboard", "http://"+page)
			return strings.Contains(strings.Join(strings.Fields(out), " "), want)
		}
	}
	waitFor(t, 20*time.Second, "the container at the host", seen(hostPage, "web.shop.vm1 ✓ pass 100"))
	waitFor(t, 20*time.Second, "the container at the fleet", seen(fleetPage, "web.shop.vm1 ✓ pass 100"))
	waitFor(t, 20*time.Second, "the host's own checks at the fleet", seen(fleetPage, "host/memory"))
	if _, out, _ := host.call(t, "status", "--host", "https://"+hostAddress, "--json"); !strings.Contains(out, `"name":"page"`) {
		t.Errorf("over mutual TLS: %s", out)
	}
	if code, _, errs := web.call(t, "status", "--host", "https://"+hostAddress); code != 1 || !strings.Contains(errs, "403") {
		t.Errorf("a container read of its host: %d %s", code, errs)
	}

	if code, _, errs := web.call(t, "report", "backup", "fail", "--ttl", "1h", "disk", "full"); code != 0 {
		t.Errorf("report: %d %s", code, errs)
	}
	waitFor(t, 20*time.Second, "the report at the fleet", seen(fleetPage, "backup ✕ fail"))
	if code, out, _ := web.call(t, "probe"); code != 0 || out != "warn: backup: fail: disk full\n" {
		t.Errorf("probe: %d %q", code, out)
	}
	if code, out, _ := web.call(t, "probe", "--nagios"); code != 1 || !strings.HasPrefix(out, "WARNING - web.shop.vm1: backup: fail: disk full | score=") {
		t.Errorf("probe --nagios: %d %q", code, out)
	}

	waitFor(t, 40*time.Second, "the container knows that its reports arrive", func() bool {
		_, out, _ := web.call(t, "status")
		return strings.Contains(out, "reports to https://"+hostAddress+"; one was taken ")
	})
	if code := stopWeb(); code != 0 {
		t.Errorf("run ended with %d", code)
	}
	waitFor(t, 10*time.Second, "the goodbye at the host", seen(hostPage, "web.shop.vm1 ! warn"))
	if code := stopHost(); code != 0 {
		t.Errorf("serve ended with %d", code)
	}
	if _, err := os.Stat(host.path("state/health/received.json")); err != nil {
		t.Error(err)
	}
	waitFor(t, 10*time.Second, "the host's goodbye at the fleet", seen(fleetPage, "vm1 ! warn"))
}

func TestRunRefusesBadSettings(t *testing.T) {
	m := newMachine(t, "{\n\"health\": {\"wait_for\": [\"tcp://db\"],\n\"checks\": {\"page\": {\"kind\": \"http\", \"interval\": \"0s\"}}}}")
	for _, args := range [][]string{{"run"}, {"--check"}} {
		code, _, errs := m.call(t, args...)
		if code != 2 || !strings.Contains(errs, "health.wait_for") || !strings.Contains(errs, "hub.json:3: health.checks.page.interval") {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
	if code, out, errs := newMachine(t, "{}").call(t, "--check"); code != 0 || !strings.Contains(out, "good") {
		t.Errorf("empty settings: %d %s %s", code, out, errs)
	}
}

func TestProbe(t *testing.T) {
	m := newMachine(t, "")
	if code, out, _ := m.call(t, "probe"); code != 1 || !strings.Contains(out, "unknown: healthhub does not run here") {
		t.Errorf("nobody there: %d %s", code, out)
	}
	for state, codes := range map[health.State][2]int{
		health.Pass: {0, 0}, health.Warn: {0, 1}, health.Starting: {1, 3}, health.Unknown: {1, 3}, health.Fail: {1, 2},
	} {
		node := health.Node{Kind: health.KindContainer, Name: "c", State: state}
		if err := health.WriteFile(m.path("run"), health.HealthFile, node, nil, time.Minute); err != nil {
			t.Fatal(err)
		}
		plain, _, _ := m.call(t, "probe")
		nagios, _, _ := m.call(t, "probe", "--nagios")
		if diff := cmp.Diff(codes, [2]int{plain, nagios}); diff != "" {
			t.Errorf("%v: %s", state, diff)
		}
	}
	forced := health.Node{Kind: health.KindContainer, Name: "c", State: health.Fail}
	if err := health.WriteFile(m.path("run"), health.HealthFile, forced, agent.Section{Ready: health.Pass}, time.Minute); err != nil {
		t.Fatal(err)
	}
	plain, _, _ := m.call(t, "probe")
	if nagios, _, _ := m.call(t, "probe", "--nagios"); plain != 0 || nagios != 2 {
		t.Errorf("forced to fail: %d, and %d as a plugin: Docker is not to act on it, an alarm is", plain, nagios)
	}
	expired := `{"schema":1,"valid_until_boot":0.1,"written_at":"2026-01-01T00:00:00Z","health":{"kind":"container","name":"c","state":"pass"}}`
	if err := os.WriteFile(m.path("run/health.json"), []byte(expired), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := m.call(t, "probe"); code != 1 || !strings.Contains(out, "silent since") {
		t.Errorf("expired: %d %s", code, out)
	}
}

func TestReport(t *testing.T) {
	m := newMachine(t, "")
	if code, _, errs := m.call(t, "report", "backup", "pass"); code != 1 || !strings.Contains(errs, "does not run here") {
		t.Errorf("nobody there: %d %s", code, errs)
	}
	for _, args := range [][]string{{"backup", "--remove", "pass"}, {"backup", "--remove", "--ttl", "5m"}, {"--remove"}} {
		if code, _, errs := m.call(t, append([]string{"report"}, args...)...); code != 2 {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
	if code, _, errs := m.call(t, "report", "backup", "--remove"); code != 1 || !strings.Contains(errs, "removing a check") {
		t.Errorf("nobody there: %d %s", code, errs)
	}
	if code, _, errs := m.call(t, "report", "backup"); code != 2 || !strings.Contains(errs, "usage: healthhub report") {
		t.Errorf("usage: %d %s", code, errs)
	}
	if code, out, _ := m.call(t, "report", "--help"); code != 0 || !strings.Contains(out, "NAME pass|warn|fail") {
		t.Errorf("help: %d %s", code, out)
	}
}

// status shows a host or the fleet where the settings name one, else the container.
func TestStatusKnowsWhereItIs(t *testing.T) {
	for settings, want := range map[string]string{
		`{"identity": {"host": "vm1"}}`: health.KindHost, `{"identity": {"genesis": "health"}}`: health.KindFleet,
		`{"identity": {"genesis": "log"}}`: health.KindContainer, `{"identity": {"host": "vm1", "stack": "s", "service": "w"}}`: health.KindContainer,
		`{}`: health.KindContainer, `{`: health.KindContainer,
	} {
		if got := ownLevel(hubfile.Source{Path: newMachine(t, settings).path("hub.json")}); got != want {
			t.Errorf("%s: %s, want %s", settings, got, want)
		}
	}
	if code, _, errs := newMachine(t, "{}").call(t, "status"); code != 1 || !strings.Contains(errs, "health.sock") {
		t.Errorf("nobody there: %d %s", code, errs)
	}
	m := newMachine(t, "{}")
	for _, args := range [][]string{{"--level", "world"}, {"--dashboard", "http://a", "--host", "https://b"}, {"web", "db"}, {"--host", "vm1"}, {"--watch", "--json"}} {
		if code, _, errs := m.call(t, append([]string{"status"}, args...)...); code != 2 {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
}

func TestTable(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	score := 82
	node := health.Node{
		Kind: health.KindHost, Name: "vm1", State: health.Warn, Score: &score, Since: now.Add(-4 * time.Minute), ObservedAt: now.Add(-2 * time.Second),
		Children: []health.Node{
			{Kind: health.KindContainer, Name: "a.shop.vm1", State: health.Pass, Children: []health.Node{{Kind: health.KindCheck, Name: "hidden"}}},
			{Kind: health.KindContainer, Name: "db.shop.vm1", State: health.Warn, Children: []health.Node{
				{Kind: health.KindCheck, Name: "port", State: health.Pass, Flags: []string{health.FlagCritical}},
				{Kind: health.KindCheck, Name: "replica", State: health.Fail, Text: "connection refused", Action: "start it"},
			}},
			{Kind: health.KindCheck, Name: "host/disk", State: health.Pass, Text: "hidden"},
			{Kind: health.KindCheck, Name: "host/temperature", State: health.Unknown, Flags: []string{health.FlagUnsupported}},
			{Kind: health.KindCheck, Name: "host/clock", State: health.Warn, Text: "an hour off"},
		},
	}
	want := `HOST           STATE   SCORE  FOR    SEEN  WHAT WAS SEEN
vm1            ! warn  82     4 min  2 s
  db.shop.vm1  ! warn         -      -
    replica    ✕ fail         -      -     connection refused → start it
    port       ✓ pass         -      -     [critical]
  host/clock   ! warn         -      -     an hour off
  a.shop.vm1   ✓ pass         -      -
`
	if diff := cmp.Diff(want, (&table{now: now}).draw(&node)); diff != "" {
		t.Error(diff)
	}
	if out := (&table{now: now, all: true}).draw(&node); !strings.Contains(out, "hidden") {
		t.Error("--all does not show everything")
	}
	coloured := (&table{now: now, term: terminal.Terminal{Colour: true}, width: 60}).draw(&node)
	if !strings.Contains(coloured, "\x1b[31m✕ fail") || !strings.Contains(coloured, "\n"+strings.Repeat(" ", 30)+"→ start it\n") {
		t.Errorf("%q", coloured)
	}
}

// The schema is what editors use.
func TestSchema(t *testing.T) {
	_, out, errs := newMachine(t, "{}").call(t, "--schema")
	var schema map[string]any
	if err := json.Unmarshal([]byte(out), &schema); err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	if !strings.Contains(out, `"start_deadline"`) {
		t.Error("checks are not in the schema")
	}
}
