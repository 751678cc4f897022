// SPDX-License-Identifier: AGPL-3.0-or-later

package control

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

// serve runs a server in a directory that every user may enter.
func serve(t *testing.T, do func(context.Context, Request) (string, error)) (runDir string, stop func()) {
	t.Helper()
	runDir, err := os.MkdirTemp("", "control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(runDir) })
	if err := os.Chmod(runDir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &Server{RunDir: runDir, Do: do, Log: zerolog.New(zerolog.NewTestWriter(t))}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		done <- nil
	}
	t.Cleanup(stop)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if info, err := os.Stat(filepath.Join(runDir, Socket)); err == nil && info.Mode().Perm() == 0o600 {
			return runDir, stop
		}
		if time.Now().After(end) {
			t.Fatal("no socket of mode 0600")
		}
	}
}

func TestAsk(t *testing.T) {
	asked := make(chan Request, 1)
	run, stop := serve(t, func(_ context.Context, r Request) (string, error) {
		asked <- r
		if r.Verb == Rollback {
			return "", errors.New("there is nothing\nto go back to")
		}
		return "done", nil
	})
	text, err := Ask(t.Context(), run, Request{Verb: Hold, For: time.Hour, Reason: "3\x1b[1m a.m.", By: "nobody"})
	if err != nil || text != "done" {
		t.Errorf("got %q, %v", text, err)
	}
	if diff := cmp.Diff(Request{Verb: Hold, For: time.Hour, Reason: "3 a.m.", By: "root"}, <-asked); diff != "" && os.Geteuid() == 0 {
		t.Error(diff)
	}
	if _, err := Ask(t.Context(), run, Request{Verb: Rollback}); err == nil || err.Error() != "there is nothing\nto go back to" {
		t.Errorf("got %v", err)
	}
	<-asked
	for want, r := range map[string]Request{
		"there is hold, resume, rollback and accept": {Verb: "dance"},
		"reason: has 1001 bytes":                     {Verb: Hold, Reason: strings.Repeat("x", MaxReason+1)},
		"for: must be between 1s":                    {Verb: Hold, For: time.Millisecond},
		"serial: which version":                      {Verb: Accept},
	} {
		if _, err := Ask(t.Context(), run, r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v", r, err)
		}
	}
	stop()
	if _, err := Ask(t.Context(), run, Request{Verb: Resume}); err == nil || !strings.Contains(err.Error(), "confighub does not run here: there is no "+run) {
		t.Errorf("after its end: %v", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(run, Socket), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as one that was killed leaves it
	l.Close()
	if _, err := Ask(t.Context(), run, Request{Verb: Resume}); err == nil || !strings.Contains(err.Error(), "nobody answers on "+run) {
		t.Errorf("after a kill: %v", err)
	}
}

// Who is neither root nor the uid of the hubs is kept out twice: by the socket's mode, and by what the kernel says of him.
func TestStrangers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("taking another uid needs root")
	}
	run, _ := serve(t, func(context.Context, Request) (string, error) {
		t.Error("a stranger was heard")
		return "", nil
	})
	socket := filepath.Join(run, Socket)
	curl := func() string {
		t.Helper()
		cmd := exec.Command("curl", "-sS", "--unix-socket", socket, "-d", "{}", "http://confighub/v1/resume")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Dir = "/"
		out, _ := cmd.CombinedOutput() // curl ends with 7 when it cannot connect, which its words say
		return string(out)
	}
	if out := curl(); strings.Contains(out, "uid 65534") || !strings.Contains(out, "onnect") {
		t.Errorf("with mode 0600: %s", out)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	if out := curl(); !strings.Contains(out, "uid 65534 may not steer this container's configuration: root and uid 0 may") {
		t.Errorf("with mode 0666: %s", out)
	}
}

// Who goes away is told to the one who does the work; who waits while the hub ends hears that.
func TestEnding(t *testing.T) {
	started, gone := make(chan struct{}), make(chan struct{})
	run, stop := serve(t, func(ctx context.Context, r Request) (string, error) {
		started <- struct{}{}
		<-ctx.Done()
		if r.Verb == Hold {
			close(gone)
		}
		return "", ErrEnding
	})
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error, 1)
	go func() {
		_, err := Ask(ctx, run, Request{Verb: Hold})
		answer <- err
	}()
	<-started
	cancel()
	<-gone
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	go func() {
		_, err := Ask(t.Context(), run, Request{Verb: Resume})
		answer <- err
	}()
	<-started
	stop()
	if err := <-answer; err == nil || err.Error() != ErrEnding.Error() {
		t.Errorf("got %v", err)
	}
}

// A run directory without room is no reason to end, and is looked at again.
func TestNoRoom(t *testing.T) {
	run := filepath.Join(t.TempDir(), "none")
	s := &Server{RunDir: run, Do: func(context.Context, Request) (string, error) { return "done", nil }, Log: zerolog.New(zerolog.NewTestWriter(t))}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if _, err := Ask(ctx, run, Request{Verb: Resume}); err == nil || !strings.Contains(err.Error(), "does not run here") {
		t.Errorf("without a directory: %v", err)
	}
	if err := os.Mkdir(run, 0o755); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if text, err := Ask(ctx, run, Request{Verb: Resume}); err == nil && text == "done" {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
