// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/identity/identitytest"
)

// Over TLS whoever has the read token reads; nobody else does.
func TestDashboardTLS(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	m := newMachine(t, "")
	ca.Issue(t, parse(t, "/host/vm1"), m.path("state/identity"))
	address := freeAddress(t)
	log, _ := m.start(t, "serve", "--listen", "127.0.0.1:0", "--dashboard", "", "--dashboard-tls", address, "--dashboard-name",
		"health.example.org")
	waitFor(t, 10*time.Second, "serving", func() bool { return strings.Contains(log.String(), "showing the dashboard") })
	if !strings.Contains(log.String(), "healthhub token makes and shows one") {
		t.Errorf("the log does not say that there is no token: %s", log)
	}

	roots := x509.NewCertPool()
	for _, root := range ca.Roots() {
		roots.AddCert(root)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots,
		ServerName: "vm1.internal"}, ForceAttemptHTTP2: true}}
	get := func(host string, header ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, "https://"+address+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if code, body := get("vm1.internal"); code != 401 || strings.Contains(body, "<main id=") {
		t.Errorf("without a token: %d %s", code, body)
	}
	code, out, errs := m.call(t, "token")
	token := strings.TrimSpace(out)
	if code != 0 || len(token) != 26 {
		t.Fatalf("%d %q %s", code, out, errs)
	}
	for host, want := range map[string]int{"vm1.internal": 200, "health.example.org": 200, "evil.example": 421} {
		if code, _ := get(host, "Authorization", "Bearer "+token); code != want {
			t.Errorf("%s: %d, want %d", host, code, want)
		}
	}
	resp, err := client.PostForm("https://"+address+"/login", url.Values{"token": {token}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if code, body := get(address); code != 200 || !strings.Contains(body, `<main id="main"`) {
		t.Errorf("logged in: %d %s", code, body)
	}
	if _, err := http.Get("https://" + address + "/"); err == nil { // as a browser that does not know our authority
		t.Error("a certificate of nobody is accepted")
	}
	waitFor(t, 5*time.Second, "the refusals", func() bool {
		return strings.Contains(log.String(), "evil.example") && strings.Contains(log.String(), "TLS handshake error")
	})
	if strings.Contains(log.String(), token) {
		t.Error("the log tells the token")
	}
}

// A widget's address for the dashboard on loopback stays as it was, unless somebody wants the token there too.
func TestDashboardOnLoopback(t *testing.T) {
	ca := identitytest.New(t)
	for _, test := range []struct {
		args []string
		want int
	}{{nil, 200}, {[]string{"--dashboard-token"}, 401}} {
		m := newMachine(t, "")
		ca.Issue(t, parse(t, "/host/vm1"), m.path("state/identity"))
		address := freeAddress(t)
		log, _ := m.start(t, append([]string{"serve", "--listen", "127.0.0.1:0", "--dashboard", address}, test.args...)...)
		waitFor(t, 10*time.Second, "serving", func() bool { return strings.Contains(log.String(), "showing the dashboard") })
		for _, path := range []string{"/", "/v1/summary"} {
			resp, err := http.Get("http://" + address + path)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != test.want {
				t.Errorf("%v %s: %s", test.args, path, resp.Status)
			}
		}
	}
}

func TestDashboardFlags(t *testing.T) {
	m := newMachine(t, "")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no port":       {[]string{"--dashboard-tls", "genesis.internal"}, "--dashboard-tls must be host:port"},
		"a URL as name": {[]string{"--dashboard-name", "https://health.example.org/"}, "must be a name alone"},
		"no state":      {[]string{"--dashboard-tls", ":8443", "--state", ""}, "the read token is kept in --state"},
	} {
		if code, _, errs := m.call(t, append([]string{"serve"}, test.args...)...); code != 2 || !strings.Contains(errs, test.want) {
			t.Errorf("%s: %d %s", name, code, errs)
		}
	}
}
