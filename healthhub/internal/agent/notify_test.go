// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// heard is what a socket took.
type heard struct {
	mu  sync.Mutex
	all []string
}

func (h *heard) take(m string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, m)
	return nil
}

func (h *heard) has(m string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Contains("\n"+strings.Join(h.all, "\n")+"\n", "\n"+m+"\n")
}

// lockedLog is a log that is read while it is written.
type lockedLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// listenNotify opens a socket for the service that runs as pid, beside a healthhub that runs as hub.
func listenNotify(t *testing.T, take func(string) error, pid, hub int) (dir string, log *lockedLog, stop func()) {
	t.Helper()
	dir, log = t.TempDir(), new(lockedLog)
	state := &initctl.State{
		PID: os.Getppid(), Service: initctl.ServiceState{State: initctl.ServiceRunning, PID: pid},
		Hubs: map[string]*initctl.HubState{initctl.Healthhub: {State: initctl.HubRunning, PID: hub}},
	}
	if err := state.Write(dir); err != nil {
		t.Fatal(err)
	}
	s, err := openNotify(dir, take, zerolog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return dir, log, stop
}

func notify(t *testing.T, dir string) *net.UnixConn {
	t.Helper()
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: filepath.Join(dir, initctl.NotifySocket), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// A service's words change its health, and descriptors that come with them are closed, for BARRIER=1 waits for that.
func TestNotify(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	state := &initctl.State{
		PID: os.Getppid(), Hubs: map[string]*initctl.HubState{},
		Service: initctl.ServiceState{State: initctl.ServiceRunning, PID: os.Getpid(), StartedAt: time.Now()},
	}
	if err := state.Write(dir); err != nil {
		t.Fatal(err)
	}
	init := newHubinit(true)
	always := setting.DefaultCheck(setting.KindPush)
	launchIn(t, Config{RunDir: dir, Init: init, Notify: true, Settings: setting.Settings{Checks: map[string]setting.Check{"backup": always}}})
	waitFor(t, 5*time.Second, init.isReady)
	if info, err := os.Stat(filepath.Join(dir, initctl.NotifySocket)); err != nil || info.Mode().Perm() != 0o666 {
		t.Fatalf("%v, %v", info, err)
	}
	conn := notify(t, dir)
	if _, err := conn.Write([]byte("READY=1\nSTATUS=all is well\nWATCHDOG_USEC=2000000\nWATCHDOG=1\n")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 5*time.Second, func() bool { return strings.Contains(states(t, dir), "ready=pass watchdog=pass") })
	var pipe [2]int
	if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r := os.NewFile(uintptr(pipe[0]), "barrier")
	defer r.Close()
	raw, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if err := syscall.Sendmsg(int(raw.Fd()), []byte("BARRIER=1"), syscall.UnixRights(pipe[1]), nil, 0); err != nil {
		t.Fatal(err)
	}
	syscall.Close(pipe[1])
	ended := make(chan error, 1)
	go func() { _, err := r.Read(make([]byte, 1)); ended <- err }()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the descriptor of BARRIER=1 was not closed")
	}
	// Silent for longer than it promised: it hangs.
	waitFor(t, 10*time.Second, func() bool {
		f, err := health.ReadFile(dir, health.HealthFile)
		return err == nil && f.Health.State == health.Fail && strings.Contains(f.Health.Text, "it hangs")
	})
}

// Only the service's own processes are heard.
func TestNotifyStrangers(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, dir, message string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNotifyAsChild$")
		cmd.Env = []string{"NOTIFY_DIR=" + dir, "NOTIFY_MESSAGE=" + message}
		in, err := cmd.StdinPipe() // it lives until it has been heard, or not
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); cmd.Wait() })
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "sent\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	t.Run("a process of the service", func(t *testing.T) {
		var h heard
		dir, _, _ := listenNotify(t, h.take, os.Getpid(), 0)
		run(t, dir, "READY=1")
		waitFor(t, 5*time.Second, func() bool { return h.has("READY=1") })
	})
	t.Run("a check of healthhub", func(t *testing.T) {
		var h heard
		dir, log, stop := listenNotify(t, h.take, 0, os.Getpid())
		run(t, dir, "READY=1")
		run(t, dir, "WATCHDOG=1")
		waitFor(t, 5*time.Second, func() bool { return strings.Contains(log.String(), "is one of healthhub") })
		stop()
		if len(h.all) > 0 || strings.Count(log.String(), "not the service's") != 1 {
			t.Errorf("heard %q, log %s", h.all, log)
		}
	})
	t.Run("somebody else", func(t *testing.T) {
		s := &notifySocket{runDir: t.TempDir(), proc: "/proc"}
		state := &initctl.State{PID: 1 << 30, Service: initctl.ServiceState{PID: 1 << 29}}
		if err := state.Write(s.runDir); err != nil {
			t.Fatal(err)
		}
		for pid, want := range map[int]string{0: "from outside", 1: "from outside", 1 << 28: "has ended", os.Getpid(): "from outside", 1 << 29: ""} {
			if got := s.stranger(pid); (got == "") != (want == "") || !strings.Contains(got, want) {
				t.Errorf("process %d: %q, want %q", pid, got, want)
			}
		}
	})
}

// TestNotifyAsChild is the child of TestNotifyStrangers.
func TestNotifyAsChild(t *testing.T) {
	dir := os.Getenv("NOTIFY_DIR")
	if dir == "" {
		return
	}
	if _, err := notify(t, dir).Write([]byte(os.Getenv("NOTIFY_MESSAGE"))); err != nil {
		t.Fatal(err)
	}
	fmt.Println("sent")
	os.Stdin.Read(make([]byte, 1))
}

// First law: whatever the reader's side does, who writes does not wait: not for a monitor that hangs, not for a flood, not
// for a healthhub that has ended.
func TestNotifyNeverBlocks(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	dir, _, stop := listenNotify(t, func(string) error { <-hang; return nil }, os.Getpid(), 0)
	conn := notify(t, dir)
	write := func(n int) {
		t.Helper()
		conn.SetWriteDeadline(time.Now().Add(20 * time.Second))
		for i := range n {
			if _, err := fmt.Fprintf(conn, "STATUS=%d", i); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
		}
	}
	write(5000)
	close(hang)
	stop()
	conn.SetWriteDeadline(time.Now().Add(20 * time.Second))
	waitFor(t, 5*time.Second, func() bool { // the socket is closed at about the same time
		_, err := conn.Write([]byte("WATCHDOG=1"))
		if os.IsTimeout(err) {
			t.Fatal("a write waits for a healthhub that has ended")
		}
		return err != nil
	})
}

func TestWatchdogOfTheEnvironment(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "30000000": 30 * time.Second, "x": 0, "-1": 0, "99999999999999999999": 0} {
		t.Setenv("WATCHDOG_USEC", text)
		if got := watchdog(); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// A socket that is not read any more is closed: the service's next message fails, and does not wait.
func TestNotifyEndsWithItsReader(t *testing.T) {
	dir := t.TempDir()
	s, err := openNotify(dir, func(string) error { return nil }, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	conn := notify(t, dir)
	if err := s.conn.SetReadDeadline(time.Now()); err != nil { // stands for whatever ends reading
		t.Fatal(err)
	}
	s.run(t.Context())
	if err := conn.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("WATCHDOG=1")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("writing: %v, want that it is refused", err)
	}
}
