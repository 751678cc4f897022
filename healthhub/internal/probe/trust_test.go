// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

func container(t testing.TB, service string) spiffe.ID {
	t.Helper()
	id, err := spiffe.ForContainer("cloud4.internal", "vm1", "shop", service, "")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// secure starts a web server with TLS that says who came.
func secure(t testing.TB, conf *tls.Config) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			w.Header().Set("X-Serial", r.TLS.PeerCertificates[0].SerialNumber.String())
			io.WriteString(w, r.TLS.PeerCertificates[0].URIs[0].String())
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = conf
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// serverConfig is the TLS side of a server with the certificate in dir.
func serverConfig(t testing.TB, dir string, clients *x509.CertPool) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "id.pem"), filepath.Join(dir, "id.pem"))
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: clients}
	if clients != nil {
		conf.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return conf
}

// TestIdentity looks at a server of the fleet, which wants to know who looks, with an identity that is renewed meanwhile.
func TestIdentity(t *testing.T) {
	ca := identitytest.New(t)
	server := secure(t, mtls.ServerConfig(ca.Files(t, container(t, "web"))))
	dir := ca.Dir(t, container(t, "probe"))
	files := identity.Open(dir)
	check := setting.Check{Kind: setting.KindHTTP, URL: server.URL, Identity: true, Body: "^spiffe://cloud4.internal/host/vm1/stack/shop/service/probe$"}
	serial := func() string {
		cert, err := files.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.SerialNumber.String()
	}
	check.Header = map[string]string{"X-Serial": "."}
	f, err := New(check, Place{Files: files})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, f(t.Context()), health.Pass, "200 OK")
	before := serial()
	ca.Issue(t, container(t, "probe"), dir)
	if err := files.Reload(); err != nil {
		t.Fatal(err)
	}
	if serial() == before {
		t.Fatal("the identity was not renewed")
	}
	check.Header = map[string]string{"X-Serial": "^" + serial() + "$"}
	renewed := check
	expect(t, f(t.Context()), health.Pass, "200 OK") // the old look, the new identity
	if f, err = New(renewed, Place{Files: files}); err != nil {
		t.Fatal(err)
	}
	expect(t, f(t.Context()), health.Pass, "200 OK")

	check.ServerName = "web.shop.vm1.internal"
	expect(t, lookAt(t, check, Place{Files: files}), health.Pass, "200 OK")
	check.ServerName = "db.shop.vm1.internal"
	expect(t, lookAt(t, check, Place{Files: files}), health.Fail, "not for db.shop.vm1.internal")
}

func lookAt(t *testing.T, check setting.Check, place Place) Result {
	t.Helper()
	f, err := New(check, place)
	if err != nil {
		t.Fatal(err)
	}
	return f(t.Context())
}

func TestIdentityRefused(t *testing.T) {
	ca, stranger := identitytest.New(t), identitytest.New(t)
	ours := Place{Files: ca.Files(t, container(t, "probe"))}
	otherFleet, err := spiffe.ForContainer("other.internal", "vm1", "shop", "web", "")
	if err != nil {
		t.Fatal(err)
	}
	roots := func(ca *identitytest.CA) *x509.CertPool {
		pool := x509.NewCertPool()
		pool.AddCert(ca.Roots()[0])
		return pool
	}
	old := serverConfig(t, ca.Dir(t, container(t, "web")), roots(ca))
	old.MaxVersion = tls.VersionTLS12
	foreign := serverConfig(t, ca.DirOf(t, x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}), roots(ca))
	foreign.MaxVersion = tls.VersionTLS12
	ancient := foreign.Clone()
	ancient.MinVersion, ancient.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	for name, test := range map[string]struct {
		conf  *tls.Config
		place Place
		state health.State
		text  string
	}{
		"no identity here":           {mtls.ServerConfig(ca.Files(t, container(t, "web"))), Place{Files: identity.Open(t.TempDir())}, health.Unknown, "no certificate yet"},
		"no files here":              {mtls.ServerConfig(ca.Files(t, container(t, "web"))), Place{}, health.Unknown, "no certificate yet"},
		"server of another root":     {serverConfig(t, stranger.Dir(t, container(t, "web")), nil), ours, health.Fail, "not trusted"},
		"server trusts another root": {serverConfig(t, ca.Dir(t, container(t, "web")), roots(stranger)), ours, health.Fail, "the server refuses: "},
		"server of another fleet":    {serverConfig(t, ca.Dir(t, otherFleet), roots(ca)), ours, health.Fail, "not of the fleet cloud4.internal"},
		"ours with TLS 1.2":          {old, ours, health.Fail, "servers of the fleet speak TLS 1.3"},
		"foreign with TLS 1.2":       {foreign, ours, health.Pass, ""},
		"foreign with TLS 1.1":       {ancient, ours, health.Fail, "protocol version"},
	} {
		t.Run(name, func(t *testing.T) {
			server := secure(t, test.conf)
			u, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			for _, check := range []setting.Check{
				{Kind: setting.KindHTTP, URL: server.URL, Identity: true},
				{Kind: setting.KindTCP, Address: u.Host, TLS: true, Identity: true},
			} {
				got := lookAt(t, check, test.place)
				expect(t, got, test.state, test.text)
				if (got.State == health.Pass) != (got.Action == "") {
					t.Errorf("%s: action %q", check.Kind, got.Action)
				}
			}
		})
	}
}

// TestTLS shakes hands with what is no web server.
func TestTLS(t *testing.T) {
	ca := identitytest.New(t)
	place := Place{Files: ca.Files(t, container(t, "probe"))}
	server := secure(t, serverConfig(t, ca.Dir(t, container(t, "web")), nil))
	check := setting.Check{Kind: setting.KindTCP, Address: strings.TrimPrefix(server.URL, "https://"), TLS: true, CA: setting.CAFleet}
	got := lookAt(t, check, place)
	expect(t, got, health.Pass, "answers in")
	acceptable(t, got)
	if left := measured(t, got, "cert_left"); left.Value < 23*3600 || left.Value > 24*3600+1 {
		t.Errorf("cert_left %+v", left)
	}
	check.Address = speak(t, "220 no TLS here\r\n")
	expect(t, lookAt(t, check, place), health.Fail, "does not speak TLS")
	check.Address = listen(t, "tcp", "127.0.0.1:0", func(conn net.Conn) { io.Copy(io.Discard, conn) })
	f, err := New(check, place)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	expect(t, f(ctx), health.Fail, "no TLS handshake in time")
}
