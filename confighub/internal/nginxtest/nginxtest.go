// SPDX-License-Identifier: AGPL-3.0-or-later

// Package nginxtest serves a docroot with a real nginx, of Debian's package, by the configuration that docs/publish.md
// gives to users: what it does is what that page promises.
//
//	s := nginxtest.Start(t, ca)
//	docroot.Publish(s.Root, …)      // s.URL hands it out
//	s.Log(t)                        // its access log: "<status> <method> <path> <user agent>" a line
//
// For tests alone: it imports testing. It listens on loopback and ends with the test.
package nginxtest

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/genesistest"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/spiffe"
)

// Page is the documentation, below the module's directory.
const Page = "docs/publish.md"

// Server is a running nginx.
type Server struct {
	// URL is https://127.0.0.1:<port>.
	URL string
	// Root is the docroot; it is the test's to fill.
	Root string

	dir string
	// asked counts the requests of Log.
	asked int
}

// Start serves with a certificate of the authority for genesis/config.
func Start(t testing.TB, ca *identitytest.CA) *Server {
	t.Helper()
	program := find(t)
	own, err := spiffe.ForGenesis("cloud4.internal", spiffe.KindConfig)
	if err != nil {
		t.Fatal(err)
	}
	identity := ca.DirOf(t, x509.Certificate{URIs: []*url.URL{own.URI()}, DNSNames: own.DNSNames()})
	dir := t.TempDir()
	s := &Server{dir: dir, Root: filepath.Join(dir, "docroot")}
	address := genesistest.FreeAddress(t)
	s.URL = "https://" + address
	server := Block(t, "nginx")
	for _, r := range [][2]string{
		{"listen 8443 ssl;", "listen " + address + " ssl;"}, {"/var/lib/hub/0/identity", identity}, {"/srv/docroot", s.Root},
	} {
		if !strings.Contains(server, r[0]) {
			t.Fatalf("the nginx configuration of %s has no %s", Page, r[0])
		}
		server = strings.ReplaceAll(server, r[0], r[1])
	}
	config := fmt.Sprintf(`daemon off; master_process off; worker_processes 1; pid %[1]s/nginx.pid; error_log stderr warn;
events { worker_connections 64; }
http {
	log_format test '$status $request_method $request_uri $http_user_agent';
	access_log %[1]s/access.log test;
	client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3; uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5;
%[2]s
}
`, dir, server)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(t, address, program, "-p", dir, "-e", "stderr", "-c", file)
	return s
}

func (s *Server) run(t testing.TB, address, program string, args ...string) {
	t.Helper()
	said := &genesistest.Output{}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = said, said
	done, err := genesistest.StartTied(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // one that has ended is what is wanted
		<-done
		if t.Failed() {
			answered, _ := os.ReadFile(s.log()) // none, perhaps
			t.Logf("nginx says:\n%s%s", said, answered)
		}
	})
	listens := func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	if !genesistest.Eventually(t.Context(), 20*time.Second, listens) {
		t.Fatalf("nginx does not listen on %s:\n%s", address, said)
	}
}

// find returns nginx's path. The test is left out where there is none, and fails where nothing may be left out.
func find(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err == nil {
		return program
	}
	program = "/usr/sbin/nginx" // Debian's, which is not in everybody's PATH
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("nginx is not installed")
		}
		t.Skip("left out: nginx is not installed")
	}
	return program
}

// Log is the access log of what was answered so far. nginx writes a line once the answer is out, so Log sends a request of
// its own, without TLS, and waits for that one's.
func (s *Server) Log(t testing.TB) string {
	t.Helper()
	s.asked++
	mark := fmt.Sprintf("/log-%d", s.asked)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", mark); err != nil {
		t.Fatal(err)
	}
	var lines []string
	written := func() bool {
		raw, err := os.ReadFile(s.log())
		lines = slices.Collect(strings.Lines(string(raw)))
		return err == nil && strings.Contains(string(raw), mark+" ")
	}
	if !genesistest.Eventually(t.Context(), 20*time.Second, written) {
		t.Fatalf("nginx does not log:\n%s", lines)
	}
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, " /log-") }), "")
}

func (s *Server) log() string { return filepath.Join(s.dir, "access.log") }

// Block returns all fenced blocks of a kind in the page, one after the other.
func Block(t testing.TB, kind string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for !exists(filepath.Join(dir, "go.mod")) {
		if dir == filepath.Dir(dir) {
			t.Fatal("this test does not run within its module")
		}
		dir = filepath.Dir(dir)
	}
	text, err := os.ReadFile(filepath.Join(dir, Page))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?ms)^```"+kind+"\n(.*?)^```$").FindAllSubmatch(text, -1)
	if found == nil {
		t.Fatalf("%s has no block of %s", Page, kind)
	}
	all := ""
	for _, block := range found {
		all += string(block[1])
	}
	return all
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
