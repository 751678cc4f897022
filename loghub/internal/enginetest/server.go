// SPDX-License-Identifier: AGPL-3.0-or-later

package enginetest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Patience is how long tests wait for what has to happen.
const Patience = 60 * time.Second

// start runs a server until the test ends, and returns once something listens at address.
func start(t testing.TB, address, program string, args ...string) {
	t.Helper()
	said, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	words := func() string {
		data, _ := os.ReadFile(said.Name())
		return tail(string(data), 20)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(program), words())
		}
		said.Close()
	})
	Until(t, "listener of "+filepath.Base(program), func() bool {
		select {
		case <-ended:
			t.Fatalf("%s ended:\n%s", program, words())
		default:
		}
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// Until waits for a condition.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s: no %s", Patience, what)
		}
	}
}

// FreeAddress is an address of loopback that nobody listens at.
func FreeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// VictoriaLogs is a running one.
type VictoriaLogs struct {
	t       testing.TB
	Address string // host:port, plain http
}

// StartVictoriaLogs starts an empty one.
func StartVictoriaLogs(t testing.TB) *VictoriaLogs {
	t.Helper()
	v := &VictoriaLogs{t, FreeAddress(t)}
	start(t, v.Address, victoriaLogs.binary(t), "-storageDataPath="+t.TempDir(), "-httpListenAddr="+v.Address, "-memory.allowedBytes=64MiB")
	return v
}

// Query returns what LogsQL finds, a map of strings for each row.
func (v *VictoriaLogs) Query(logsql string) []map[string]string {
	v.t.Helper()
	resp, err := http.PostForm("http://"+v.Address+"/select/logsql/query", url.Values{"query": {logsql}})
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		words, _ := io.ReadAll(resp.Body)
		v.t.Fatalf("%s: %s: %s", logsql, resp.Status, words)
	}
	var rows []map[string]string
	for d := json.NewDecoder(resp.Body); d.More(); {
		var row map[string]string
		if err := d.Decode(&row); err != nil {
			v.t.Fatalf("%s: %v", logsql, err)
		}
		rows = append(rows, row)
	}
	return rows
}

// Count is how many records a filter finds.
func (v *VictoriaLogs) Count(filter string) string {
	v.t.Helper()
	rows := v.Query(filter + " | stats count() n")
	if len(rows) != 1 {
		v.t.Fatalf("%s: %v", filter, rows)
	}
	return rows[0]["n"]
}

// StartCollector starts one whose receiver listens at the address it returns, with mutual TLS: id holds certificate and key
// of the server, roots what clients are checked by. exporter is the exporter otlphttp in YAML's flow style.
func StartCollector(t testing.TB, id, roots, exporter string) (address string) {
	t.Helper()
	program := collector.binary(t)
	address = FreeAddress(t)
	config := fmt.Sprintf(`
receivers:
  otlp:
    protocols:
      http:
        endpoint: %s
        max_request_body_size: 100000
        tls: {cert_file: %[2]s, key_file: %[2]s, client_ca_file: %s, min_version: "1.3"}
exporters:
  otlphttp: %s
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    logs: {receivers: [otlp], exporters: [otlphttp]}
`, address, id, roots, exporter)
	path := filepath.Join(t.TempDir(), "collector.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, address, program, "--config="+path)
	return address
}

// StartDoor starts nginx with mutual TLS and HTTP/2 in front of an address, and returns its own. Who comes in is written to
// each record as genesis.peer, by the certificate. It takes bodies up to 64 KiB and 5 requests on a connection.
func StartDoor(t testing.TB, id, roots, behind string) (address string) {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx"
	}
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("nginx is not here (Debian's nginx-light), and CI=true leaves nothing out: %v", err)
		}
		t.Skipf("nginx is not here (Debian's nginx-light): %v", err)
	}
	address = FreeAddress(t)
	dir, user := t.TempDir(), ""
	if os.Getuid() == 0 {
		user = "user root;" // nobody may not write there
	}
	config := strings.NewReplacer("DIR", dir, "ADDRESS", address, "BEHIND", behind, "ID", id, "ROOTS", roots, "USER", user).Replace(`
daemon off;
USER
worker_processes 1;
pid DIR/pid;
error_log stderr warn;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
    map $ssl_client_s_dn $peer { "~CN=(?<cn>[^,]+)" $cn; }
    server {
        listen ADDRESS ssl http2;
        ssl_certificate ID; ssl_certificate_key ID;
        ssl_protocols TLSv1.3;
        ssl_client_certificate ROOTS; ssl_verify_client on; ssl_verify_depth 3;
        client_max_body_size 64k;
        keepalive_requests 5;
        location = /insert/opentelemetry/v1/logs {
            proxy_pass http://BEHIND;
            proxy_set_header VL-Extra-Fields "genesis.peer=$peer";
        }
    }
}
`)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, address, program, "-p", dir, "-c", path)
	return address
}
