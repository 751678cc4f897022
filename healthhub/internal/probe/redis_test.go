// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity/identitytest"
)

// startRedis starts a real server on a socket of its directory, and waits until it listens.
func startRedis(t testing.TB, dir string, args ...string) (s *server, socket string) {
	t.Helper()
	socket = filepath.Join(dir, "redis.sock")
	os.Remove(socket)
	usual := []string{"--port", "0", "--unixsocket", socket, "--unixsocketperm", "777", "--save", "", "--dir", dir, "--enable-debug-command", "yes"}
	s = startServer(t, dir, program(t, "redis-server"), append(usual, args...)...)
	waitForSocket(t, socket)
	return s, socket
}

func waitForSocket(t testing.TB, socket string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("nobody listens on %s: %v", socket, err)
		}
	}
}

// redis says a line to a server, and gives the first line of its answer.
func redis(t testing.TB, socket, line string) string {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "%s\r\n", line)
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return strings.TrimSpace(answer)
}

// TestRedis looks at real servers, in one state after the other.
func TestRedis(t *testing.T) {
	t.Parallel()
	at := func(socket string) setting.Check { return setting.Check{Kind: setting.KindRedis, Path: socket} }
	dir := serverDir(t)
	s, socket := startRedis(t, dir, "--busy-reply-threshold", "1", "--maxclients", "3")
	got := look(t, at(socket), 10*time.Second)
	expect(t, got, health.Pass, "PONG, in ")
	acceptable(t, got)
	if v := measured(t, got, "answer"); v.Value <= 0 || v.Unit != "s" {
		t.Errorf("%+v", v)
	}

	var held []net.Conn
	for range 3 {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	waitFor(t, 10*time.Second, func() bool { return look(t, at(socket), 10*time.Second).State == health.Warn })
	expect(t, look(t, at(socket), 10*time.Second), health.Warn, "as many clients as it takes")
	for _, conn := range held {
		conn.Close()
	}
	waitFor(t, 10*time.Second, func() bool { return look(t, at(socket), 10*time.Second).State == health.Pass })

	busy, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(busy, "EVAL 'while true do end' 0\r\n")
	waitFor(t, 10*time.Second, func() bool { return look(t, at(socket), 10*time.Second).State == health.Fail })
	expect(t, look(t, at(socket), 10*time.Second), health.Fail, "is busy with a script")
	redis(t, socket, "SCRIPT KILL")
	busy.Close()
	waitFor(t, 10*time.Second, func() bool { return look(t, at(socket), 10*time.Second).State == health.Pass })

	for _, line := range []string{"DEBUG POPULATE 2000", "SAVE", "CONFIG SET requirepass secret"} {
		if answer := redis(t, socket, line); answer != "+OK" {
			t.Fatalf("%s: %s", line, answer)
		}
	}
	expect(t, look(t, at(socket), 10*time.Second), health.Pass, "alive, and wants a password")
	s.stop(t, syscall.SIGKILL)
	expect(t, look(t, at(socket), 10*time.Second), health.Fail, "connection refused")

	// It takes 20 seconds to load what was saved.
	s, socket = startRedis(t, dir, "--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024")
	expect(t, look(t, at(socket), 10*time.Second), health.Fail, "is loading its data: LOADING")
	s.stop(t, syscall.SIGKILL)

	s, socket = startRedis(t, serverDir(t), "--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "no")
	expect(t, look(t, at(socket), 10*time.Second), health.Fail, "has lost its master")
	s.stop(t, syscall.SIGTERM)
}

// TestRedisTLS looks at a server that wants to know who looks.
func TestRedisTLS(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	dir, cert := serverDir(t), ca.Dir(t, container(t, "cache"))
	files := []string{filepath.Join(dir, "id.pem"), filepath.Join(dir, "roots.pem")}
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(cert, filepath.Base(file)))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	give(t, files...)
	port := freePort(t)
	startRedis(t, dir, "--bind", "127.0.0.1", "--tls-port", port, "--tls-cert-file", files[0], "--tls-key-file", files[0], "--tls-ca-cert-file", files[1])
	place := Place{Files: ca.Files(t, container(t, "probe"))}
	check := setting.Check{Kind: setting.KindRedis, Address: "127.0.0.1:" + port, TLS: true, Identity: true}
	got := lookAt(t, check, place)
	expect(t, got, health.Pass, "PONG")
	if left := measured(t, got, "cert_left"); left.Value < 23*3600 {
		t.Errorf("%+v", left)
	}
	check.Identity, check.CA = false, setting.CAFleet
	expect(t, lookAt(t, check, place), health.Fail, "the server refuses: certificate required")
	check.TLS, check.CA = false, ""
	expect(t, lookAt(t, check, place), health.Fail, "")
}

// What a real server says only in need.
func TestRedisWords(t *testing.T) {
	for line, want := range map[string]struct {
		state health.State
		text  string
	}{
		"+PONG\r\n": {health.Pass, "PONG"},
		"+QUEUED\n": {health.Pass, "QUEUED"},
		"-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.\r\n": {health.Warn, "cannot save"},
		"-DENIED Redis is running in protected mode\r\n":                                                        {health.Fail, "lets nobody in"},
		"-NOPERM this user has no permissions to run the 'ping' command\r\n":                                    {health.Pass, "wants a password"},
		"-ERR operation not permitted\r\n":                                                                      {health.Pass, "wants a password"},
		"-ERR unknown command 'PING'\r\n":                                                                       {health.Pass, "does not know PING"},
		"-ERR something\r\n":                                                                                    {health.Warn, "ERR something"},
		"HTTP/1.1 400 Bad Request\r\n":                                                                          {health.Fail, "does not speak the protocol of Redis"},
		"$4\r\nPONG\r\n":                                                                                        {health.Fail, "does not speak"},
		"-" + strings.Repeat("x", 2*maxRedisLine) + "\r\n":                                                      {health.Fail, "does not speak"},
		"+PON": {health.Fail, "closed without a whole answer"},
		"":     {health.Fail, "closed without a whole answer"},
	} {
		got := look(t, setting.Check{Kind: setting.KindRedis, Address: speak(t, line)}, 10*time.Second)
		expect(t, got, want.state, want.text)
		if (got.State == health.Pass) != (got.Action == "") {
			t.Errorf("%q: action %q", line, got.Action)
		}
	}
}

func FuzzRedis(f *testing.F) {
	f.Add("-LOADING Redis is loading the dataset in memory\r\n")
	f.Fuzz(func(t *testing.T, said string) {
		if line, err := readRedis(strings.NewReader(said)); err == nil {
			if r := judgeRedis(line); r.State > health.Fail || len(r.Text) > health.MaxTextBytes {
				t.Errorf("%q: %+v", said, r)
			}
		}
	})
}

func BenchmarkRedis(b *testing.B) {
	_, socket := startRedis(b, serverDir(b))
	f, err := New(setting.Check{Kind: setting.KindRedis, Path: socket}, Place{})
	if err != nil {
		b.Fatal(err)
	}
	benchmark(b, f)
}
