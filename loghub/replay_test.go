// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/loghub/internal/sink"
)

// replay runs `loghub replay` as docker exec does.
func replay(t *testing.T, c *container, args ...string) (out, errs string, code int) {
	t.Helper()
	return command(t, "", []string{"HUB_RUN_DIR=" + c.run, "HUB_STATE_DIR=" + c.state, "HUB_CONFIG=" + c.settings, "TZ=UTC"}, append([]string{"replay"}, args...)...)
}

// deadLetters lists them by message.
func deadLetters(t *testing.T, c *container, args ...string) map[string]listed {
	t.Helper()
	out, errs, code := replay(t, c, append([]string{"--list", "--json"}, args...)...)
	if code != 0 || errs != "" {
		t.Fatalf("%d %s", code, errs)
	}
	all := map[string]listed{}
	for line := range strings.Lines(out) {
		var l listed
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all[l.Message] = l
	}
	return all
}

// refuse has a genesis answer so to requests that hold a text.
func (g *genesis) refuse(text, why string, code int) {
	front := func(w http.ResponseWriter, r *http.Request) bool {
		body, restore := readBody(r)
		defer restore()
		if strings.Contains(body, text) {
			http.Error(w, why, code)
			return true
		}
		return false
	}
	g.front.Store(&front)
}

// What was refused is sent again under the same uid; what is acknowledged goes, what is refused again stays with the new reason.
func TestReplay(t *testing.T) {
	g := newGenesis(t)
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q}}`, g.url()))
	if out, errs, code := replay(t, c); code != 0 || out != "there are no dead letters\n" {
		t.Errorf("before: %d %s %s", code, out, errs)
	}
	c.enrol(g.ca, webID)
	g.refuse("poison", "no", 400)
	h := c.start()
	fmt.Fprint(c.pipes["stdout"].w, "poison 1\nfine\nERROR poison 2\npoison \x1b[1m3\npoison 4\n")
	waitFor(t, 60*time.Second, "dead letters", func() bool { n, err := sink.CountLetters(filepath.Join(c.state, "log")); return n == 4 && err == nil })
	waitFor(t, 60*time.Second, "health that tells of them", func() bool {
		node, _ := c.logState()
		return strings.Contains(node.Text, ", 4 dead letters (loghub replay --list says why)")
	})
	was := deadLetters(t, c)
	if l := was["ERROR poison 2"]; len(was) != 4 || l.UID == "" || l.Level != "error" || time.Since(l.Refused) > time.Minute || !strings.Contains(l.Why, "answers 400 Bad Request: no") {
		t.Fatalf("%+v", was)
	}
	out, _, code := replay(t, c, "--list")
	if strings.Count(out, "\n") != 5 || !strings.HasPrefix(out, "REFUSED ") || !strings.Contains(out, was["poison 1"].UID) || strings.Contains(out, "\x1b") || code != 0 {
		t.Errorf("%d\n%s", code, out)
	}

	g.refuse("poison", "still not", 422)
	out, errs, code := replay(t, c)
	if code != 1 || !strings.Contains(out, "0 dead letters sent again and acknowledged by "+g.url()) || !strings.Contains(out, "4 refused again and kept") || !strings.Contains(errs, "422 Unprocessable Entity: still not") {
		t.Errorf("refused again: %d %s %s", code, out, errs)
	}
	now := deadLetters(t, c)
	for message, l := range now {
		if l.UID != was[message].UID || !strings.Contains(l.Why, "422 Unprocessable Entity: still not") || !l.Refused.After(was[message].Refused) {
			t.Errorf("%+v was %+v", l, was[message])
		}
	}
	g.refuse("", "who are you", 403) // the operator's mistake: nothing is decided
	if out, errs, code = replay(t, c); code != 1 || out != "" || !strings.Contains(errs, "403 Forbidden: who are you; what was not acknowledged is kept") {
		t.Errorf("403: %d %q %s", code, out, errs)
	}
	if again := deadLetters(t, c); len(again) != 4 || again["poison 1"].Why != now["poison 1"].Why {
		t.Errorf("after 403: %+v", again)
	}
	g.refuse("ERROR poison 2", "not this one", 400)

	out, errs, code = replay(t, c, was["poison 4"].UID)
	if code != 0 || !strings.HasPrefix(out, "1 dead letter sent again and acknowledged") {
		t.Errorf("by uid: %d %s %s", code, out, errs)
	}
	if _, errs, code = replay(t, c, was["poison 4"].UID); code != 1 || !strings.Contains(errs, "no dead letter has the uid "+was["poison 4"].UID) {
		t.Errorf("by a uid that has gone: %d %s", code, errs)
	}
	r := newReceiving(t)
	r.stop()
	r.ca = g.ca
	r.start()
	out, errs, code = replay(t, c, "--where", "severity>=error", "--to", "https://"+r.address)
	if code != 0 || !strings.Contains(out, "1 dead letter sent again and acknowledged by https://"+r.address+"/v1/logs") {
		t.Errorf("to another: %d %s %s", code, out, errs)
	}
	there := r.events(func(received) bool { return true })
	if len(there) != 1 || there[0].text("log.record.uid") != was["ERROR poison 2"].UID || there[0].text("message") != "ERROR poison 2" || there[0].text("service.name") != "web" {
		t.Errorf("there is %v", there)
	}
	if out, errs, code = replay(t, c); code != 0 || !strings.HasPrefix(out, "2 dead letters sent again") {
		t.Errorf("the others: %d %s %s", code, out, errs)
	}
	if _, err := os.Stat(filepath.Join(c.state, "log", "dead.jsonl")); err == nil {
		t.Error("an empty file is left")
	}
	for message, l := range was {
		want := 1
		if message == "ERROR poison 2" {
			want = 0
		}
		same := slices.DeleteFunc(g.events(), func(e received) bool { return e.text("log.record.uid") != l.UID })
		if len(same) != want || want == 1 && (same[0].text("message") != message || same[0].text("log.iostream") != "stdout") {
			t.Errorf("%s: %v", message, same)
		}
	}
	g.refuse("poison", "no", 400) // loghub run finds its file again
	fmt.Fprint(c.pipes["stdout"].w, "poison 5\n")
	waitFor(t, 60*time.Second, "a new dead letter", func() bool { return len(deadLetters(t, c)) == 1 })
	h.stop(t)
}

// loghub run goes on adding letters, replays are killed at any moment: in the end each was acknowledged, and none is lost.
func TestReplayKilled(t *testing.T) {
	const n = 600
	g := newGenesis(t)
	g.refuse("poison", "no", 400)
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q}}`, g.url()))
	c.enrol(g.ca, webID)
	r := newReceiving(t)
	r.stop()
	r.ca = g.ca
	r.start()
	h := c.start()
	go func() {
		for i := range n {
			fmt.Fprintf(c.pipes["stdout"].w, "poison %d\n", i)
			time.Sleep(2 * time.Millisecond)
		}
	}()
	dead := func() int64 { _, s := c.logState(); return s.Sender.Dead }
	waitFor(t, 60*time.Second, "first letters", func() bool { _, s := c.logState(); return s.Sender != nil && s.Sender.Dead > 20 })
	rounds := 0
	for end := time.Now().Add(4 * time.Minute); dead() < n && time.Now().Before(end); rounds++ {
		cmd := exec.Command(os.Args[0])
		cmd.Args = []string{"loghub", "replay", "--to", "https://" + r.address}
		cmd.Env = []string{"LOGHUB_TEST_MAIN=1", "HUB_RUN_DIR=" + c.run, "HUB_STATE_DIR=" + c.state, "HUB_CONFIG=" + c.settings}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(20+rand.IntN(400))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // most are killed
		timer.Stop()
	}
	if dead() != n || rounds < 5 {
		t.Fatalf("%d dead letters after %d replays\n%s", dead(), rounds, h.log)
	}
	if _, s := c.logState(); s.Sender.DeadLost != 0 {
		t.Errorf("%d were not kept\n%s", s.Sender.DeadLost, h.log)
	}
	h.stop(t)
	if out, errs, code := replay(t, c, "--to", "https://"+r.address); code != 0 {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if left := deadLetters(t, c); len(left) != 0 {
		t.Errorf("%d are left", len(left))
	}
	seen := map[string]bool{}
	for _, e := range r.events(func(received) bool { return true }) {
		seen[e.text("message")] = true
	}
	for i := range n {
		if !seen[fmt.Sprintf("poison %d", i)] {
			t.Errorf("poison %d is lost", i)
		}
	}
	t.Logf("%d replays", rounds)
}

func TestReplayUsage(t *testing.T) {
	c := newContainer(t, `{}`)
	for args, want := range map[string]string{
		"":                             "2 there is no receiver: set log.otlp, or name one with --to",
		"--json":                       "2 --json goes with --list",
		"--header A=b":                 "2 --header goes with --to",
		"--engine loki":                "2 --engine goes with --to",
		"--to genesis":                 "2 --to: must be https://<host>:<port>",
		"--to http://genesis":          "2 --to: is plain http to another machine",
		"--to https://x --engine y":    "2 --engine: must be one of collector, loghub, loki, victorialogs, got \"y\"",
		"--to https://x --header y":    "2 --header: must be NAME=VALUE",
		"--to https://x --otlp-path y": "2 --otlp-path: must begin with /",
		"--where severity>=bad":        "2 --where: column 11",
		"--list --dir /nonexistent":    "1 open /nonexistent: no such file",
		"--list a.1":                   "1 no dead letter has the uid a.1",
	} {
		_, errs, code := replay(t, c, strings.Fields(args)...)
		if got := fmt.Sprint(code, " ", strings.TrimPrefix(errs, "loghub: ")); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", args, got, want)
		}
	}
}

// docker exec knows neither slot nor state directory: hubinit has written them down.
func TestAdoptSlot(t *testing.T) {
	run := t.TempDir()
	if err := os.WriteFile(filepath.Join(run, initctl.StateFile), []byte(`{"schema":1,"slot":"3","state_dir":"/var/lib/hub/3"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(initctl.EnvStateDir, "")
	t.Setenv(initctl.EnvSlot, "")
	if adoptSlot(run); initctl.StateDir() != "/var/lib/hub/3" || initctl.Slot() != "3" {
		t.Errorf("%s, slot %s", initctl.StateDir(), initctl.Slot())
	}
	t.Setenv(initctl.EnvStateDir, "/srv")
	if adoptSlot(run); initctl.StateDir() != "/srv" {
		t.Errorf("over what is set: %s", initctl.StateDir())
	}
}
