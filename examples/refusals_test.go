// SPDX-License-Identifier: AGPL-3.0-or-later

package examples

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/baseimage/dockertest"
)

// identityFiles copies the identity of a container out of it, as a thief with the volume would have it.
func identityFiles(t *testing.T, c dockertest.Container) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"id.pem", "roots.pem"} {
		dockertest.Docker(t, "cp", string(c)+":/var/lib/hub/0/identity/"+name, filepath.Join(dir, name))
	}
	return dir
}

// client speaks to the genesis machine's containers with the identity in dir, or with "" none. It is made of the
// standard library alone, so that it does not share a mistake with the code it questions.
func client(t *testing.T, dir, roots string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(roots, "roots.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no root certificate")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool}
	if dir != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "id.pem"), filepath.Join(dir, "id.pem"))
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	addresses := map[string]string{
		"genesis.internal": addressOf(t, member(t, genesis, "machine")),
		"vm1.internal":     addressOf(t, member(t, shop, "host")),
	}
	transport := &http.Transport{
		TLSClientConfig: config,
		DialContext: func(ctx context.Context, kind, address string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{}).DialContext(ctx, kind, net.JoinHostPort(addresses[host], port))
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func addressOf(t *testing.T, c dockertest.Container) string {
	t.Helper()
	return c.Inspect(t, `{{(index .NetworkSettings.Networks "`+network+`").IPAddress}}`)
}

// healthReport is a report in good form about a container or host.
func healthReport(kind, name string) string {
	return fmt.Sprintf(`{"schema": 1, "instance": "0123456789abcdef", "seq": 1, "sent_at": %q, "valid_for": 30,
		"node": {"kind": %q, "name": %q, "state": "pass"}}`, time.Now().Format(time.RFC3339), kind, name)
}

func testRefusals(t *testing.T) {
	web, db, host := member(t, shop, "web"), member(t, shop, "db"), member(t, shop, "host")
	webFiles, dbFiles, hostFiles := identityFiles(t, web), identityFiles(t, db), identityFiles(t, host)
	const (
		own   = "https://genesis.internal:8443/v1/bundles/web.shop.vm1/current"
		fleet = "https://genesis.internal:8443/v1/fleet"
		host1 = "https://vm1.internal:8444/v1/report"
		all   = "https://genesis.internal:8444/v1/report"
		logs  = "https://genesis.internal:4318/v1/logs"
	)
	tests := []struct {
		name, identity, url string
		body                string // "": GET
		want                int    // 0: refused by TLS
	}{
		{"web takes its own bundle", webFiles, own, "", http.StatusOK},
		{"nobody takes a bundle", "", own, "", 0},
		{"db takes web's bundle", dbFiles, own, "", http.StatusForbidden},
		{"the host takes web's bundle", hostFiles, own, "", http.StatusForbidden},
		{"web reads the fleet", webFiles, fleet, "", http.StatusForbidden},
		{"nobody sends events", "", logs, "x", 0},
		{"nobody reports to the host", "", host1, healthReport("container", "web.shop.vm1"), 0},
		{"nobody reports to the fleet", "", all, healthReport("host", "vm1"), 0},
		{"db reports for web", dbFiles, host1, healthReport("container", "web.shop.vm1"), http.StatusForbidden},
		{"web reports for the host", webFiles, all, healthReport("host", "vm1"), http.StatusForbidden},
		{"the host reports for another", hostFiles, all, healthReport("host", "vm2"), http.StatusForbidden},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			method := http.MethodGet
			if test.body != "" {
				method = http.MethodPost
			}
			request, err := http.NewRequestWithContext(t.Context(), method, test.url, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client(t, test.identity, webFiles).Do(request)
			if test.want == 0 {
				if err == nil {
					resp.Body.Close()
					t.Fatalf("want no connection, got %s", resp.Status)
				}
				if !strings.Contains(err.Error(), "certificate required") {
					t.Errorf("want the server to ask for a certificate, got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			said, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != test.want {
				t.Errorf("want %d, got %s (%v): %s", test.want, resp.Status, err, said)
			}
			if test.want == http.StatusForbidden && !strings.Contains(string(said), "spiffe://") && !strings.Contains(string(said), "certificate") {
				t.Errorf("the refusal must say whose certificate it saw, says %q", said)
			}
		})
	}
	logged := member(t, genesis, "config").Logs(t)
	for _, who := range []string{"service/db", `host/vm1"`} {
		if !strings.Contains(logged, who) {
			t.Errorf("want the refusal of %s in the log of confighub serve", who)
		}
	}
}

// testImpostor lets a container with a genuine certificate answer as genesis.internal. Nobody must believe it.
func testImpostor(t *testing.T) {
	web := member(t, shop, "web")
	files := identityFiles(t, web)
	impostor := dockertest.Run(t, []string{"--network", network, "--env", "HUB_HUBS=none", "--volume", files + ":/stolen:ro"}, "cloud4/base",
		"openssl", "s_server", "-accept", "8443", "-cert", "/stolen/id.pem", "-key", "/stolen/id.pem", "-cert_chain", "/stolen/id.pem", "-www")
	victim := dockertest.Run(t, []string{
		"--network", network, "--add-host", "genesis.internal:" + addressOf(t, impostor), "--volume", files + ":/var/lib/hub/0/identity",
		"--env", "HUB_IDENTITY_HOST=vm1", "--env", "HUB_IDENTITY_STACK=shop", "--env", "HUB_IDENTITY_SERVICE=web",
		"--env", "HUB_IDENTITY_CA_URL=https://genesis.internal:9000",
		"--env", "HUB_IDENTITY_CA_FINGERPRINT=" + strings.TrimSpace(read(t, "../.demo/ca/fingerprint")),
		"--env", "HUB_CONFIG_SOURCE=https://genesis.internal:8443",
	}, "cloud4/shop-web")
	dockertest.WaitFor(t, 30*time.Second, "the container says whom it met", func() bool {
		return strings.Contains(victim.Logs(t), "web.shop.vm1.internal")
	})
	if state := stateOf(t, victim); state.Service.State != "waiting" {
		t.Errorf("the service of a container without configuration must wait, it is %q", state.Service.State)
	}
	if code, took := victim.Stop(t); code != 143 || took > 2*time.Second {
		t.Errorf("stopped while waiting: want 143 within 2 s, got %d after %v", code, took)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
