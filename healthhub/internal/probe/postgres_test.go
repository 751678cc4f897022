// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity/identitytest"
)

// cluster is PostgreSQL's data, for servers one after the other.
type cluster struct{ dir, data, port, socket string }

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{dir: serverDir(t), port: freePort(t)}
	c.data, c.socket = filepath.Join(c.dir, "data"), filepath.Join(c.dir, ".s.PGSQL."+c.port)
	initdb := unprivileged(exec.Command(program(t, "initdb"), "-D", c.data, "-U", "postgres", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8"))
	initdb.Dir = c.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return c
}

// admit says who is let in how, in lines of pg_hba.conf.
func (c *cluster) admit(t testing.TB, lines string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.data, "pg_hba.conf"), []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) start(t testing.TB, settings ...string) *server {
	t.Helper()
	args := []string{"-D", c.data, "-k", c.dir, "-p", c.port, "-F", "-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=1MB",
		"-c", "max_connections=5", "-c", "superuser_reserved_connections=0", "-c", "max_wal_senders=0", "-c", "autovacuum=off"}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	return startServer(t, c.dir, program(t, "postgres"), args...)
}

// session begins a session that stays.
func (c *cluster) session(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", c.socket)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write(postgresStartup("user", "postgres", "database", "postgres")); err != nil {
		t.Fatal(err)
	}
	if said, err := readPostgres(conn); err != nil || !said.ready {
		t.Fatalf("no session: %+v, %v", said, err)
	}
	return conn
}

// TestPostgres looks at real servers, in one state after the other.
func TestPostgres(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	bySocket := setting.Check{Kind: setting.KindPostgres, Path: c.socket}
	byTCP := setting.Check{Kind: setting.KindPostgres, Address: "127.0.0.1:" + c.port}
	until := func(check setting.Check, state health.State, text string) {
		t.Helper()
		waitFor(t, 20*time.Second, func() bool {
			got := look(t, check, 10*time.Second)
			return got.State == state && strings.Contains(got.Text, text)
		})
	}
	expect(t, look(t, bySocket, 10*time.Second), health.Fail, "no such socket")

	c.admit(t, "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
	s := c.start(t)
	until(bySocket, health.Pass, "PostgreSQL ")
	before := len(s.said(t))
	expect(t, look(t, bySocket, 10*time.Second), health.Pass, " lets postgres in")
	expect(t, look(t, byTCP, 10*time.Second), health.Pass, "alive, and wants a password")
	if said := s.said(t)[before:]; said != "" {
		t.Errorf("the looks stand in the log of the server: %s", said)
	}
	stranger := bySocket
	stranger.User = "healthhub"
	expect(t, look(t, stranger, 10*time.Second), health.Pass, `alive, and lets healthhub not in: role "healthhub" does not exist (28000)`)
	tls := byTCP
	tls.TLS = true
	expect(t, look(t, tls, 10*time.Second), health.Fail, "has TLS turned off")

	var held []net.Conn
	for range 5 {
		held = append(held, c.session(t))
	}
	got := look(t, bySocket, 10*time.Second)
	expect(t, got, health.Warn, "has no session left: ")
	if !strings.Contains(got.Action, "max_connections") {
		t.Errorf("action %q", got.Action)
	}
	for _, conn := range held[1:] {
		conn.Close()
	}
	until(bySocket, health.Pass, "")

	// It waits for the last session to end.
	s.Process.Signal(syscall.SIGTERM)
	until(bySocket, health.Fail, "takes no sessions now: the database system is shutting down (57P03)")
	held[0].Close()
	s.stop(t, syscall.SIGTERM)

	// A standby that is still waiting for what it has to catch up with.
	if err := os.WriteFile(filepath.Join(c.data, "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s = c.start(t, "restore_command=sleep 300; false", "hot_standby=off")
	until(bySocket, health.Fail, "takes no sessions now: ")
	s.stop(t, syscall.SIGQUIT)
	if err := os.Remove(filepath.Join(c.data, "standby.signal")); err != nil {
		t.Fatal(err)
	}
}

func TestPostgresTLS(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	c, cert := newCluster(t), ca.Dir(t, container(t, "db"))
	for _, name := range []string{"id.pem", "roots.pem"} {
		data, err := os.ReadFile(filepath.Join(cert, name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(c.data, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		give(t, path)
	}
	c.admit(t, "hostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n")
	c.start(t, "ssl=on", "ssl_cert_file=id.pem", "ssl_key_file=id.pem", "ssl_ca_file=roots.pem")
	waitForSocket(t, c.socket)
	place := Place{Files: ca.Files(t, container(t, "probe"))}
	check := setting.Check{Kind: setting.KindPostgres, Address: "127.0.0.1:" + c.port, TLS: true, Identity: true}
	waitFor(t, 20*time.Second, func() bool { return lookAt(t, check, place).State == health.Pass })
	got := lookAt(t, check, place)
	expect(t, got, health.Pass, "lets postgres in")
	acceptable(t, got)
	if left := measured(t, got, "cert_left"); left.Value < 23*3600 {
		t.Errorf("%+v", left)
	}
	check.Identity, check.CA = false, setting.CAFleet
	expect(t, lookAt(t, check, place), health.Pass, "lets postgres not in: connection requires a valid client certificate")
	check.CA = setting.CASystem
	expect(t, lookAt(t, check, place), health.Fail, "not trusted")
}

// message is one of the protocol.
func message(kind byte, body string) string {
	return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))) + body
}

// What a real server says only in need, and what is none.
func TestPostgresWords(t *testing.T) {
	failure := func(code, text string) string {
		return message('E', "SFATAL\x00C"+code+"\x00M"+text+"\x00\x00")
	}
	for said, want := range map[string]struct {
		state health.State
		text  string
	}{
		failure("57P03", "the database system is starting up"):        {health.Fail, "takes no sessions now: the database system is starting up"},
		failure("53300", "sorry, too many clients already"):           {health.Warn, "no session left"},
		failure("53100", "disk full"):                                 {health.Warn, "lacks something: disk full (53100)"},
		failure("57P01", "terminating connection"):                    {health.Fail, "cannot work"},
		failure("XX000", "internal error"):                            {health.Fail, "cannot work"},
		failure("3D000", "no such database"):                          {health.Pass, "lets postgres not in"},
		failure("08P01", "no such user"):                              {health.Pass, "lets postgres not in"},
		"Ecould not fork new process for connection: no memory\n\x00": {health.Warn, "lacks something: could not fork"},
		message('N', "x") + message('R', "\x00\x00\x00\x0a"):          {health.Pass, "wants a password"},
		message('R', "\x00\x00\x00\x07"):                              {health.Pass, "wants a ticket"},
		message('R', ""):                                              {health.Fail, "does not speak"},
		message('E', "\x00"):                                          {health.Fail, "does not speak"},
		strings.Repeat(message('N', ""), 1000):                        {health.Fail, "does not speak"},
		message('R', "\x00\x00\x00\x00")[:7]:                          {health.Fail, "closed without a whole answer"},
		"HTTP/1.1 400 Bad Request\r\n\r\n":                            {health.Fail, "does not speak the protocol of PostgreSQL"},
		"E\xff\xff\xff\xff" + strings.Repeat("x", 5000):               {health.Fail, "does not speak"},
		"": {health.Fail, "closed without a whole answer"},
	} {
		got := look(t, setting.Check{Kind: setting.KindPostgres, Address: speak(t, said)}, 10*time.Second)
		expect(t, got, want.state, want.text)
		if (got.State == health.Pass) != (got.Action == "") {
			t.Errorf("%q: action %q", said, got.Action)
		}
	}
	silent := listen(t, "tcp", "127.0.0.1:0", func(conn net.Conn) { io.Copy(io.Discard, conn) })
	expect(t, look(t, setting.Check{Kind: setting.KindPostgres, Address: silent}, 100*time.Millisecond), health.Fail, "no answer in time")
	expect(t, look(t, setting.Check{Kind: setting.KindPostgres, Address: silent, TLS: true}, 100*time.Millisecond), health.Fail, "no answer in time")
	strange := setting.Check{Kind: setting.KindPostgres, Address: speak(t, "H"), TLS: true}
	expect(t, look(t, strange, 10*time.Second), health.Fail, "does not speak the protocol of PostgreSQL")
}

func FuzzPostgres(f *testing.F) {
	f.Add(message('R', "\x00\x00\x00\x00") + message('S', "server_version\x0015.3 (Debian)\x00") + message('K', "12345678") + message('Z', "I"))
	f.Add(message('E', "SFATAL\x00C57P03\x00Mthe database system is starting up\x00\x00"))
	f.Add("Ecould not fork\x00")
	f.Fuzz(func(t *testing.T, said string) {
		if p, err := readPostgres(strings.NewReader(said)); err == nil {
			if r := p.judge("postgres"); r.State > health.Fail || len(r.Text) > health.MaxTextBytes {
				t.Errorf("%q: %+v", said, r)
			}
		}
	})
}

func BenchmarkPostgres(b *testing.B) {
	c := newCluster(b)
	c.admit(b, "local all all scram-sha-256\n")
	c.start(b)
	waitForSocket(b, c.socket)
	f, err := New(setting.Check{Kind: setting.KindPostgres, Path: c.socket}, Place{})
	if err != nil {
		b.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); f(b.Context()).State != health.Pass; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatal("the server does not come up")
		}
	}
	benchmark(b, f)
}
