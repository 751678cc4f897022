// SPDX-License-Identifier: AGPL-3.0-or-later

package serve_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

func TestAccess(t *testing.T) {
	s := newServer(t, shop())
	web := s.container("vm1", "shop", "web", "")
	digest := strings.TrimPrefix(s.client(web).pointer("web.shop.vm1").Digest, bundle.DigestPrefix)
	tests := []struct {
		name   string
		who    spiffe.ID
		method string // GET
		path   string
		body   string
		status int
		says   string
	}{
		{name: "own bundle", who: web, path: "/v1/bundles/web.shop.vm1/current", status: 200},
		{name: "a replica shares it", who: s.container("vm1", "shop", "web", "3"), path: "/v1/bundles/web.shop.vm1/current", status: 200},
		{name: "own blob", who: web, path: "/v1/bundles/web.shop.vm1/blobs/sha256/" + digest, status: 200},
		{
			name: "another service's", who: web, path: "/v1/bundles/db.shop.vm1/current", status: 403,
			says: "spiffe://cloud4.internal/host/vm1/stack/shop/service/web may not read the bundle of db.shop.vm1: a container reads its own only, /v1/bundles/web.shop.vm1/current",
		},
		{
			name: "the same service's on another host", who: web, path: "/v1/bundles/web.shop.vm2/blobs/sha256/" + digest, status: 403,
			says: "may not read the bundle of web.shop.vm2",
		},
		{
			name: "a host asks for a container's", who: s.id(spiffe.ForHost(td, "vm1")), path: "/v1/bundles/web.shop.vm1/current", status: 403,
			says: "spiffe://cloud4.internal/host/vm1 may not read the bundle of web.shop.vm1: bundles are for containers, this is the certificate of a host",
		},
		{
			name: "genesis asks for a container's", who: s.id(spiffe.ForGenesis(td, "config")), path: "/v1/bundles/web.shop.vm1/current", status: 403,
			says: "this is the certificate of a genesis server",
		},
		{
			name: "an operator asks for a container's", who: s.id(spiffe.ForOperator(td, "desk")), path: "/v1/bundles/web.shop.vm1/current", status: 403,
			says: "this is the certificate of an operator",
		},
		{
			name: "not placed on the host", who: s.container("vm2", "shop", "db", ""), path: "/v1/bundles/db.shop.vm2/current", status: 403,
			says: `db.shop.vm2 is not placed on the host vm2: add the service in hosts/vm2/host.json: {"stacks": {"shop": {"services": ["db","web"]}}}`,
		},
		{
			name: "host unknown", who: s.container("vm9", "shop", "web", ""), path: "/v1/bundles/web.shop.vm9/current", status: 403,
			says: `web.shop.vm9 is not placed on the host vm9: make the file hosts/vm9/host.json: {"stacks": {"shop": {"services": ["web"]}}}`,
		},
		{
			name: "other trust domain", who: s.id(spiffe.ForContainer("other.internal", "vm1", "shop", "web", "")), path: "/v1/bundles/web.shop.vm1/current", status: 403,
			says: `this certificate is of the trust domain "other.internal", this server of "cloud4.internal"`,
		},
		{
			name: "a blob that is not one's own", who: web, path: "/v1/bundles/web.shop.vm1/blobs/sha256/" + strings.Repeat("0", 64), status: 404,
			says: "is not the bundle of web.shop.vm1 now, nor the one before: ask for /v1/bundles/web.shop.vm1/current again",
		},
		{name: "no such path", who: web, path: "/v2/x", status: 404, says: "there is GET /v1/bundles/<id>/current"},
		{name: "fleet for an operator", who: s.id(spiffe.ForOperator(td, "desk")), path: "/v1/fleet", status: 200},
		{name: "fleet for genesis", who: s.id(spiffe.ForGenesis(td, "health")), path: "/v1/fleet", status: 200},
		{
			name: "fleet for a container", who: web, path: "/v1/fleet", status: 403,
			says: "the fleet is shown to operators and genesis servers, this is the certificate of a container",
		},
		{name: "metrics for an operator", who: s.id(spiffe.ForOperator(td, "desk")), path: "/metrics", status: 200, says: "# EOF"},
		{name: "metrics for the health server", who: s.id(spiffe.ForGenesis(td, "health")), path: "/metrics", status: 200, says: "# EOF"},
		{
			name: "metrics for a container", who: web, path: "/metrics", status: 403,
			says: "metrics are for operators and genesis/health, this is the certificate of a container",
		},
		{
			name: "metrics for another genesis server", who: s.id(spiffe.ForGenesis(td, "log")), path: "/metrics", status: 403,
			says: "metrics are for operators and genesis/health",
		},
		{
			name: "a host reports", who: s.id(spiffe.ForHost(td, "vm1")), method: "POST", path: "/v1/applied", body: "{}", status: 403,
			says: "containers report what they applied, this is the certificate of a host",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.method == "" {
				test.method = http.MethodGet
			}
			a, err := s.client(test.who).ask(test.method, test.path, nil, test.body)
			if err != nil {
				t.Fatal(err)
			}
			if a.status != test.status || !strings.Contains(a.body, test.says) {
				t.Errorf("got %d %q\nwant %d %q", a.status, a.body, test.status, test.says)
			}
			verdict := "allowed"
			if test.status >= 400 {
				verdict = "refused"
			}
			s.log.wait(t, `"peer":"`+test.who.String()+`"`, `"path":"`+test.path+`"`, `"verdict":"`+verdict+`"`)
		})
	}
}

func TestHandshakesRefused(t *testing.T) {
	s := newServer(t, shop())
	web := s.container("vm1", "shop", "web", "")
	roots := x509.NewCertPool()
	for _, root := range s.ca.Roots() {
		roots.AddCert(root)
	}
	expired := identity.Open(s.ca.DirOf(t, x509.Certificate{
		URIs: []*url.URL{web.URI()}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
	}))
	expiredConfig, err := mtls.ClientConfig(expired, nil)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		conf   *tls.Config
		logged string
	}{
		{"no certificate", &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}, "no client certificate"},
		{"expired", expiredConfig, "certificate has expired"},
		{"TLS 1.2", &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}, "unsupported versions"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if a, err := s.clientWith(test.conf).ask(http.MethodGet, "/v1/bundles/web.shop.vm1/current", nil, ""); err == nil {
				t.Errorf("was answered: %d %s", a.status, a.body)
			}
			s.log.wait(t, test.logged, `"verdict":"refused"`, `"address":"127.0.0.1:`)
		})
	}
}

func TestBundleAndETag(t *testing.T) {
	s := newServer(t, shop())
	c := s.client(s.container("vm1", "shop", "web", ""))
	before := time.Now()
	first := c.pointer("web.shop.vm1")
	if diff := cmp.Diff(map[string]any{"page": "first"}, c.data("web.shop.vm1", first)); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
	if low := uint64(before.Add(-time.Minute).UnixMilli()); first.Serial < low {
		t.Errorf("serial %d is not a time in ms", first.Serial)
	}
	a := c.get("/v1/bundles/web.shop.vm1/current")
	etag := a.header.Get("ETag")
	for _, tag := range []string{etag, "W/" + etag, `"other", ` + etag, "*"} {
		same, err := c.ask(http.MethodGet, "/v1/bundles/web.shop.vm1/current", map[string]string{"If-None-Match": tag}, "")
		if err != nil || same.status != http.StatusNotModified || same.header.Get("ETag") != etag {
			t.Errorf("If-None-Match: %s: %d %v %v", tag, same.status, same.header, err)
		}
	}

	// A change of another service is none for this one; a change of this one leaves the old bundle readable once.
	s.put("services/db/data/db.json", `{"db": 2}`)
	s.log.wait(t, `"changed":1`)
	if again := c.pointer("web.shop.vm1"); again.Serial != first.Serial {
		t.Errorf("serial went from %d to %d though nothing changed for web", first.Serial, again.Serial)
	}
	s.put("services/web/data/web.json", `{"page": "second"}`)
	s.log.wait(t, `"changed":2`) // on both hosts
	second := c.pointer("web.shop.vm1")
	if second.Serial <= first.Serial || second.Revision == first.Revision {
		t.Errorf("pointer went from %+v to %+v", first, second)
	}
	c.data("web.shop.vm1", first)
	if diff := cmp.Diff(map[string]any{"page": "second"}, c.data("web.shop.vm1", second)); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}

	// Back to the old content: an old digest, a new serial.
	s.put("services/web/data/web.json", `{"page": "first"}`)
	waitFor(t, 3*time.Second, func() bool { return c.pointer("web.shop.vm1").Serial > second.Serial }, func() string { return "the way back was not published" })
	if third := c.pointer("web.shop.vm1"); third.Digest != first.Digest {
		t.Errorf("digest %s, want %s as at first", third.Digest, first.Digest)
	}
}

func TestLongPoll(t *testing.T) {
	t.Run("HTTP/1.1", func(t *testing.T) { testLongPoll(t, func(c *client) *client { return c }) })
	t.Run("HTTP/2", func(t *testing.T) { testLongPoll(t, (*client).onlyHTTP2) })
}

func testLongPoll(t *testing.T, over func(*client) *client) {
	s := newServer(t, shop())
	c := over(s.client(s.container("vm1", "shop", "web", "")))
	etag := c.get("/v1/bundles/web.shop.vm1/current").header.Get("ETag")
	poll := func(tag, prefer string) (answer, time.Duration) {
		began := time.Now()
		a, err := c.ask(http.MethodGet, "/v1/bundles/web.shop.vm1/current", map[string]string{"If-None-Match": tag, "Prefer": prefer}, "")
		if err != nil {
			t.Error(err)
		}
		return a, time.Since(began)
	}

	t.Run("nothing changes", func(t *testing.T) {
		a, took := poll(etag, "respond-async, wait=1")
		if a.status != http.StatusNotModified || took < time.Second || a.header.Get("Preference-Applied") != "wait=1" {
			t.Errorf("%d after %v, %v", a.status, took, a.header)
		}
	})
	t.Run("bounded", func(t *testing.T) {
		if a, _ := poll(`"another"`, "wait=86400"); a.status != http.StatusOK || a.header.Get("Preference-Applied") != "wait=50" {
			t.Errorf("%d, %v", a.status, a.header)
		}
	})
	t.Run("no preference", func(t *testing.T) {
		if a, took := poll(etag, "wait=soon"); a.status != http.StatusNotModified || a.header.Get("Preference-Applied") != "" || took > 10*time.Second {
			t.Errorf("%d after %v, %v", a.status, took, a.header)
		}
	})
	t.Run("a change", func(t *testing.T) {
		answered := make(chan answer, 1)
		go func() { a, _ := poll(etag, "wait=20"); answered <- a }()
		// The request is under way: nothing tells the moment, and an early write would be answered as fast.
		time.Sleep(50 * time.Millisecond)
		s.put("services/web/data/web.json", `{"page": "second"}`)
		written := time.Now()
		a := <-answered
		took := time.Since(written)
		if p := pointerIn(t, a); c.data("web.shop.vm1", p)["page"] != "second" {
			t.Error("answered with the old version")
		}
		if took > 10*time.Second {
			t.Errorf("seen %v after the write", took)
		}
		t.Logf("seen %v after the write", took)
	})
	t.Run("taken from the host", func(t *testing.T) {
		etag := c.get("/v1/bundles/web.shop.vm1/current").header.Get("ETag")
		answered := make(chan answer, 1)
		go func() { a, _ := poll(etag, "wait=20"); answered <- a }()
		time.Sleep(50 * time.Millisecond)
		s.put("hosts/vm1/host.json", `{"stacks": {"shop": {"services": ["db"]}}}`)
		if a := <-answered; a.status != http.StatusForbidden || !strings.Contains(a.body, "web.shop.vm1 is not placed") {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("the server stops", func(t *testing.T) {
		c := over(s.client(s.container("vm2", "shop", "web", "")))
		etag := c.get("/v1/bundles/web.shop.vm2/current").header.Get("ETag")
		answered := make(chan answer, 1)
		go func() {
			a, _ := c.ask(http.MethodGet, "/v1/bundles/web.shop.vm2/current", map[string]string{"If-None-Match": etag, "Prefer": "wait=20"}, "")
			answered <- a
		}()
		time.Sleep(50 * time.Millisecond)
		began := time.Now()
		s.stop()
		// It would have waited for 20 s. net/http gives an HTTP/2 connection a second to hear that it ends.
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("stopping took %v", took)
		}
		if a := <-answered; a.status != http.StatusNotModified {
			t.Errorf("the waiting request got %d", a.status)
		}
	})
}

func TestBrokenTreeKeepsLastGood(t *testing.T) {
	s := newServer(t, shop())
	c := s.client(s.container("vm1", "shop", "web", ""))
	first := c.pointer("web.shop.vm1")

	s.put("services/db/data/db.json", "{\n  \"db\": 2,\n  \"port\" 5432\n}")
	s.put("services/web/data/web.json", `{"page": "second"}`)
	s.log.wait(t, `"level":"error"`, "the tree is broken: services/db/data/db.json:3: column 10: ")
	s.log.wait(t, "what was published before stays")
	if now := c.pointer("web.shop.vm1"); now.Serial != first.Serial {
		t.Errorf("serial %d of a broken tree is served, was %d", now.Serial, first.Serial)
	}
	if got := s.fleet(t).Tree.Problems; len(got) != 1 || !strings.HasPrefix(got[0], "services/db/data/db.json:3: ") {
		t.Errorf("the fleet says of the tree: %q", got)
	}

	t.Run("also across a restart", func(t *testing.T) {
		s.stop()
		s.start()
		c := s.client(s.container("vm1", "shop", "web", ""))
		now := c.pointer("web.shop.vm1")
		if diff := cmp.Diff(first, now); diff != "" {
			t.Errorf("pointer (-before +after):\n%s", diff)
		}
		if got := c.data("web.shop.vm1", now)["page"]; got != "first" {
			t.Errorf("page = %v", got)
		}
		a := s.client(s.container("vm2", "shop", "db", "")).get("/v1/bundles/db.shop.vm2/current")
		if a.status != http.StatusForbidden || !strings.Contains(a.body, "a new placement has no effect yet") {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("mended", func(t *testing.T) {
		s.put("services/db/data/db.json", `{"db": 2}`)
		c := s.client(s.container("vm1", "shop", "web", ""))
		waitFor(t, 3*time.Second, func() bool { return c.pointer("web.shop.vm1").Serial > first.Serial }, func() string { return "the mended tree was not published" })
		if got := s.fleet(t).Tree.Problems; len(got) != 0 {
			t.Errorf("problems: %q", got)
		}
	})
}

// A root that is not mounted, while serving or at a start, takes nobody's configuration; a tree that places none does.
func TestEmptiedTreeKeepsLastGood(t *testing.T) {
	s := newServer(t, shop())
	c := s.client(s.container("vm1", "shop", "web", ""))
	first := c.pointer("web.shop.vm1")
	if err := errors.Join(os.Rename(s.root, s.root+".away"), os.Mkdir(s.root, 0o755)); err != nil {
		t.Fatal(err)
	}
	s.log.wait(t, "the tree is broken: it is empty, and placed containers before")
	s.stop()
	s.start()
	c = s.client(s.container("vm1", "shop", "web", ""))
	if diff := cmp.Diff(first, c.pointer("web.shop.vm1")); diff != "" {
		t.Errorf("pointer (-before +after):\n%s", diff)
	}
	s.put("hosts/vm1/host.json", "{}")
	waitFor(t, 10*time.Second, func() bool { return c.get("/v1/bundles/web.shop.vm1/current").status == http.StatusForbidden }, s.log.String)
}

func TestNothingEverPublished(t *testing.T) {
	s := newServer(t, map[string]string{"odd": ""})
	a := s.client(s.container("vm1", "shop", "web", "")).get("/v1/bundles/web.shop.vm1/current")
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
}

func (s *server) fleet(t *testing.T) (fleet serve.Fleet) {
	t.Helper()
	a := s.client(s.id(spiffe.ForOperator(td, "desk"))).get("/v1/fleet")
	if err := json.Unmarshal([]byte(a.body), &fleet); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return fleet
}
