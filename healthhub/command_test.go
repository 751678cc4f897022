// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cloud4.internal/hub/healthhub/internal/ledger"
	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/proctest"
	"cloud4.internal/hub/internal/terminal"
)

// shop is a container whose page is well while up is.
func shop(t *testing.T) (m machine, up *atomic.Bool) {
	t.Helper()
	up = new(atomic.Bool)
	up.Store(true)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(site.Close)
	m = newMachine(t, fmt.Sprintf(`{"identity": {"host": "vm1", "stack": "shop", "service": "web"}, "health": {"checks": {
		"page": {"kind": "http", "url": %q, "criticality": "critical", "interval": "1s", "fall": 1, "rise": 1},
		"backup": {"kind": "push", "ttl": "26h"}}}}`, site.URL))
	m.start(t, "run")
	m.expect(t, 0, "page: pass after", "wait", "page", "--timeout", "20s")
	return m, up
}

// expect runs a command and says when it does not end so, or prints something else, on either way out.
func (m machine) expect(t *testing.T, code int, want string, args ...string) string {
	t.Helper()
	got, out, errs := m.call(t, args...)
	if got != code || !strings.Contains(out+errs, want) {
		t.Errorf("healthhub %s: %d\n%s%s\nwant %d with %q", strings.Join(args, " "), got, out, errs, code, want)
	}
	return out
}

// What somebody does with a container in which something fails, one command after the other.
func TestSession(t *testing.T) {
	m, up := shop(t)
	up.Store(false)
	m.expect(t, 0, "page: fail after", "wait", "--for", "warn,fail", "page", "--timeout", "20s")
	m.expect(t, 1, "not pass within 100ms: page is fail: 502 Bad Gateway", "wait", "page", "--timeout", "100ms")
	if out := m.expect(t, 1, "web.shop.vm1 is fail", "explain"); !strings.Contains(out, "\n  because page is fail [critical]: 502 Bad Gateway") || !strings.Contains(out, "\n→ see the log of the service\n") {
		t.Error(out)
	}
	var e rollup.Explanation
	if err := json.Unmarshal([]byte(m.expect(t, 1, "", "explain", "--json")), &e); err != nil || e.Cause != "page" {
		t.Errorf("%+v, %v", e, err)
	}
	m.expect(t, 2, "--reason is missing", "mute", "page", "--for", "2h")
	m.expect(t, 1, "for: must be", "mute", "page", "--for", "2years", "--reason", "x")
	m.expect(t, 1, "healthhub status --all lists what container web.shop.vm1 has", "mute", "pgae", "--for", "2h", "--reason", "x")
	m.expect(t, 0, "page (fail) is muted until it is well again", "mute", "page", "--for", "2h", "--reason", "disk is ordered", "--by", "ops")
	m.expect(t, 0, "muted: page (fail), for 2 h more, ends when it is well or worse; by ops: disk is ordered", "mute", "--list")
	m.expect(t, 0, "page: fail", "wait", "page", "--for", "fail")
	if out := m.expect(t, 0, "by ops: disk is ordered", "status"); !regexp.MustCompile(`(?m)^web.shop.vm1 .*1 muted`).MatchString(out) {
		t.Error(out)
	}
	m.expect(t, 0, "page counts again", "unmute", "page")
	m.expect(t, 1, "page is not muted", "unmute", "page")
	m.expect(t, 0, "nothing is muted", "mute", "--list")
	up.Store(true)
	m.expect(t, 0, "page: pass", "wait", "page", "--timeout", "20s")
	out := m.expect(t, 0, "", "history", "page")
	if !regexp.MustCompile(`(?s)pass → fail +502 Bad Gateway.*fail → pass +200 OK`).MatchString(out) {
		t.Error(out)
	}
	var list ledger.History
	if err := json.Unmarshal([]byte(m.expect(t, 0, "", "history", "--json", "--limit", "2")), &list); err != nil || len(list.Events) != 2 {
		t.Errorf("%+v, %v", list, err)
	}
	m.expect(t, 0, "nothing changed since", "history", "backup", "--since", "0s")
	m.expect(t, 1, "has no", "history", "nix")
	m.expect(t, 2, "is no time", "history", "--since", "noon")
	m.expect(t, 0, "everything that is known of then was well", "history", "--at", "1h")
}

func TestChaosCommand(t *testing.T) {
	m, _ := shop(t)
	m.expect(t, 0, "page says fail until", "chaos", "page", "fail", "--for", "1m")
	m.expect(t, 0, "page: fail", "wait", "--for", "fail", "page", "--timeout", "20s")
	m.expect(t, 1, "healthhub chaos page --end ends it", "explain")
	m.expect(t, 0, "page says fail for", "chaos", "--list")
	m.expect(t, 0, "page says again what it sees", "chaos", "page", "--end")
	m.expect(t, 0, "page: pass", "wait", "page", "--timeout", "20s")
	m.expect(t, 1, "is not forced", "chaos", "page", "--end")
	m.expect(t, 2, "nothing can be forced to be well", "chaos", "page", "pass")
	m.expect(t, 1, "nix", "chaos", "nix", "fail")
}

func TestReportReadsItsText(t *testing.T) {
	m, _ := shop(t)
	cmd := m.command("report", "backup", "warn", "-", "--ttl", "1h")
	cmd.Stdin = strings.NewReader("3 GiB\nin \x1b[31m4 min" + strings.Repeat(" more", 100_000))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out := m.expect(t, 0, "backup", "status", "backup", "--json")
	var n health.Node
	if err := json.Unmarshal([]byte(out), &n); err != nil || n.State != health.Warn || !strings.HasPrefix(n.Text, "3 GiB in ") || strings.Contains(n.Text, "\x1b") || len(n.Text) > health.MaxTextBytes {
		t.Errorf("%v: %d %.400q", err, len(n.Text), out)
	}
	m.expect(t, 2, "--ttl must be at least 1s", "report", "backup", "pass", "--ttl", "5ms")
	m.expect(t, 2, "state must be pass, warn or fail", "report", "backup", "green")
	m.expect(t, 2, "must consist of", "report", "Backup", "pass")
	m.expect(t, 1, "is looked at by healthhub itself", "report", "page", "pass")
}

// What was measured goes to Nagios too, and its bar stands only once.
func TestNagios(t *testing.T) {
	warn, fail, low := 80.0, 0.5, 0.25
	n := health.Node{Kind: health.KindContainer, Name: "web", State: health.Warn, Text: "a | b", Children: []health.Node{
		{Kind: health.KindCheck, Name: "page", Values: []health.Value{{Name: "first_byte", Value: 0.0012345678, Unit: "s"}, {Name: "size", Value: 7e12, Unit: "By"}}},
		{Kind: health.KindCheck, Name: "cert", Values: []health.Value{{Name: "left", Value: 0.125, Unit: "1", Warn: &fail, Fail: &low}}},
		{Kind: health.KindCheck, Name: "users", Values: []health.Value{{Name: "users", Value: 7, Warn: &warn}}},
		{Kind: health.KindCheck, Name: "hub/log", Values: []health.Value{{Name: "lag", Value: 7}}},
	}}
	line, code := nagios(&n)
	want := "WARNING - web: a / b | score=0;60:;30:;0;100 'page/first_byte'=0.001235s 'page/size'=7000000000000B 'cert/left'=12.5%;50:;25: 'users/users'=7;80\n"
	if line != want || code != 1 {
		t.Errorf("%d %s", code, line)
	}
	for range 1000 {
		n.Children = append(n.Children, n.Children[0])
	}
	if line, _ := nagios(&n); len(line) > maxPlugin+1 {
		t.Errorf("%d bytes", len(line))
	}
}

// Operators mute at a host; others, and dashboards, may look.
func TestMuteAtAHost(t *testing.T) {
	ca := identitytest.New(t)
	m, desk := newMachine(t, ""), newMachine(t, "")
	ca.Issue(t, parse(t, "/host/vm1"), m.path("state/identity"))
	ca.Issue(t, parse(t, "/operator/desk"), desk.path("state/identity"))
	if err := os.WriteFile(m.path("expect.json"), []byte(`{"containers": {"web.shop.vm1": {}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	address, dashboard := freeAddress(t), freeAddress(t)
	log, _ := m.start(t, "serve", "--listen", address, "--dashboard", dashboard, "--expect", m.path("expect.json"))
	waitFor(t, waitLimit, "serving", func() bool { return strings.Contains(log.String(), "taking reports") })
	host := "https://" + address
	desk.expect(t, 0, "web.shop.vm1 (", "mute", "web.shop.vm1", "--for", "1h", "--sticky", "--reason", "update", "--host", host)
	desk.expect(t, 0, "sticky; by desk: update", "mute", "--list", "--dashboard", "http://"+dashboard)
	desk.expect(t, 0, "is muted until", "history", "--host", host)
	m.expect(t, 1, "operators may change things", "unmute", "web.shop.vm1", "--host", host)
	desk.expect(t, 0, "counts again", "unmute", "web.shop.vm1", "--host", host)
	desk.expect(t, 2, "a dashboard changes nothing", "mute", "web.shop.vm1", "--for", "1h", "--reason", "x", "--dashboard", "http://"+dashboard)
	desk.expect(t, 1, "connection refused", "status", "--host", "https://"+freeAddress(t))
}

// terminalOf makes a terminal of so many characters: the end that a person sees, and the one that a program writes to.
func terminalOf(t *testing.T, columns, rows uint16) (person, program *os.File) {
	t.Helper()
	person, program = proctest.Terminal(t)
	if err := unix.IoctlSetWinsize(int(program.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}); err != nil {
		t.Fatal(err)
	}
	return person, program
}

// A watch draws what changes, ends with INT, and leaves the terminal as it was, the last table on it.
func TestWatchOnATerminal(t *testing.T) {
	m, up := shop(t)
	person, program := terminalOf(t, 70, 30)
	cmd := m.command("status", "--watch")
	cmd.Env = append(cmd.Env, "TERM=xterm")
	cmd.Stdout = program
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	program.Close()
	seen := new(output)
	go io.Copy(seen, person) // ends with EIO when the program has
	waitFor(t, waitLimit, "the table", func() bool { return strings.Contains(seen.String(), "✓ pass") })
	up.Store(false)
	waitFor(t, waitLimit, "the change", func() bool { return strings.Contains(seen.String(), "502 Bad Gateway") })
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	waitFor(t, waitLimit, "the first screen", func() bool { return strings.Contains(seen.String(), terminal.FirstScreen) })
	screens := strings.Split(seen.String(), terminal.FirstScreen)
	if !strings.HasPrefix(screens[0], terminal.OtherScreen) || len(screens) != 2 {
		t.Errorf("%q", seen.String())
	}
	waitFor(t, waitLimit, "the last table", func() bool {
		_, after, _ := strings.Cut(seen.String(), terminal.FirstScreen)
		return strings.Contains(after, "502 Bad Gateway") && strings.Contains(after, "\x1b[31m✕ fail\x1b[0m")
	})
	for line := range strings.Lines(screens[0]) {
		if n := len([]rune(regexp.MustCompile(`\x1b\[[0-9;?]*[a-zA-Z]`).ReplaceAllString(strings.TrimRight(line, "\r\n"), ""))); n > 70 {
			t.Errorf("a line of %d characters: %q", n, line)
		}
	}
}

// Where the output is no terminal, a watch is the table and then a line for each change; history --follow is the lines alone.
func TestWatchOfAPipe(t *testing.T) {
	m, up := shop(t)
	for _, args := range [][]string{{"status", "--watch"}, {"history", "--follow", "--json"}} {
		cmd := m.command(args...)
		seen := new(output)
		cmd.Stdout = seen
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, waitLimit, "the beginning", func() bool { return seen.String() != "" })
		was := len(seen.String())
		up.Store(!up.Load())
		waitFor(t, waitLimit, "the change", func() bool {
			return strings.Contains(seen.String()[was:], "502 Bad Gateway") || strings.Contains(seen.String()[was:], "200 OK")
		})
		cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%q: %v", args, err)
		}
		if strings.Contains(seen.String(), "\x1b") {
			t.Errorf("%q: %q", args, seen.String())
		}
	}
}

// NO_COLOR (no-color.org) and a dumb terminal have no colour.
func TestNoColour(t *testing.T) {
	m, _ := shop(t)
	for env, want := range map[string]bool{"TERM=xterm": true, "TERM=dumb": false, "NO_COLOR=1": false} {
		person, program := terminalOf(t, 100, 30)
		cmd := m.command("status")
		cmd.Env = append(cmd.Env, env)
		cmd.Stdout = program
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		program.Close()
		var seen bytes.Buffer
		io.Copy(&seen, person) // ends with EIO
		if strings.Contains(seen.String(), "\x1b[") != want || !strings.Contains(seen.String(), "page") {
			t.Errorf("%s: %q", env, seen.String())
		}
	}
}

// What was at a time is what is, less what changed since.
func TestPast(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 3, 1, 3, minute, 0, 0, time.UTC) }
	state := func(s health.State) *health.State { return &s }
	root := &health.Node{Kind: health.KindContainer, Name: "web", State: health.Pass, Since: at(20), Children: []health.Node{
		{Kind: health.KindCheck, Name: "page", State: health.Pass, Since: at(20)},
		{Kind: health.KindCheck, Name: "disk", State: health.Warn, Since: at(0), Text: "full"},
		{Kind: health.KindCheck, Name: "new", State: health.Fail, Since: at(30)},
	}}
	events := []record.Event{
		{At: at(5), Path: "page", Kind: health.KindCheck, From: state(health.Pass), To: state(health.Fail), Text: "refused"},
		{At: at(5), Kind: health.KindContainer, From: state(health.Warn), To: state(health.Fail), Text: "page: refused"},
		{At: at(6), Path: "page", Kind: health.KindCheck, From: state(health.Fail), To: state(health.Fail), Text: "refused", Flags: []string{health.FlagMuted}},
		{At: at(7), Kind: record.KindMark, Text: "restarted"},
		{At: at(15), Path: "old", Kind: health.KindCheck, From: state(health.Unknown)},
		{At: at(20), Path: "page", Kind: health.KindCheck, From: state(health.Fail), To: state(health.Pass)},
		{At: at(20), Kind: health.KindContainer, From: state(health.Fail), To: state(health.Pass)},
		{At: at(30), Path: "new", Kind: health.KindCheck, To: state(health.Fail)},
	}
	show := func(minute int, path string) string {
		var out []string
		for _, x := range past(root, path, events, at(minute)) {
			out = append(out, fmt.Sprintf("%s %s %q %q", x.path, x.state, x.text, x.flags))
		}
		return strings.Join(out, "\n")
	}
	for minute, want := range map[int]string{
		12: " fail \"page: refused\" []\npage fail \"refused\" [\"muted\"]\nold unknown \"\" []\ndisk warn \"full\" []",
		2:  "old unknown \"\" []\n warn \"\" []\ndisk warn \"full\" []\npage pass \"\" []",
		40: "new fail \"\" []\ndisk warn \"full\" []\n pass \"\" []\npage pass \"\" []",
	} {
		if got := show(minute, ""); got != want {
			t.Errorf("03:%02d:\n%s\nwant\n%s", minute, got, want)
		}
	}
	if got := show(12, "page"); got != "page fail \"refused\" [\"muted\"]" {
		t.Error(got)
	}
}

func TestLintCommand(t *testing.T) {
	m := newMachine(t, `{"health": {"checks": {"db": {"kind": "tcp", "address": "db.invalid:5432", "class": "live"}}}}`)
	m.expect(t, 1, "error: db: looks at db.invalid, and says that this container is dead when that is (class live)", "lint")
	m = newMachine(t, `{"health": {"checks": {"self": {"kind": "exec", "command": ["true"], "criticality": "critical"}}}}`)
	m.expect(t, 0, "errors: 0, warnings: 0", "lint", "--strict")
	if out := m.expect(t, 0, "", "lint", "--json"); !json.Valid([]byte(out)) || !strings.Contains(out, `"took"`) {
		t.Error(out)
	}
	m = newMachine(t, `{"health": {"checks": {"self": {"kind": "exec", "command": ["true"]}}}}`)
	m.expect(t, 0, "no check is critical", "lint")
	m.expect(t, 1, "no check is critical", "lint", "--strict")
	newMachine(t, "").expect(t, 1, "no check looks at this container", "lint")

	// This test process is the service, as hubinit would have it.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	state := &initctl.State{Service: initctl.ServiceState{State: initctl.ServiceRunning, PID: os.Getpid()}}
	if err := state.Write(m.path("run")); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	m.expect(t, 0, "the service listens on port "+port+", and no check looks at it", "lint")
}
