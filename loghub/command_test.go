// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/spiffe"
	"github.com/google/go-cmp/cmp"
)

// command runs loghub with arguments and without hubinit.
func command(t *testing.T, stdin string, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Args = append([]string{"loghub"}, args...)
	dir := t.TempDir()
	cmd.Env = append([]string{"LOGHUB_TEST_MAIN=1", "HUB_RUN_DIR=" + dir, "HUB_STATE_DIR=" + dir, "HUB_CONFIG=" + filepath.Join(dir, "hub.json")}, env...)
	var out, err bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &err
	timer := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Run()
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

func TestStdin(t *testing.T) {
	text := "one\nERROR two\nthree"
	out, log, code := command(t, text, nil, "run")
	if out != text || code != 0 {
		t.Errorf("raw: %q, exit %d\n%s", out, code, log)
	}
	out, log, code = command(t, text, []string{"HUB_LOG_STDOUT=json"}, "run")
	var got []string
	for line := range strings.Lines(out) {
		var e struct{ Level, Message string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, e.Level+" "+e.Message)
	}
	if diff := cmp.Diff([]string{" one", "error ERROR two", " three"}, got); diff != "" || code != 0 {
		t.Errorf("json: exit %d %s\n%s", code, diff, log)
	}
}

func TestBadSettings(t *testing.T) {
	tests := []struct{ name, settings, words string }{
		{"unknown key", `{"log": {"otpl": "x"}}`, "log.otpl"},
		{"no URL", `{"log": {"otlp": "genesis:4318"}}`, "log.otlp: must be https://"},
		{"plain http", `{"log": {"otlp": "http://genesis.internal:4318"}}`, "set otlp_unsafe"},
		{"quota", `{"log": {"quota": "1KiB"}}`, "log.quota"},
		{"relative path", `{"log": {"files": {"a": {"path": "a.log"}}}}`, "log.files.a.path: must be an absolute path"},
		{"pattern", `{"log": {"files": {"a": {"path": "/x/[a"}}}}`, `log.files.a.path: `},
		{"exclude", `{"log": {"files": {"a": {"path": "/x", "exclude": ["[b"]}}}}`, "log.files.a.exclude"},
		{"header", `{"log": {"headers": {"a b": "c"}}}`, "is no header"},
		{"otlp path", `{"log": {"otlp_path": "v1?x"}}`, "log.otlp_path"},
		{"stdout", `{"log": {"stdout": "yes"}}`, "log.stdout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "hub.json")
			if err := os.WriteFile(path, []byte(tt.settings), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"--config", path, "--check"}, {"--config", path, "run"}} {
				_, stderr, code := command(t, "", nil, args...)
				if code != 2 || !strings.Contains(stderr, tt.words) || !strings.Contains(stderr, "hub.json:1") {
					t.Errorf("%v: exit %d: %s", args, code, stderr)
				}
			}
		})
	}
}

// TestCopyOnly: without a receiver everything is copied and nothing kept.
func TestCopyOnly(t *testing.T) {
	c := newContainer(t, `{}`)
	h := c.start()
	fmt.Fprint(c.pipes["stdout"].w, "out \xff\n")
	fmt.Fprint(c.pipes["stderr"].w, "err")
	fmt.Fprint(c.pipes["hubs"].w, "hubs\n")
	h.stop(t)
	if out := content(t, c.out); out != "out \xff\n" {
		t.Errorf("stdout is %q", out)
	}
	if out := content(t, c.err); !strings.Contains(out, "err") || !strings.Contains(out, "hubs\n") || len(out) != 8 {
		t.Errorf("stderr is %q", out)
	}
	if _, err := os.Stat(filepath.Join(c.state, "log")); err == nil {
		t.Error("a spool was made")
	}
	if _, s := c.logState(); s.Severities != nil {
		t.Errorf("severities of what is not parsed: %+v", *s.Severities)
	}
}

func TestWhereTheSpoolIs(t *testing.T) {
	tests := []struct {
		slot, setting string
		identity      bool
		want          string
	}{
		{"0", "auto", false, "disk"}, {"1", "auto", false, "memory"}, {"1", "auto", true, "disk"}, {"-", "auto", true, "memory"},
		{"-", "disk", false, "disk"}, {"0", "memory", true, "memory"},
	}
	for _, tt := range tests {
		t.Run(tt.slot+tt.setting, func(t *testing.T) {
			c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": "http://127.0.0.1:9", "spool": %q}}`, tt.setting))
			c.env = []string{"HUB_SLOT=" + tt.slot}
			if tt.identity {
				if err := os.WriteFile(filepath.Join(c.state, "identity", "id.pem"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			h := c.start()
			var s section
			waitFor(t, 10*time.Second, "log.json", func() bool { _, s = c.logState(); return s.Where != "" })
			if (s.Where == "memory") != (tt.want == "memory") {
				t.Errorf("the spool is in %s, want %s", s.Where, tt.want)
			}
			h.kill()
		})
	}
}

// TestNoRoomForTheSpool: a state directory that cannot be written is said, and
// events go on from memory.
func TestNoRoomForTheSpool(t *testing.T) {
	g := newGenesis(t)
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q, "spool": "disk"}}`, g.url()))
	c.enrol(g.ca, webID)
	if err := os.WriteFile(filepath.Join(c.state, "log"), nil, 0o600); err != nil { // a file in its way
		t.Fatal(err)
	}
	h := c.start()
	fmt.Fprint(c.pipes["stdout"].w, "hello\n")
	g.waitMessages(1, nil)
	h.stop(t)
	if !strings.Contains(h.log.String(), "asked for was disk, but: events wait in memory, the disk does not take them") {
		t.Error(h.log)
	}
}

// TestNoRoomAtTheEnd: what was not sent and has no disk to wait on is not said to wait for the next start.
func TestNoRoomAtTheEnd(t *testing.T) {
	c := newContainer(t, `{"log": {"otlp": "http://127.0.0.1:9", "spool": "disk", "stdout": "json"}}`)
	if err := os.WriteFile(filepath.Join(c.state, "log"), nil, 0o600); err != nil { // a file in its way
		t.Fatal(err)
	}
	h := c.start()
	fmt.Fprint(c.pipes["stdout"].w, "hello\n")
	waitFor(t, 60*time.Second, "event", func() bool {
		_, s := c.logState()
		return s.Spool != nil && s.Spool.Backlog == 1
	})
	h.stop(t)
	said := h.log.String()
	if !strings.Contains(said, "are lost with the container: the disk does not take them") || !strings.Contains(said, `"trouble":"events wait in memory`) ||
		strings.Contains(said, "for the next start") {
		t.Error(said)
	}
}

// TestReceiveCommand: the receiver is started before its identity exists.
func TestReceiveCommand(t *testing.T) {
	ca := identitytest.New(t)
	state, events := t.TempDir(), filepath.Join(t.TempDir(), "events")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Args = []string{"loghub", "receive", "--dir", events, "--listen", address}
	cmd.Env = []string{"LOGHUB_TEST_MAIN=1", "HUB_STATE_DIR=" + state, "HUB_CONFIG=/nonexistent"}
	log := &lockedBuffer{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	defer cmd.Process.Kill()
	waitFor(t, 10*time.Second, "word of the missing identity", func() bool { return strings.Contains(log.String(), "waiting for the identity") })
	ca.Issue(t, must(spiffe.ForGenesis("cloud4.internal", "log")), filepath.Join(state, "identity"))

	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": "https://%s"}}`, address))
	c.enrol(ca, webID)
	h := c.start()
	fmt.Fprint(c.pipes["stdout"].w, "hello\n")
	waitFor(t, 20*time.Second, "event", func() bool {
		b, err := os.ReadFile(filepath.Join(events, "web.shop.vm1.jsonl"))
		return err == nil && strings.Contains(string(b), `"message":"hello"`)
	})
	h.stop(t)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("%v\n%s", err, log)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("receive does not stop\n%s", log)
	}
	_, stderr, code := command(t, "", nil, "receive", "--dir", events, "--quota", "lots", "--max-body", "1KiB", "--keep", "0")
	if code != 2 || !strings.Contains(stderr, "--quota") || !strings.Contains(stderr, "--max-body: must be between 1MiB and 64MiB") || !strings.Contains(stderr, "--keep") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestMemoryQuota(t *testing.T) {
	tests := []struct {
		text string
		want int64
	}{
		{"max\n", 64 << 20}, {"9223372036854771712\n", 64 << 20}, {"134217728\n", 16 << 20}, {"8388608\n", 2 << 20}, {"", 64 << 20},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "memory.max")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := memoryQuota(64<<20, "/nonexistent", path); got != tt.want {
			t.Errorf("%q: %d, want %d", tt.text, got, tt.want)
		}
	}
}
