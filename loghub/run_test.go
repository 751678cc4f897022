// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/loghub/internal/source"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestEndToEnd(t *testing.T) {
	g := newGenesis(t)
	logs := t.TempDir()
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q, "files": {"app": {"path": "%s/*.log"}}}}`, g.url(), logs))
	c.env = []string{"DB_PASSWORD=correct-horse-battery", "TZ=UTC"}
	h := c.start() // before there is an identity
	fmt.Fprint(c.pipes["stdout"].w, "plain line\n"+
		`{"level":"warn","time":"2026-11-21T08:00:00Z","message":"json","user":7,"service.name":"forged"}`+"\n"+
		"password is correct-horse-battery!\n"+
		"\x1b[31mred\x1b[0m \xff\n\nno end")
	fmt.Fprint(c.pipes["stderr"].w, "2026-11-21 08:00:01|ERROR it broke\r\n")
	fmt.Fprint(c.pipes["hubs"].w, `{"level":"info","program":"confighub","message":"quiet"}`+"\n"+`{"level":"warn","program":"confighub","message":"loud"}`+"\n")
	if err := os.WriteFile(filepath.Join(logs, "a.log"), []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 10*time.Second, "trouble said", func() bool {
		return strings.Contains(h.log.String(), "no certificate yet")
	})
	c.enrol(g.ca, webID)
	g.waitMessages(8, nil)

	byMessage := map[string]received{}
	for _, e := range g.events() {
		byMessage[e.text("message")] = e
	}
	for message, want := range map[string]received{
		"plain line":                         {"log.iostream": "stdout", "service.name": "web", "service.namespace": "shop", "host.name": "vm1", "service.instance.id": "0", "cloud4.peer": webID.String()},
		"json":                               {"level": "warn", "time": "2026-11-21T08:00:00Z", "user": 7.0, "app.service.name": "forged", "service.name": "web"},
		"password is ***DB_PASSWORD***!":     {"log.iostream": "stdout"},
		"red \uFFFD":                         {"log.iostream": "stdout"},
		"no end":                             {"log.iostream": "stdout"},
		"2026-11-21 08:00:01|ERROR it broke": {"level": "error", "time": "2026-11-21T08:00:01Z", "log.iostream": "stderr"},
		"loud":                               {"hub.pipe": "hubs", "program": "confighub", "level": "warn"},
		"from a file":                        {"log.file.path": filepath.Join(logs, "a.log"), "hub.files": "app"},
	} {
		got, ok := byMessage[message]
		if !ok {
			t.Errorf("%q did not arrive", message)
			continue
		}
		for k, v := range want {
			if diff := cmp.Diff(v, got[k]); diff != "" {
				t.Errorf("%q: %s: %s", message, k, diff)
			}
		}
		if got.text("log.record.uid") == "" {
			t.Errorf("%q has no uid", message)
		}
	}
	if _, ok := byMessage["quiet"]; ok {
		t.Error("an info line of the hubs became an event")
	}
	fmt.Fprint(c.pipes["stdout"].w, "the last words\n")
	if d := h.stop(t); d > 1900*time.Millisecond {
		t.Errorf("stopping took %s, hubinit gives 2 s", d)
	}
	got := g.messages(nil)
	if got[len(got)-1] != "the last words" {
		t.Errorf("the last event is %q", got[len(got)-1])
	}
	wantOut := "plain line\n{\"level\":\"warn\",\"time\":\"2026-11-21T08:00:00Z\",\"message\":\"json\",\"user\":7,\"service.name\":\"forged\"}\n" +
		"password is correct-horse-battery!\n\x1b[31mred\x1b[0m \xff\n\nno endthe last words\n"
	if diff := cmp.Diff(wantOut, content(t, c.out)); diff != "" {
		t.Error("container's stdout:", diff)
	}
	if out := content(t, c.err); !strings.Contains(out, "ERROR it broke\r\n") || !strings.Contains(out, "quiet") || !strings.Contains(out, "loud") {
		t.Errorf("container's stderr is %q", out)
	}
	node, s := c.logState()
	if s.Spool == nil || s.Spool.Backlog != 0 || s.Sender.LastAck.IsZero() || node.State.String() != "pass" {
		t.Errorf("log.json: %+v %+v", node, s)
	}
	if want := (source.Severities{Warn: 1, Error: 1}); s.Severities == nil || *s.Severities != want { // without the hubs' own
		t.Errorf("severities %+v, want %+v", s.Severities, want)
	}
}

// TestGenesisFlaps: an outage is said once, and everything catches up.
func TestGenesisFlaps(t *testing.T) {
	t.Parallel()
	g := newGenesis(t)
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q}}`, g.url()))
	c.enrol(g.ca, webID)
	h := c.start()
	for i := range 3 {
		fmt.Fprintf(c.pipes["stdout"].w, "up %d\n", i)
		g.waitMessages(2*i+1, nil)
		g.stop()
		fmt.Fprintf(c.pipes["stdout"].w, "down %d\n", i)
		// log.json is up to a second old: it may still tell of the outage before.
		waitFor(t, time.Minute, "outage said", func() bool { return strings.Count(h.log.String(), "logs wait in the spool") > i })
		waitFor(t, time.Minute, "backlog in log.json", func() bool {
			_, s := c.logState()
			return s.Spool != nil && s.Spool.Backlog >= 1 && !s.Sender.OK
		})
		g.start()
		g.waitMessages(2*i+2, nil)
		waitFor(t, time.Minute, "end said", func() bool { return strings.Count(h.log.String(), "takes logs again") > i })
	}
	h.stop(t)
	want := []string{"up 0", "down 0", "up 1", "down 1", "up 2", "down 2"}
	if diff := cmp.Diff(want, g.messages(nil)); diff != "" {
		t.Error(diff) // an answer that was cut off makes the receiver see a batch twice
	}
	if n := strings.Count(h.log.String(), "logs wait in the spool"); n != 3 {
		t.Errorf("3 outages were said %d times:\n%s", n, h.log)
	}
	if log := h.log.String(); !strings.Contains(log, "nothing listens there") && !strings.Contains(log, "closed the connection") && !strings.Contains(log, "was cut") {
		t.Errorf("the outage is not explained:\n%s", h.log)
	}
}

// TestRenewal: certificates of four seconds are replaced on both sides while
// logs flow, and nobody notices.
func TestRenewal(t *testing.T) {
	t.Parallel()
	g := newGenesis(t, identitytest.Lifetime(4*time.Second))
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q}}`, g.url()))
	c.enrol(g.ca, webID)
	h := c.start()
	start, renewed, n := time.Now(), time.Now(), 0
	for time.Since(start) < 9*time.Second {
		if time.Since(renewed) > 1500*time.Millisecond {
			renewed = time.Now()
			g.ca.Issue(t, webID, filepath.Join(c.state, "identity"))
			g.ca.Issue(t, logID, g.id)
		}
		n++
		fmt.Fprintf(c.pipes["stdout"].w, "line %d\n", n)
		g.waitMessages(n, nil)
	}
	h.stop(t)
	if strings.Contains(h.log.String(), "logs wait") {
		t.Errorf("somebody noticed:\n%s", h.log)
	}
}

// TestStopWithoutGenesis: what could not be sent waits for the next start.
func TestStopWithoutGenesis(t *testing.T) {
	g := newGenesis(t)
	g.stop()
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q}}`, g.url()))
	c.enrol(g.ca, webID)
	h := c.start()
	fmt.Fprint(c.pipes["stdout"].w, "kept\nand this")
	if d := h.stop(t); d > 1900*time.Millisecond {
		t.Errorf("stopping took %s", d)
	}
	if !strings.Contains(h.log.String(), `"events":2`) {
		t.Errorf("not said what waits:\n%s", h.log)
	}
	g.start()
	c.pipes["stdout"] = newPipe(t) // a new container on the same slot
	h = c.start()
	if diff := cmp.Diff([]string{"kept", "and this"}, g.waitMessages(2, nil)); diff != "" {
		t.Error(diff)
	}
	h.stop(t)
}

// TestDamagedSpool: rotten bytes cost the records they hit, and are told.
func TestDamagedSpool(t *testing.T) {
	t.Parallel()
	g := newGenesis(t)
	g.stop()
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q}}`, g.url()))
	c.enrol(g.ca, webID)
	h := c.start()
	gen := generator{name: "stdout"}
	fmt.Fprint(c.pipes["stdout"].w, gen.lines(300))
	waitFor(t, 10*time.Second, "backlog", func() bool {
		_, s := c.logState()
		return s.Spool != nil && s.Spool.Backlog == 300
	})
	h.kill()
	segments := must(filepath.Glob(filepath.Join(c.state, "log", "*.seg")))
	f := must(os.OpenFile(segments[0], os.O_RDWR, 0))
	size := must(f.Stat()).Size()
	must(f.WriteAt([]byte("rotten"), size/2))
	f.Close()
	g.start()
	h = c.start()
	got := g.waitMessages(300, nil) // 299 and the loss
	if last := got[len(got)-1]; !strings.HasSuffix(last, "of spool: spool damaged") {
		t.Errorf("the last event is %q", last)
	}
	if !strings.Contains(h.log.String(), "the spool is damaged") {
		t.Errorf("not said:\n%s", h.log)
	}
	h.stop(t)
}

// TestDrainedByHubinit: what hubinit read while loghub was dead is told.
func TestDrainedByHubinit(t *testing.T) {
	g := newGenesis(t)
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q}}`, g.url()))
	c.enrol(g.ca, webID)
	h := c.start()
	fmt.Fprint(c.pipes["stdout"].w, "one\n")
	g.waitMessages(1, nil)
	h.kill()
	fmt.Fprint(c.pipes["stdout"].w, "0123456789\n")
	if n := must(unix.Read(int(c.pipes["stdout"].r.Fd()), make([]byte, 100))); n != 11 {
		t.Fatal(n)
	}
	state := `{"schema":1,"boot":"b","pipes":{"stdout":{"drained":11,"lost":0}}}`
	if err := os.WriteFile(filepath.Join(c.run, "init.json"), []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	h = c.start()
	fmt.Fprint(c.pipes["stdout"].w, "two\n")
	want := []string{"one", "lost 11 bytes of stdout: read by hubinit", "two"}
	if diff := cmp.Diff(want, g.waitMessages(3, nil)); diff != "" {
		t.Error(diff)
	}
	h.stop(t)
}

// TestPoisonRecord: one record that the receiver never takes must not hold the others.
func TestPoisonRecord(t *testing.T) {
	t.Parallel()
	g := newGenesis(t)
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q}}`, g.url()))
	c.enrol(g.ca, webID)
	front := func(w http.ResponseWriter, r *http.Request) bool { return refusePoison(w, r) }
	g.front.Store(&front)
	var text strings.Builder
	for i := range 100 {
		if i == 37 {
			text.WriteString("POISON\n")
		}
		fmt.Fprintf(&text, "line %d\n", i)
	}
	fmt.Fprint(c.pipes["stdout"].w, text.String())
	h := c.start()
	lines := func(e received) bool { return strings.HasPrefix(e.text("message"), "line ") }
	if got := g.waitMessages(100, lines); len(got) != 100 || got[37] != "line 37" {
		t.Errorf("%d lines arrived", len(got))
	}
	waitFor(t, 5*time.Second, "dead letter", func() bool {
		b, err := os.ReadFile(filepath.Join(c.state, "log", "dead.jsonl"))
		return err == nil && strings.Contains(string(b), "poison")
	})
	h.stop(t)
}

// TestWrongReceiver: who refuses everything must not empty the spool.
func TestWrongReceiver(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusBadRequest, http.StatusNotFound, http.StatusForbidden} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			g := newGenesis(t)
			c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q}}`, g.url()))
			c.enrol(g.ca, webID)
			front := func(w http.ResponseWriter, _ *http.Request) bool {
				http.Error(w, "not here", status)
				return true
			}
			g.front.Store(&front)
			h := c.start()
			fmt.Fprint(c.pipes["stdout"].w, "a\nb\nc\n")
			waitFor(t, 10*time.Second, "warning in log.json", func() bool {
				node, s := c.logState()
				return node.State.String() == "warn" && s.Sender.Held && s.Spool.Backlog == 3 && strings.Contains(node.Text, "not here")
			})
			h.kill()
			g.front.Store(nil)
			h = c.start()
			if diff := cmp.Diff([]string{"a", "b", "c"}, g.waitMessages(3, nil)); diff != "" {
				t.Error(diff)
			}
			h.stop(t)
		})
	}
}

// TestStuckStdout: a log driver that takes nothing stalls neither the service nor
// the events.
func TestStuckStdout(t *testing.T) {
	g := newGenesis(t)
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q}}`, g.url()))
	c.enrol(g.ca, webID)
	stuck := newPipe(t)
	c.out = stuck.w
	h := c.start()
	gen := generator{name: "stdout"}
	for range 100 {
		if _, err := c.pipes["stdout"].w.WriteString(gen.lines(100)); err != nil {
			t.Fatal(err)
		}
	}
	g.waitCount(gen.n, c, h)
	waitFor(t, 5*time.Second, "dropped bytes in log.json", func() bool {
		_, s := c.logState()
		return s.Dropped > 100_000
	})
	if d := h.stop(t); d > 1900*time.Millisecond {
		t.Errorf("stopping took %s", d)
	}
}

// TestQuota: without a receiver pipes shed the least severe first, and tell.
func TestQuota(t *testing.T) {
	t.Parallel()
	g := newGenesis(t)
	g.stop()
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q, "quota": "4MiB", "spool": "memory", "stdout": "off"}}`, g.url()))
	c.enrol(g.ca, webID)
	h := c.start()
	pad := strings.Repeat("y", 1000)
	count := map[string]int{}
	for i := range 6000 {
		level := "DEBUG"
		if i%10 == 0 {
			level = "ERROR"
		}
		count[level]++
		fmt.Fprintf(c.pipes["stdout"].w, "%s %d %s\n", level, count[level], pad)
	}
	waitFor(t, 10*time.Second, "losses in log.json", func() bool {
		node, s := c.logState()
		return len(s.Sources) > 0 && s.Sources[0].Lost > 1000 && node.State.String() == "warn"
	})
	g.start()
	var errors, debug int
	var told float64
	waitFor(t, 30*time.Second, "every line, or its loss", func() bool {
		errors, debug, told = 0, 0, 0
		for _, e := range g.events() {
			switch {
			case e["event_name"] == "hub.loss":
				told += e["hub.loss.count"].(float64)
			case e["level"] == "error":
				errors++
			case e["level"] == "debug":
				debug++
			}
		}
		return errors+debug+int(told) == 6000
	})
	if errors != count["ERROR"] {
		t.Errorf("%d of %d errors survived, %d debug", errors, count["ERROR"], debug)
	}
	h.stop(t)
}

// refusePoison answers 400 to every request that holds the word POISON.
func refusePoison(w http.ResponseWriter, r *http.Request) bool {
	body, restore := readBody(r)
	if strings.Contains(body, "POISON") {
		http.Error(w, "poison", http.StatusBadRequest)
		return true
	}
	restore()
	return false
}
