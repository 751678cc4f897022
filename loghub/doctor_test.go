// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/terminal"
	"cloud4.internal/hub/loghub/internal/control"
	"cloud4.internal/hub/loghub/internal/source"
)

// receiving is a `loghub receive` process of a fleet.
type receiving struct {
	t       *testing.T
	ca      *identitytest.CA
	address string
	dir     string
	cmd     *exec.Cmd
	log     *lockedBuffer
}

func newReceiving(t *testing.T) *receiving {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiving{t: t, ca: identitytest.New(t), address: ln.Addr().String(), dir: filepath.Join(t.TempDir(), "events")}
	ln.Close()
	r.start()
	return r
}

func (r *receiving) start() {
	r.t.Helper()
	r.cmd, r.log = exec.Command(os.Args[0]), &lockedBuffer{}
	r.cmd.Args = []string{"loghub", "receive", "--dir", r.dir, "--listen", r.address, "--identity", r.ca.Dir(r.t, logID)}
	r.cmd.Env, r.cmd.Stderr = []string{"LOGHUB_TEST_MAIN=1", "HUB_CONFIG=/nonexistent"}, r.log
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	cmd := r.cmd
	r.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	waitFor(r.t, 60*time.Second, "receiver", func() bool { return strings.Contains(r.log.String(), "receiving logs") })
}

func (r *receiving) stop() {
	r.t.Helper()
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

// events are those of web.shop.vm1 for which want holds.
func (r *receiving) events(want func(received) bool) (out []received) {
	g := &genesis{t: r.t, dir: r.dir}
	return slices.DeleteFunc(g.events(), func(e received) bool { return !want(e) })
}

// doctor runs `loghub doctor --json` in a container. Where its loghub has just started, it waits until that answers.
func doctor(t *testing.T, c *container, args ...string) (d diagnosis, code int, said string) {
	t.Helper()
	out, errs := "", ""
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, errs, code = command(t, "", []string{"HUB_RUN_DIR=" + c.run}, append([]string{"doctor", "--json"}, args...)...)
		if time.Now().After(end) || !strings.Contains(errs, "nobody answers") && !strings.Contains(errs, "there is no") {
			break
		}
	}
	if out != "" {
		if err := json.Unmarshal([]byte(out), &d); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return d, code, out + errs
}

func (d *diagnosis) way(name string) *way {
	for _, w := range d.Ways {
		if w.Name == name {
			return w
		}
	}
	return &way{}
}

func (d *diagnosis) finding(what string) finding {
	for _, f := range d.Findings {
		if f.What == what {
			return f
		}
	}
	return finding{}
}

// A canary comes by each way to the receiver, and nothing of the service is harmed: not the line that is under way in
// pieces, nor the copy on the container's output, nor the numbers of events.
func TestDoctor(t *testing.T) {
	for name, files := range map[string]bool{"log.files": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			r := newReceiving(t)
			dir := t.TempDir()
			settings := `{"log": {"otlp": "https://` + r.address + `"}}`
			if files {
				settings = fmt.Sprintf(`{"log": {"otlp": "https://%s", "files": {"a": {"path": "%s/*.log"}, "none": {"path": "%[2]s/nothing/*"}}}}`, r.address, dir)
			}
			c := newContainer(t, settings)
			socket := filepath.Join(dir, "syslog")
			c.env = []string{"HUB_LOG_SYSLOG=" + socket, "DB_PASSWORD=short", "HUB_LOG_LIMIT=1/1m"} // which is not for canaries
			c.enrol(r.ca, webID)
			h := c.start()
			writeFile(t, filepath.Join(dir, "a.log"), "a line of a file\n")
			fmt.Fprint(c.pipes["stdout"].w, "first\nbegun ")
			waitFor(t, 60*time.Second, "first event", func() bool { return len(r.events(func(e received) bool { return e.text("message") == "first" })) == 1 })
			for range 2 { // one after another
				d, code, said := doctor(t, c)
				if code != 0 || !d.OK {
					t.Fatalf("exit %d\n%s\n%s", code, said, h.log)
				}
				for way, uids := range map[string]int{"stdout": 1, "stderr": 1, "file": 1, "rotation": 2, socket: 1} {
					w := d.way(way)
					if w.State != health.Pass || w.Read == nil || w.Acked == nil || *w.Acked < *w.Read || len(w.UIDs) != uids {
						t.Errorf("%s: %s", way, said)
					}
					for _, uid := range w.UIDs {
						same := r.events(func(e received) bool { return e.text("log.record.uid") == uid })
						if len(same) != 1 || same[0].text("hub.canary") == "" || same[0].text("level") != "debug" || !strings.Contains(same[0].text("message"), "by loghub doctor") {
							t.Errorf("%s is %v", uid, same)
						}
					}
				}
				if f := d.finding("secrets"); f.State != health.Warn || !strings.Contains(f.Text, "DB_PASSWORD (shorter than 8 bytes)") {
					t.Errorf("secrets: %+v", f)
				}
				if f := d.finding("files"); (f.State == health.Warn) != files || files && !strings.Contains(f.Text, "/nothing/*: no file matches so far") {
					t.Errorf("files: %+v", f)
				}
				for _, what := range []string{"identity", "receiver", "clock", "spool", "refused", "losses"} {
					if f := d.finding(what); f.State != health.Pass {
						t.Errorf("%+v", f)
					}
				}
				if _, err := os.Stat(filepath.Join(c.run, probeDir)); err == nil {
					t.Error("the file of the doctor is left")
				}
			}
			fmt.Fprint(c.pipes["stdout"].w, "and ended\n")
			h.stop(t)
			whole := r.events(func(e received) bool { return e.text("log.iostream") == "stdout" && e["hub.canary"] == nil })
			// A line without an end is taken as it stands after a while, doctor or not.
			if text := fmt.Sprint(whole); strings.Contains(text, "canary") || !strings.Contains(text, "begun") || !strings.Contains(text, "and ended") {
				t.Error(text)
			}
			if got := content(t, c.out); got != "first\nbegun and ended\n" {
				t.Errorf("the container's output is %q", got)
			}
			if _, s := c.logState(); len(s.Sources) == 0 || slices.ContainsFunc(s.Sources, func(src source.Stat) bool { return strings.Contains(src.Name, "probe") }) {
				t.Errorf("sources %+v", s.Sources)
			}
			if out, errs, code := command(t, "", nil, "gaps", r.dir); code != 0 {
				t.Errorf("%d %s\n%s", code, errs, out)
			}
		})
	}
}

// What keeps a canary from its end is said: by which way, why, and what to do; and the exit code is 1.
func TestDoctorTrouble(t *testing.T) {
	g := newGenesis(t)
	refuse := func(code int, only string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			body, restore := readBody(r)
			defer restore()
			if !strings.Contains(body, only) {
				return false
			}
			http.Error(w, "no", code)
			return true
		}
	}
	page := func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "text/html")
		return true
	}
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q}}`, g.url()))
	h := c.start()
	has := func(name, said string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(said, want) {
				t.Errorf("%s: no %q in\n%s", name, want, said)
			}
		}
	}
	d, code, said := doctor(t, c, "--timeout", "1s")
	has("not enrolled", said, "there is none: this container is not enrolled", "HUB_TOKEN")
	if w := d.way("stdout"); code != 1 || w.State != health.Fail || w.Read == nil || w.Acked != nil || w.Text != "it waits in the spool: see receiver" {
		t.Errorf("%d %s", code, said)
	}
	c.enrol(g.ca, webID)
	waitFor(t, 60*time.Second, "the canaries of before", func() bool { return g.count() >= 5 })
	for name, tt := range map[string]struct {
		front func(w http.ResponseWriter, r *http.Request) bool
		wants []string
	}{
		"403":         {refuse(403, ""), []string{"refuses logs: ", "403 Forbidden: no", "must let this container in, which comes as spiffe://cloud4.internal/host/vm1/stack/shop/service/web"}},
		"404":         {refuse(404, ""), []string{"404 Not Found", "set log.engine to what stands there, or log.otlp_path"}},
		"503":         {refuse(503, ""), []string{"takes none: ", "503 Service Unavailable", "trouble of its own"}},
		"400 for one": {refuse(400, "-stdout by"), []string{"400 Bad Request: no", "loghub replay sends it again", " that the receiver refused", "loghub replay --list shows why"}},
		"400 for all": {refuse(400, ""), []string{"400 Bad Request: no", "is log.engine what stands there?"}},
		"a page":      {page, []string{"with a page for people: is the path right?"}},
	} {
		g.front.Store(&tt.front)
		d, code, said := doctor(t, c, "--timeout", "3s")
		has(name, said, tt.wants...)
		if d.OK || code != 1 || d.way("stdout").State != health.Fail || (d.way("stderr").State == health.Pass) != (name == "400 for one") {
			t.Errorf("%s: exit %d\n%s", name, code, said)
		}
		g.front.Store(nil)
		// A receiver that is held for a minute is asked at once.
		d, code, said = doctor(t, c)
		if !d.OK || code != 0 || *d.way("stdout").Acked > 10 {
			t.Errorf("after %s: exit %d\n%s\n%s", name, code, said, h.log)
		}
	}
	g.stop()
	_, _, said = doctor(t, c, "--timeout", "1s")
	has("no receiver there", said, "connection refused", "see that log.otlp names it, that it runs")
	h.stop(t)
	if _, said, code := command(t, "", []string{"HUB_RUN_DIR=" + c.run}, "doctor"); code != 1 || !strings.Contains(said, "loghub does not run here: there is no "+c.run) {
		t.Errorf("stopped: %d %s", code, said)
	}
}

// In a spool that is full canaries are let go first, and that is what the doctor says.
func TestDoctorFull(t *testing.T) {
	c := newContainer(t, `{"log": {"otlp": "http://127.0.0.1:9", "quota": "4MiB", "spool": "disk", "stdout": "off"}}`)
	h := c.start()
	line := strings.Repeat("x", 4000) + "\n"
	for range 1000 {
		fmt.Fprint(c.pipes["stdout"].w, line)
	}
	waitFor(t, 60*time.Second, "spool that is full", func() bool {
		_, s := c.logState()
		return s.Spool != nil && s.Spool.Bytes > s.Spool.Quota*85/100
	})
	d, code, said := doctor(t, c, "--timeout", "2s")
	if w := d.way("stdout"); code != 1 || w.Read != nil || !strings.Contains(w.Text, "is shed from 80 % on") || !strings.Contains(w.Action, "log.quota") {
		t.Errorf("%d %s", code, said)
	}
	if w := d.way("file"); !strings.Contains(w.Text, "files wait from 70 % on") {
		t.Error(said)
	}
	if w := d.way("rotation"); w.State != health.Fail || !strings.Contains(w.Text, "not tried") {
		t.Error(said)
	}
	if d.finding("spool").State != health.Fail || d.finding("receiver").State != health.Fail {
		t.Error(said)
	}
	h.kill()
}

// Without a receiver there is nothing to send; with a socket that is somebody else's, one way less.
func TestDoctorWays(t *testing.T) {
	c := newContainer(t, `{"log": {"stdout": "json"}}`)
	h := c.start()
	d, code, said := doctor(t, c)
	if code != 1 || d.way("stdout").State != health.Unknown || d.finding("receiver").State != health.Fail || !strings.Contains(said, "set log.otlp") {
		t.Errorf("%d %s", code, said)
	}
	h.stop(t)
	if out := content(t, c.out); strings.Contains(out, "canary") {
		t.Errorf("copied: %s", out)
	}

	r := newReceiving(t)
	c = newContainer(t, `{"log": {"otlp": "https://`+r.address+`", "stdout": "json"}}`)
	path := filepath.Join(t.TempDir(), "log")
	other, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	c.env = []string{"HUB_LOG_SYSLOG=" + path}
	c.enrol(r.ca, webID)
	h = c.start()
	d, code, said = doctor(t, c)
	if w := d.way("/dev/log"); code != 1 || w.State != health.Fail || !strings.Contains(w.Text, path) || !strings.Contains(w.Action, "see that nothing else takes that path") {
		t.Errorf("%d %s", code, said)
	}
	h.stop(t)
	if out := content(t, c.out); strings.Contains(out, "canary") {
		t.Errorf("the copy has canaries: %s", out)
	}
	c.env = []string{"HUB_LOG_SYSLOG=off"}
	h = c.start()
	if d, code, said = doctor(t, c); code != 0 || d.way("/dev/log").State != health.Unknown || d.way("/dev/log").Text != "log.syslog is off" {
		t.Errorf("%d %s", code, said)
	}
	h.stop(t)
}

// Whoever is killed in the midst of it, the other goes on, and nothing is left.
func TestDoctorKilled(t *testing.T) {
	c := newContainer(t, `{"log": {"otlp": "http://127.0.0.1:9"}}`)
	h := c.start()
	begin := func() (*exec.Cmd, *lockedBuffer) {
		cmd := exec.Command(os.Args[0])
		cmd.Args = []string{"loghub", "doctor", "--timeout", "4m"}
		cmd.Env = []string{"LOGHUB_TEST_MAIN=1", "HUB_RUN_DIR=" + c.run}
		said := &lockedBuffer{}
		cmd.Stdout, cmd.Stderr = said, said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may have ended
		waitFor(t, 60*time.Second, "rotation", func() bool { _, err := os.Stat(filepath.Join(c.run, probeDir, "probe.log.1")); return err == nil })
		return cmd, said
	}
	waitFor(t, 60*time.Second, "socket", func() bool { _, err := os.Stat(filepath.Join(c.run, control.Socket)); return err == nil })
	cmd, _ := begin()
	if _, code, said := doctor(t, c); code != 1 || !strings.Contains(said, "another loghub doctor is at work here") {
		t.Errorf("beside another: %d %s", code, said)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	waitFor(t, 60*time.Second, "cleaning", func() bool { _, err := os.Stat(filepath.Join(c.run, probeDir)); return err != nil })
	cmd, said := begin()
	h.kill()
	if err := cmd.Wait(); err == nil || !strings.Contains(said.String(), "loghub run has gone in the midst of it") {
		t.Errorf("%v %s", err, said)
	}
	h = c.start() // on what the killed one left
	if d, code, said := doctor(t, c, "--timeout", "2s"); code != 1 || d.way("file").Read == nil || d.way("rotation").Read == nil {
		t.Errorf("%d %s", code, said)
	}
	if err := h.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(os.Args[0])
	cmd.Args, cmd.Env = []string{"loghub", "doctor", "--timeout", "1s"}, []string{"LOGHUB_TEST_MAIN=1", "HUB_RUN_DIR=" + c.run}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "does not answer") {
		t.Errorf("%v %s", err, out)
	}
	if err := h.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	h.stop(t)
	if strings.Contains(h.log.String(), "gone") {
		t.Error(h.log)
	}
}

// On a terminal states have colours, elsewhere there are none.
func TestDoctorText(t *testing.T) {
	half, short, long := 0.5, 0.0266, 12.0
	d := &diagnosis{Receiver: "https://genesis.internal:4318/v1/logs", Ways: []*way{
		{Name: "stdout", State: health.Pass, Read: &half, Acked: &long, UIDs: []string{"a.1"}},
		{Name: "/dev/log", State: health.Unknown, Text: "log.syslog is off"},
		{Name: "file", State: health.Fail, Read: &short, Text: "not \x1b[2Jread", Action: "do"},
	}, Findings: []finding{{"clock", health.Warn, "late", "NTP"}}}
	want := `WAY       STATE   READ     ACKNOWLEDGED
stdout    ✓ pass  500 ms   12 s          a.1
/dev/log  - none  -        -             log.syslog is off
file      ✕ fail  26.6 ms  -             not read
                                         → do

BESIDES   STATE
clock     ! warn  late
                  → NTP

1 of 2 ways came through
`
	if diff := cmp.Diff(want, d.text(terminal.Terminal{})); diff != "" {
		t.Error(diff)
	}
	if got := d.text(terminal.Terminal{Colour: true}); !strings.Contains(got, "\x1b[31m✕ fail\x1b[0m") || !strings.Contains(got, "\x1b[32m✓ pass\x1b[0m") {
		t.Errorf("%q", got)
	}
	for args, want := range map[string]string{"--timeout 1ms": "2 loghub: --timeout: must be between 1s and 5m0s, got 1ms", "web": "2 loghub: doctor takes no arguments"} {
		_, errs, code := command(t, "", nil, append([]string{"doctor"}, strings.Fields(args)...)...)
		if got := fmt.Sprint(code, " ", errs); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", args, got)
		}
	}
}

// Where /dev/log is not to be had nobody fails for it, and it is said what to do; a path that the settings name has to work.
func TestDoctorWithoutSyslog(t *testing.T) {
	texts := map[string]string{wayFile: "x"}
	for name, tt := range map[string]struct {
		hello  hello
		state  health.State
		action string
	}{
		"off":       {hello{Texts: texts, NoSyslog: "log.syslog is off"}, health.Unknown, ""},
		"forbidden": {hello{Texts: texts, NoSyslog: "permission denied", Deaf: true}, health.Unknown, "let the container run as root"},
		"asked for": {hello{Texts: texts, NoSyslog: "permission denied", Deaf: true, Asked: true}, health.Fail, "see that nothing else takes that path"},
	} {
		v := newVisit(nil, tt.hello)
		w := v.ways[len(v.ways)-1]
		w.judge(facts{}, time.Second)
		if w.Name != "/dev/log" || w.State != tt.state || w.Text != tt.hello.NoSyslog || (w.Action == "") != (tt.action == "") || !strings.Contains(w.Action, tt.action) {
			t.Errorf("%s: %+v", name, w)
		}
	}
}
