// SPDX-License-Identifier: AGPL-3.0-or-later

package enrol_test

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
)

// TestRenewalUnderWay renews certificates of 8 s on both sides of a connection that is in use all the time.
func TestRenewalUnderWay(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t, identitytest.Lifetime(8*time.Second))
	settings := ca.Settings(genesis)
	server, client := newMachine(t), newMachine(t)
	// The server is reached by its address, which an enrolment would not put into the certificate.
	ca.Issue(t, genesis, server.dir)
	serverKeeper, _ := server.start(t, settings, 0, with())
	clientKeeper, _ := client.start(t, ca.Settings(web), 0, with(ca.Token(t, web)))
	ready(t, serverKeeper)
	ready(t, clientKeeper)
	keys := []string{server.key(t), client.key(t)}

	var seen sync.Map // serial of the client → true
	srv := mtls.Server(identity.Open(server.dir), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.TLS.PeerCertificates[0].SerialNumber.String(), true)
	}), func(r mtls.Refusal) { t.Errorf("refused: %+v", r) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.ServeTLS(listener, "", "") }()
	defer func() { srv.Close(); <-served }()

	c := &http.Client{Transport: mtls.Transport(identity.Open(client.dir), mtls.Genesis(td, "config")), Timeout: 5 * time.Second}
	defer c.CloseIdleConnections()
	serverSerials, requests := map[string]bool{}, 0
	deadline := time.Now().Add(30 * time.Second)
	count := func() (n int) { seen.Range(func(any, any) bool { n++; return true }); return n }
	for count() < 3 || len(serverSerials) < 3 {
		if time.Now().After(deadline) {
			t.Fatalf("client serials %d, server serials %d after 30 s", count(), len(serverSerials))
		}
		resp, err := c.Get("https://" + listener.Addr().String())
		if err != nil {
			t.Fatalf("request %d: %v", requests, err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("request %d: %s", requests, resp.Status)
		}
		serverSerials[resp.TLS.PeerCertificates[0].SerialNumber.String()] = true
		requests++
		time.Sleep(5 * time.Millisecond) // a busy client, not a load test
	}
	t.Logf("%d requests, none failed", requests)
	if diff := cmp.Diff(keys, []string{server.key(t), client.key(t)}); diff != "" {
		t.Errorf("keys after renewals (-want +got):\n%s", diff)
	}
}

func TestExpiredThenRenewedByToken(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t, identitytest.Lifetime(2*time.Second), identitytest.Backdate(2*time.Minute))
	m := newMachine(t)
	k, _ := m.start(t, ca.Settings(web), 0, with(ca.Token(t, web)))
	ready(t, k)
	key, serial := m.key(t), k.State().Serial
	ca.Stop()
	waitFor(t, 10*time.Second, "expired", func() bool { return k.State().State == identity.StateExpired })
	if got := k.State().Error; !strings.Contains(got, "connection refused") {
		t.Errorf("said %q, want the connection refused", got)
	}
	ca.Start(t)
	waitFor(t, 20*time.Second, "valid again", func() bool { return k.State().State == identity.StateValid })
	if k.State().Serial == serial {
		t.Error("the certificate is the old one")
	}
	if m.key(t) != key {
		t.Error("the key changed")
	}
}

// TestRenamed gives a machine another name: the old identity is kept aside, the new name needs a token.
func TestRenamed(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	m := newMachine(t)
	k, stop := m.start(t, ca.Settings(web), 0, with(ca.Token(t, web)))
	ready(t, k)
	key := m.key(t)
	stop()
	moved := web
	moved.Host = "vm2"
	source := with("spent")
	k, _ = m.start(t, ca.Settings(moved), 0, source)
	waitFor(t, 5*time.Second, "trouble said", func() bool { return k.State().Error != "" })
	if log := m.log.String(); !strings.Contains(log, "it belongs to "+web.String()+", the settings say "+moved.String()) {
		t.Errorf("the log does not tell of the old name:\n%s", log)
	}
	source.set(ca.Token(t, moved))
	ready(t, k)
	if got := k.State(); got.ID != moved.String() || got.State != identity.StateValid {
		t.Errorf("state %+v", got)
	}
	if m.key(t) == key {
		t.Error("the new name has the old key")
	}
	kept, err := filepath.Glob(filepath.Join(m.dir, "old-*", "id.pem"))
	if err != nil || len(kept) != 1 {
		t.Errorf("kept aside: %v, %v; want one", kept, err)
	}
}

// TestNewAuthority rebuilds the fleet's authority while the machine keeps its volume.
func TestNewAuthority(t *testing.T) {
	t.Parallel()
	old, ca := identitytest.New(t), identitytest.New(t)
	m := newMachine(t)
	k, stop := m.start(t, old.Settings(web), 0, with(old.Token(t, web)))
	ready(t, k)
	stop()
	k, _ = m.start(t, ca.Settings(web), 0, with(ca.Token(t, web)))
	waitFor(t, 10*time.Second, "an identity of the new authority", func() bool {
		roots, err := identity.Open(m.dir).RootCertificates()
		return err == nil && len(roots) == 1 && roots[0].Equal(ca.Roots()[0]) && k.State().State == identity.StateValid
	})
	if log := m.log.String(); !strings.Contains(log, "it is of another authority") {
		t.Errorf("the log does not tell:\n%s", log)
	}
}

func TestFrozen(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t, identitytest.Lifetime(7*time.Second), identitytest.Backdate(2*time.Minute))
	m := newMachine(t)
	k, _ := m.start(t, ca.Settings(web), 0, with(ca.Token(t, web)))
	ready(t, k)
	ca.RemoveProvisioner(t)
	waitFor(t, 10*time.Second, "trouble said", func() bool { return k.State().Error != "" })
	want := "renewing: the authority refuses: 401 Unauthorized: its provisioner was removed, or renewals are refused there; the authority's log says more"
	if diff := cmp.Diff(want, k.State().Error); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	waitFor(t, 15*time.Second, "expired", func() bool { return k.State().State == identity.StateExpired })
	// It is tried again after minutes, not at once: an authority that would renew now is not asked.
	ca.RestoreProvisioner(t)
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if k.State().State != identity.StateExpired {
			t.Fatalf("asked again within seconds: %+v", k.State())
		}
	}
}

func TestFrozenThenNewToken(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t, identitytest.Lifetime(2*time.Second), identitytest.Backdate(2*time.Minute))
	m := newMachine(t)
	source := with(ca.Token(t, web))
	k, _ := m.start(t, ca.Settings(web), 0, source)
	ready(t, k)
	key := m.key(t)
	ca.RefuseRenewals(true)
	waitFor(t, 15*time.Second, "expired", func() bool { return k.State().State == identity.StateExpired })
	source.set(ca.Token(t, web))
	waitFor(t, 10*time.Second, "enrolled anew", func() bool { return k.State().State == identity.StateValid })
	if m.key(t) != key {
		t.Error("the key changed")
	}
}
