// SPDX-License-Identifier: AGPL-3.0-or-later

package mtls_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

const td = "cloud4.internal"

var (
	web     = spiffe.ID{TrustDomain: td, Role: spiffe.Container, Host: "vm1", Stack: "shop", Service: "web"}
	vm1     = spiffe.ID{TrustDomain: td, Role: spiffe.Host, Host: "vm1"}
	genesis = spiffe.ID{TrustDomain: td, Role: spiffe.Genesis, Name: "config"}
)

// onVM1 is a rule of a server's own.
func onVM1(id spiffe.ID) error {
	if id.Role == spiffe.Container && id.Host == "vm1" {
		return nil
	}
	return errors.New("not a container of vm1")
}

// refusals collects what a server says about those it turned away.
type refusals struct {
	mu   sync.Mutex
	list []mtls.Refusal
}

func (r *refusals) add(x mtls.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, x)
}

func (r *refusals) all() []mtls.Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]mtls.Refusal(nil), r.list...)
}

// waitForWhy waits until a refusal says why.
func (r *refusals) waitForWhy(t *testing.T, why string) mtls.Refusal {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		for _, x := range r.all() {
			if strings.Contains(x.Why, why) {
				return x
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server's log does not say %q: %v", why, r.all())
		}
	}
}

// serve starts a server that answers with the caller's identity and certificate serial; it returns its URL.
func serve(t *testing.T, files *identity.Files, rule mtls.Rule) (string, *refusals) {
	t.Helper()
	log := &refusals{}
	handler := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := mtls.Peer(r)
		fmt.Fprintf(w, "%s %v %s %s", id, err, r.Proto, r.TLS.PeerCertificates[0].SerialNumber)
	}))
	if rule != nil {
		handler = mtls.Require(rule, log.add, handler)
	}
	server := mtls.Server(files, handler, log.add)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serving: %v", err)
		}
	})
	return "https://" + listener.Addr().String(), log
}

func get(t *testing.T, client *http.Client, url string) (int, string, error) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), nil
}

// refused wants a request to fail and the reason to be said, at the first try.
func refused(t *testing.T, c *http.Client, url, says string) {
	t.Helper()
	status, body, err := get(t, c, url)
	if err == nil {
		t.Fatalf("got %d %q, want an error", status, body)
	}
	if words := mtls.Explain(err); !strings.Contains(words, says) {
		t.Fatalf("explained as %q, want %q\n%v", words, says, err)
	}
}

func client(t *testing.T, files *identity.Files, rule mtls.Rule) *http.Client {
	t.Helper()
	c := &http.Client{Transport: mtls.Transport(files, rule), Timeout: 10 * time.Second}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestBothSidesKnowEachOther(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	ca := identitytest.New(t)
	url, _ := serve(t, ca.Files(t, genesis), onVM1)
	status, body, err := get(t, client(t, ca.Files(t, web), mtls.Genesis(td, "config")), url)
	if err != nil {
		t.Fatal(err)
	}
	if want := web.String() + " <nil> HTTP/2.0"; status != 200 || !strings.HasPrefix(body, want) {
		t.Errorf("got %d %q, want 200 %q", status, body, want)
	}
}

// TestStaticTransport talks to servers that need not be ours: the nameless by their DNS name, the named by their role.
func TestStaticTransport(t *testing.T) {
	ca := identitytest.New(t)
	conf := func(template x509.Certificate) *tls.Config {
		path := filepath.Join(ca.DirOf(t, template), "id.pem")
		pair, err := tls.LoadX509KeyPair(path, path)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	other, err := url.Parse("https://example.org/")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		cert x509.Certificate
		says string // "": answers
	}{
		{"no name", x509.Certificate{}, ""},
		{"a URI of another kind", x509.Certificate{URIs: []*url.URL{other}}, ""},
		{"genesis/config", x509.Certificate{URIs: []*url.URL{genesis.URI()}}, ""},
		{"a container", x509.Certificate{URIs: []*url.URL{web.URI()}}, "wrong role: the other side is " + web.String()},
		{"two names", x509.Certificate{URIs: []*url.URL{genesis.URI(), web.URI()}}, "wrong role: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked := make(chan struct{}, 1)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }))
			s.TLS = conf(test.cert)
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.StartTLS()
			defer s.Close()
			c := &http.Client{Transport: mtls.StaticTransport(ca.Files(t, web), mtls.Genesis(td, "config")), Timeout: 10 * time.Second}
			defer c.CloseIdleConnections()
			if test.says != "" {
				refused(t, c, s.URL, test.says)
				if len(asked) > 0 {
					t.Error("the request was sent")
				}
				return
			}
			if _, _, err := get(t, c, s.URL); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRefused is every way in which one side does not let the other in: what the client can say about it, and what
// the server's log says.
func TestRefused(t *testing.T) {
	ca, other := identitytest.New(t), identitytest.New(t)
	now := time.Now()
	uri := func(ids ...spiffe.ID) (out []*url.URL) {
		for _, id := range ids {
			out = append(out, id.URI())
		}
		return out
	}
	toGenesis := mtls.Genesis(td, "config")
	open := func(dir string) *identity.Files { return identity.Open(dir) }
	mixed := ca.Dir(t, web) // ours, but trusts the other authority alone
	if err := identity.SaveRoots(mixed, other.Roots()); err != nil {
		t.Fatal(err)
	}
	stranger := other.Dir(t, web) // the other's, but trusts ours
	if err := identity.SaveRoots(stranger, ca.Roots()); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name           string
		server, client *identity.Files
		rule           mtls.Rule // of the client
		says, log      string
	}{
		{"client of another fleet", ca.Files(t, genesis), open(stranger), toGenesis,
			"its root is not one the server trusts", "not of this fleet's authority"},
		{"expired client", ca.Files(t, genesis), open(ca.DirOf(t, x509.Certificate{URIs: uri(web), NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)})), toGenesis,
			"it has expired there", "the client's certificate has expired"},
		{"client from the future", ca.Files(t, genesis), open(ca.DirOf(t, x509.Certificate{URIs: uri(web), NotBefore: now.Add(time.Hour)})), toGenesis,
			"one of the two clocks is wrong", "not valid yet: one of the two clocks"},
		{"certificate for servers alone", ca.Files(t, genesis), open(ca.DirOf(t, x509.Certificate{URIs: uri(web), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})), toGenesis,
			"who we are is not allowed there", "not meant for clients"},
		{"container playing genesis", open(ca.DirOf(t, x509.Certificate{URIs: uri(web)})), ca.Files(t, web), toGenesis,
			"wrong role: the other side is " + web.String() + ", wanted is genesis/config", "the client did not accept our certificate"},
		{"other genesis server", ca.Files(t, spiffe.ID{TrustDomain: td, Role: spiffe.Genesis, Name: "log"}), ca.Files(t, web), toGenesis,
			"wanted is genesis/config", "the client did not accept"},
		{"other host", ca.Files(t, vm1), ca.Files(t, web), mtls.Host(td, "vm2"), "wanted is host vm2", "the client did not accept"},
		{"server without identity", open(ca.DirOf(t, x509.Certificate{URIs: uri(spiffe.ID{TrustDomain: td, Role: spiffe.Genesis, Name: "config"})})), ca.Files(t, web), mtls.AnyOf(),
			"wanted is anybody (no rule accepts anyone)", "the client did not accept"},
		{"server of another fleet", ca.Files(t, genesis), open(mixed), toGenesis,
			"certificate not trusted: its root is not one of this fleet's", "the client did not accept"},
		{"server under another DNS name", open(ca.DirOf(t, x509.Certificate{URIs: uri(genesis), DNSNames: []string{"genesis.internal"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 2)}})), ca.Files(t, web), toGenesis,
			"the certificate is for genesis.internal, 127.0.0.2, not for 127.0.0.1", "the client did not accept"},
		{"expired server", open(ca.DirOf(t, x509.Certificate{URIs: uri(genesis), NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)})), ca.Files(t, web), toGenesis,
			"the server's certificate expired at", ""},
		{"server from the future", open(ca.DirOf(t, x509.Certificate{URIs: uri(genesis), NotBefore: now.Add(time.Hour)})), ca.Files(t, web), toGenesis,
			"certificate not yet valid: the clock of this machine or of the authority looks wrong", ""},
		{"server not enrolled", identity.Open(t.TempDir()), ca.Files(t, web), toGenesis,
			"the server has trouble of its own", "no certificate of our own yet"},
		{"client not enrolled", ca.Files(t, genesis), identity.Open(t.TempDir()), toGenesis,
			"this machine has no certificate yet", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			url, log := serve(t, test.server, nil)
			refused(t, client(t, test.client, test.rule), url, test.says)
			if test.log != "" {
				if got := log.waitForWhy(t, test.log); got.What != "TLS handshake" || got.Remote == "" {
					t.Errorf("logged as %+v", got)
				}
			}
		})
	}
}

// TestRefusedRaw has clients that our own transport could not be.
func TestRefusedRaw(t *testing.T) {
	ca := identitytest.New(t)
	serverURL, log := serve(t, ca.Files(t, genesis), nil)
	pair := func(template x509.Certificate) []tls.Certificate {
		file := filepath.Join(ca.DirOf(t, template), "id.pem")
		cert, err := tls.LoadX509KeyPair(file, file)
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{cert}
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.Roots()[0])
	tests := []struct {
		name      string
		conf      *tls.Config
		says, log string
	}{
		{"no certificate", &tls.Config{}, "it got none", "no client certificate"},
		{"two names", &tls.Config{Certificates: pair(x509.Certificate{URIs: []*url.URL{web.URI(), vm1.URI()}})}, "who we are is not allowed there", "exactly one URI name, holds 2"},
		{"no name", &tls.Config{Certificates: pair(x509.Certificate{DNSNames: []string{"web.shop.vm1.internal"}})}, "who we are is not allowed there", "exactly one URI name, holds 0"},
		{"a name not ours", &tls.Config{Certificates: pair(x509.Certificate{URIs: []*url.URL{{Scheme: "https", Host: "x"}}})}, "who we are is not allowed there", "must start with spiffe://"},
		{"TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12}, "does not speak TLS 1.3", "the client does not speak TLS 1.3"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.conf.RootCAs = roots
			tr := &http.Transport{TLSClientConfig: test.conf}
			defer tr.CloseIdleConnections()
			// A transport that is not ours may write before it reads, and then it sees a connection that was cut.
			_, _, err := get(t, &http.Client{Transport: tr, Timeout: 5 * time.Second}, serverURL)
			if err == nil {
				t.Fatal("was let in")
			}
			if words := mtls.Explain(err); !strings.Contains(words, test.says) && !strings.Contains(words, "the connection was cut") {
				t.Errorf("explained as %q, want %q\n%v", words, test.says, err)
			}
			log.waitForWhy(t, test.log)
		})
	}
	t.Run("plain HTTP", func(t *testing.T) {
		resp, err := http.Get(strings.Replace(serverURL, "https", "http", 1))
		if err == nil {
			resp.Body.Close()
		}
		log.waitForWhy(t, "does not speak TLS")
	})
}

func TestRequireSaysWhy(t *testing.T) {
	ca := identitytest.New(t)
	url, log := serve(t, ca.Files(t, genesis), mtls.AnyOf(mtls.Host(td, "vm2"), mtls.Operator(td, "")))
	status, body, err := get(t, client(t, ca.Files(t, web), nil), url+"/v1/x")
	if err != nil {
		t.Fatal(err)
	}
	want := web.String() + " is not host vm2 or an operator of cloud4.internal\n"
	if status != http.StatusForbidden || body != want {
		t.Errorf("got %d %q, want 403 %q", status, body, want)
	}
	got := log.waitForWhy(t, "is not host vm2")
	if got.Who != web.String() || got.What != "GET /v1/x" || got.Remote == "" {
		t.Errorf("logged as %+v", got)
	}
}

func waitFor(t *testing.T, limit time.Duration, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s", limit)
		}
	}
}
