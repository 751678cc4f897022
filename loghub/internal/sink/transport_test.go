// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

// serve runs an engine behind mutual TLS until the test ends.
func serve(t *testing.T, files *identity.Files, e *engine) (url string) {
	t.Helper()
	srv := mtls.Server(files, e, func(mtls.Refusal) {})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(ln, "", "") }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return "https://" + ln.Addr().String()
}

// TestFreshContainer: what waits is sent as soon as the identity is there, and
// that it was not is no trouble.
func TestFreshContainer(t *testing.T) {
	ca := identitytest.New(t)
	genesis, err := spiffe.ForGenesis("cloud4.internal", "log")
	if err != nil {
		t.Fatal(err)
	}
	web, err := spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", "")
	if err != nil {
		t.Fatal(err)
	}
	e, dir := &engine{}, t.TempDir()
	r := newRig(t, serve(t, ca.Files(t, genesis), e), identity.Open(dir), 1)
	r.run(t)
	waitFor(t, 5*time.Second, "try without identity", func() bool { return !r.State().OK })
	ca.Issue(t, web, dir)
	issued := time.Now()
	waitFor(t, 10*time.Second, "record", func() bool { return len(e.texts()) == 1 })
	if d := time.Since(issued); d > 1200*time.Millisecond {
		t.Errorf("sent %s after the identity came", d)
	}
	if log := r.log.String(); strings.Contains(log, "wait in the spool") {
		t.Errorf("an enrolment is told as trouble: %s", log)
	}
}

// TestServerRole: a genuine certificate of the fleet with the right name, but of
// somebody else, gets nothing.
func TestServerRole(t *testing.T) {
	ca := identitytest.New(t)
	must := func(id spiffe.ID, err error) spiffe.ID {
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	stranger := ca.Dir(t, must(spiffe.ForGenesis("cloud4.internal", "log")))
	if err := identity.SaveRoots(stranger, identitytest.New(t).Roots()); err != nil {
		t.Fatal(err)
	}
	other := identity.Open(stranger)
	own := ca.Files(t, must(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", "")))
	tests := []struct {
		name  string
		files *identity.Files
		says  string // "": takes logs
	}{
		{"genesis log", ca.Files(t, must(spiffe.ForGenesis("cloud4.internal", "log"))), ""},
		{"genesis config", ca.Files(t, must(spiffe.ForGenesis("cloud4.internal", "config"))), "wrong role: the other side is spiffe://cloud4.internal/genesis/config, wanted is genesis/log"},
		{"a container", ca.Files(t, must(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "evil", ""))), "wrong role"},
		{"one who does not know us", other, "the server refused our certificate: its root is not one the server trusts"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := &engine{}
			r := newRig(t, serve(t, tt.files, e), own, 1)
			r.run(t)
			if tt.says == "" {
				waitFor(t, 10*time.Second, "record", func() bool { return len(e.texts()) == 1 })
				return
			}
			waitFor(t, 10*time.Second, "refusal", func() bool { return strings.Contains(r.log.String(), tt.says) })
			if e.texts() != nil {
				t.Error("records went to the wrong server")
			}
		})
	}
}

// TestFilesTransport: an address from OTEL_EXPORTER_OTLP_* may be anybody's, but no container passes for genesis by it.
func TestFilesTransport(t *testing.T) {
	ca := identitytest.New(t)
	name := func(id spiffe.ID, err error) spiffe.ID {
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	own := ca.Dir(t, name(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", "")))
	nobody := t.TempDir()
	id, roots := own+"/id.pem", own+"/roots.pem"
	tests := []struct {
		name   string
		server spiffe.ID
		dir    string // of the identity
		files  TLSFiles
		says   string // "": takes logs
	}{
		{"by the identity", name(spiffe.ForGenesis("cloud4.internal", "log")), own, TLSFiles{}, ""},
		{"a container, by the identity", name(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "evil", "")), own, TLSFiles{}, "wrong role"},
		{"by files alone", name(spiffe.ForGenesis("cloud4.internal", "log")), nobody, TLSFiles{CA: roots, Cert: id, Key: id}, ""},
		{"whom the named roots trust", name(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "collector", "")), own, TLSFiles{CA: roots}, ""},
		{"roots that are none", name(spiffe.ForGenesis("cloud4.internal", "log")), own, TLSFiles{CA: "/dev/null"}, "holds no certificate"},
		{"nothing at all", name(spiffe.ForGenesis("cloud4.internal", "log")), nobody, TLSFiles{}, "certificate not trusted"},
		{"half", name(spiffe.ForGenesis("cloud4.internal", "log")), nobody, TLSFiles{CA: roots, Cert: roots, Key: id}, "client certificate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := &engine{}
			r := newRig(t, serve(t, ca.Files(t, tt.server), e), nil, 1)
			r.client.HTTPClient.Transport = &filesTransport{paths: tt.files, identity: identity.Open(tt.dir)}
			r.run(t)
			if tt.says == "" {
				waitFor(t, 60*time.Second, "record", func() bool { return len(e.texts()) == 1 })
				return
			}
			waitFor(t, 60*time.Second, "refusal", func() bool { return strings.Contains(r.log.String(), tt.says) })
			if e.texts() != nil {
				t.Error("records went to the wrong server")
			}
		})
	}
}

func TestCheckURL(t *testing.T) {
	tests := []struct {
		url    string
		unsafe bool
		ok     bool
	}{
		{"https://genesis.internal:4318", false, true},
		{"http://127.0.0.1:4318", false, true}, {"http://[::1]:4318/x", false, true}, {"http://localhost", false, true},
		{"http://genesis.internal:4318", false, false}, {"http://genesis.internal:4318", true, true},
		{"genesis.internal:4318", false, false}, {"ftp://x", false, false}, {"https://u:p@x", false, false}, {"https://x/?a=1", false, false}, {"https://", false, false},
	}
	for _, tt := range tests {
		if err := CheckURL(tt.url, tt.unsafe); (err == nil) != tt.ok {
			t.Errorf("%s (unsafe %v): %v", tt.url, tt.unsafe, err)
		}
	}
}
