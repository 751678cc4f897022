// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/initctl"
)

// look takes one look within the time.
func look(t *testing.T, check setting.Check, within time.Duration) Result {
	t.Helper()
	f, err := New(check, Place{RunDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return f(ctx)
}

func expect(t *testing.T, got Result, state health.State, text string) {
	t.Helper()
	if got.State != state || !strings.Contains(got.Text, text) {
		t.Errorf("got %v %q, want %v with %q", got.State, got.Text, state, text)
	}
}

func TestHTTP(t *testing.T) {
	handler := http.NewServeMux()
	handler.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello, world") })
	handler.HandleFunc("/broken", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", 500) })
	handler.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/broken", http.StatusFound) })
	handler.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(handler)
	defer server.Close()
	dead := httptest.NewServer(handler)
	dead.Close()

	for name, test := range map[string]struct {
		check setting.Check
		state health.State
		text  string
	}{
		"passes":         {setting.Check{URL: server.URL + "/ok"}, health.Pass, "200 OK in "},
		"body":           {setting.Check{URL: server.URL + "/ok", Body: "^hello"}, health.Pass, "200 OK"},
		"other body":     {setting.Check{URL: server.URL + "/ok", Body: "^world"}, health.Fail, "does not match"},
		"status":         {setting.Check{URL: server.URL + "/broken"}, health.Fail, "500 Internal Server Error"},
		"wanted status":  {setting.Check{URL: server.URL + "/broken", Status: "200,500-503"}, health.Pass, "500"},
		"not followed":   {setting.Check{URL: server.URL + "/moved"}, health.Pass, "302 Found"},
		"not listening":  {setting.Check{URL: dead.URL + "/ok"}, health.Fail, "connection refused"},
		"takes too long": {setting.Check{URL: server.URL + "/slow"}, health.Fail, "no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			test.check.Kind = setting.KindHTTP
			expect(t, look(t, test.check, 500*time.Millisecond), test.state, test.text)
		})
	}
}

func TestHTTPS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	server.Config.ErrorLog = nil
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	off := false
	check := setting.Check{Kind: setting.KindHTTP, URL: server.URL}
	expect(t, look(t, check, 5*time.Second), health.Fail, "certificate")
	check.CA = ca
	expect(t, look(t, check, 5*time.Second), health.Pass, "200")
	check.ServerName = "elsewhere.test"
	expect(t, look(t, check, 5*time.Second), health.Fail, "elsewhere.test")
	expect(t, look(t, setting.Check{Kind: setting.KindHTTP, URL: server.URL, Verify: &off}, 5*time.Second), health.Pass, "200")
	if _, err := New(setting.Check{Kind: setting.KindHTTP, URL: server.URL, CA: "/nowhere"}, Place{}); err == nil {
		t.Error("a missing CA file was taken")
	}
}

func TestDial(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for name, test := range map[string]struct {
		network, address string
		check            func(address string) setting.Check
		closed           string
	}{
		"tcp": {"tcp", "127.0.0.1:0", func(a string) setting.Check {
			return setting.Check{Kind: setting.KindTCP, Address: a}
		}, "connection refused"},
		"unix": {"unix", path, func(a string) setting.Check {
			return setting.Check{Kind: setting.KindUnix, Path: a}
		}, "no such socket"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen(test.network, test.address)
			if err != nil {
				t.Fatal(err)
			}
			check := test.check(l.Addr().String())
			expect(t, look(t, check, time.Second), health.Pass, "answers")
			l.Close()
			expect(t, look(t, check, time.Second), health.Fail, test.closed)
		})
	}
}

func TestExec(t *testing.T) {
	for name, test := range map[string]struct {
		script, convention string
		state              health.State
		text               string
		blind              bool
	}{
		"passes":         {"echo fine", "", health.Pass, "fine", false},
		"says nothing":   {"exit 0", "", health.Pass, "exit code 0", false},
		"fails":          {"echo no >&2; exit 3", "", health.Fail, "exit code 3: no", false},
		"shell could":    {"exit 127", "", health.Unknown, "127", true},
		"docker":         {"exit 1", "docker", health.Fail, "exit code 1", false},
		"docker, shell":  {"exit 127", "docker", health.Fail, "127", false},
		"nagios ok":      {"echo OK - 3 users", "nagios", health.Pass, "OK - 3 users", false},
		"nagios warns":   {"echo WARNING - 9 users; exit 1", "nagios", health.Warn, "WARNING - 9 users", false},
		"nagios fails":   {"exit 2", "nagios", health.Fail, "exit code 2", false},
		"nagios unknown": {"echo what; exit 3", "nagios", health.Unknown, "what", false},
		"killed":         {"kill -9 $$", "", health.Fail, "-1", false},
	} {
		t.Run(name, func(t *testing.T) {
			got := look(t, setting.Check{Kind: setting.KindExec, Command: []string{"/bin/sh", "-c", test.script}, Convention: test.convention}, 5*time.Second)
			expect(t, got, test.state, test.text)
			if got.Blind != test.blind {
				t.Errorf("blind %t", got.Blind)
			}
		})
	}
	absent := setting.Check{Kind: setting.KindExec, Command: []string{"/nowhere/check"}}
	if got := look(t, absent, time.Second); !got.Blind {
		t.Errorf("a program that is not there: %+v", got)
	}
	absent.Convention = setting.ConventionDocker
	expect(t, look(t, absent, time.Second), health.Fail, "no such file")
}

func TestExecOutputIsBounded(t *testing.T) {
	got := look(t, setting.Check{Kind: setting.KindExec, Command: []string{"/bin/sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x"}}, 20*time.Second)
	if len(got.Text) > health.MaxTextBytes || len(got.Text) < 4000 {
		t.Errorf("%d bytes of text", len(got.Text))
	}
}

// A command that takes too long goes with everything it started.
func TestExecKillsTheGroup(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	start := time.Now()
	got := look(t, setting.Check{Kind: setting.KindExec, Command: []string{"/bin/sh", "-c",
		"sleep 300 & echo $! > " + pidFile + "; echo started; wait"}}, 300*time.Millisecond)
	expect(t, got, health.Fail, "took too long and was killed: started")
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %s", d)
	}
	gone(t, pidFile)
}

// A command that leaves a child behind with its output open does not hold the check up.
func TestExecLeftBehind(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	got := look(t, setting.Check{Kind: setting.KindExec, Command: []string{"/bin/sh", "-c",
		"sleep 300 & echo $! > " + pidFile + "; echo fine"}}, 30*time.Second)
	expect(t, got, health.Pass, "fine")
	gone(t, pidFile)
}

func gone(t *testing.T, pidFile string) {
	t.Helper()
	data, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, 5*time.Second, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ") // dead; its new parent may be slow to reap it
	})
}

func waitFor(t *testing.T, within time.Duration, done func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s", within)
		}
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	size := func(b hubfile.Bytes) *hubfile.Bytes { return &b }
	expect(t, look(t, setting.Check{Kind: setting.KindFile, Path: path}, time.Second), health.Fail, "does not exist")
	if err := os.WriteFile(path, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		check setting.Check
		state health.State
		text  string
	}{
		"exists": {setting.Check{}, health.Pass, "100B"},
		"old":    {setting.Check{MaxAge: time.Minute}, health.Fail, "old"},
		"young":  {setting.Check{MaxAge: 2 * time.Hour}, health.Pass, ""},
		"small":  {setting.Check{MinSize: size(101)}, health.Fail, "at least"},
		"large":  {setting.Check{MaxSize: size(99)}, health.Fail, "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			test.check.Kind, test.check.Path = setting.KindFile, path
			expect(t, look(t, test.check, time.Second), test.state, test.text)
		})
	}
}

func TestProcess(t *testing.T) {
	dir := t.TempDir()
	process := Process(dir)
	if got := process(t.Context()); !got.Blind {
		t.Errorf("without init.json: %+v", got)
	}
	child := exec.Command("sleep", "300")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	state := &initctl.State{Service: initctl.ServiceState{State: initctl.ServiceRunning, PID: child.Process.Pid}}
	write := func() {
		t.Helper()
		if err := state.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	write()
	expect(t, process(t.Context()), health.Pass, "runs since")
	child.Process.Signal(syscall.SIGKILL)
	child.Wait()
	expect(t, process(t.Context()), health.Fail, "is gone")
	state.Service = initctl.ServiceState{State: initctl.ServiceExited, LastExit: &initctl.Exit{Code: 137, OOM: true}}
	write()
	expect(t, process(t.Context()), health.Fail, "exited with code 137: out of memory")
	state.Service = initctl.ServiceState{State: initctl.ServiceWaiting, Waiting: "confighub"}
	write()
	expect(t, process(t.Context()), health.Fail, "waits for confighub")
}
