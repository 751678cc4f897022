// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// nobody is whom servers of tests run as: some refuse root.
const nobody = 65534

// server is a program that runs for a test, in a directory of its own.
type server struct {
	*exec.Cmd
	log string // a file
}

// said is what a server wrote.
func (s *server) said(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// program finds a program that .ci/needs installs; PostgreSQL's are in directories of their versions.
func program(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed: see .ci/needs", name)
		}
		t.Skipf("%s is not installed: see .ci/needs", name)
	}
	return slices.Max(found)
}

// unprivileged makes a command one of nobody's, where we are root.
func unprivileged(cmd *exec.Cmd) *exec.Cmd {
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

// serverDir is a directory of nobody's, with a name short enough for sockets.
func serverDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "srv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	give(t, dir)
	return dir
}

// give makes files nobody's.
func give(t testing.TB, paths ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	for _, path := range paths {
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
}

// startServer starts a program, which ends with the test at the latest.
func startServer(t testing.TB, dir, path string, args ...string) *server {
	t.Helper()
	s := &server{Cmd: unprivileged(exec.Command(path, args...)), log: filepath.Join(t.TempDir(), "log")}
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.Dir, s.Stdout, s.Stderr = dir, log, log
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop(t, syscall.SIGKILL) })
	return s
}

// stop ends a server and waits for it. Done twice it does nothing.
func (s *server) stop(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if s.ProcessState != nil {
		return
	}
	s.Process.Signal(signal)
	end := time.AfterFunc(20*time.Second, func() { s.Process.Kill() })
	defer end.Stop()
	s.Wait()
	if t.Failed() {
		t.Logf("%s said:\n%s", s.Path, s.said(t))
	}
}

// freePort is a port that nobody listens on now.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}
