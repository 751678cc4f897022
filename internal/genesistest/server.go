// SPDX-License-Identifier: AGPL-3.0-or-later

package genesistest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/spiffe"
)

// Server is one program of the genesis or host machine, which may be stopped and started again at the same address.
type Server struct {
	ID spiffe.ID
	// URL is what clients are told: https://genesis.internal:<port>.
	URL string
	// Address is host:port of the same on loopback; Readers that of the dashboard, where there is one.
	Address, Readers string
	// State is the directory of what outlives a restart.
	State  string
	Output *Output

	argv     []string
	env      []string
	hosts    string
	settings map[string]any

	cmd  *exec.Cmd
	done <-chan struct{}
}

// newServer prepares a server with an identity of its own.
func (g *Genesis) newServer(t testing.TB, dir string, id spiffe.ID, o options, program string, args ...string) *Server {
	t.Helper()
	dir = filepath.Join(dir, id.BundleName())
	s := &Server{
		ID: id, Address: FreeAddress(t), State: filepath.Join(dir, "state"), Output: &Output{}, hosts: g.Hosts,
		settings: map[string]any{"identity": g.identitySettings(id)},
	}
	_, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		t.Fatal(err)
	}
	s.URL = "https://" + id.DNSNames()[0] + ":" + port
	s.argv = append([]string{Program(t, program)}, args...)
	s.argv = append(s.argv, "--listen", s.Address)
	switch program {
	case "loghub":
		s.argv = append(s.argv, "--dir", filepath.Join(s.State, "events"))
	case "healthhub":
		s.Readers = FreeAddress(t)
		s.argv = append(s.argv, "--dashboard", s.Readers)
	}
	s.env = []string{"HUB_STATE_DIR=" + s.State, "HUB_RUN_DIR=" + filepath.Join(dir, "run"), "HUB_CONFIG=" + filepath.Join(dir, "hub.json")}
	for _, sub := range []string{"state", "run"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	identityDir := filepath.Join(s.State, "identity")
	g.CA.Issue(t, id, identityDir)
	if o.lifetime > 0 {
		g.keepRenewing(t, id, identityDir, o.lifetime/2)
	}
	return s
}

// keepRenewing does for a server what confighub does for the container it runs in.
func (g *Genesis) keepRenewing(t testing.TB, id spiffe.ID, dir string, every time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				g.CA.Issue(t, id, dir)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// FreeAddress is a loopback address that nobody listens on, for a process that is yet to be started. The port is below those
// that the kernel gives out by itself (net.ipv4.ip_local_port_range begins at 32768), so that no connection of a test
// that runs at the same time takes it, now or while a server is stopped.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 10000+rand.N(22000))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue // somebody has it
		}
		l.Close()
		return address
	}
	t.Fatal("no port is free")
	return ""
}

// Start runs the program and waits until it listens.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	settings, err := json.MarshalIndent(s.settings, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(s.State), "hub.json"), settings, 0o600); err != nil {
		t.Fatal(err)
	}
	s.cmd = command(s.hosts, s.argv...)
	s.cmd.Env = append(os.Environ(), s.env...)
	s.cmd.Stdout, s.cmd.Stderr = s.Output, s.Output
	done, err := StartTied(s.cmd)
	if err != nil {
		t.Fatalf("starting %s: %v", s.argv, err)
	}
	s.done = done
	t.Cleanup(func() {
		s.Stop(t)
		if t.Failed() {
			t.Logf("%s says:\n%s", s.ID.BundleName(), s.Output)
		}
	})
	if !Eventually(t.Context(), 10*time.Second, func() bool { return s.ended() || listens(s.Address) }) {
		t.Fatalf("%s does not listen on %s after 10 s:\n%s", s.argv, s.Address, s.Output)
	}
	if s.ended() {
		t.Fatalf("%s ended (%v) instead of listening on %s:\n%s", s.argv, s.cmd.ProcessState, s.Address, s.Output)
	}
}

// command runs a program in a mount namespace of its own, where the file hosts is /etc/hosts.
func command(hosts string, argv ...string) *exec.Cmd {
	cmd := exec.Command("sh", append([]string{"-c", `mount --bind "$0" /etc/hosts && exec "$@"`, hosts}, argv...)...)
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd
}

// StartTied starts a process that does not outlive this one, however this one ends. The channel is closed when it has
// ended; how stands in cmd.ProcessState. The kernel's signal comes with the end of the thread that forked
// (prctl(2), PR_SET_PDEATHSIG), so one thread stays with each process.
func StartTied(cmd *exec.Cmd) (<-chan struct{}, error) {
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is in cmd.ProcessState
		}
	}()
	return done, <-started
}

// Run runs one of the programs to its end, as an operator on a machine that finds the servers, and returns what it wrote.
func (g *Genesis) Run(t testing.TB, program string, args ...string) string {
	t.Helper()
	cmd := command(g.Hosts, append([]string{Program(t, program)}, args...)...)
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, args, err, said)
	}
	return string(said)
}

func (s *Server) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

func listens(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// Stop ends the program as docker stop would. Stopping a stopped server does nothing.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("stopping %s: %v", s.argv, err)
	}
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		t.Errorf("%s does not stop within 10 s:\n%s", s.argv, s.Output)
		_ = s.cmd.Process.Kill()
		<-s.done
	}
	s.cmd = nil
}
