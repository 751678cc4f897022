// SPDX-License-Identifier: AGPL-3.0-or-later

package mtls_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
)

// TestExpiryOnALiveConnection keeps a connection open beyond the end of the certificate it was made with.
func TestExpiryOnALiveConnection(t *testing.T) {
	long, short := identitytest.New(t), identitytest.New(t, identitytest.Lifetime(4*time.Second))
	both := append(long.Roots(), short.Roots()...)
	serverDir, clientDir := long.Dir(t, genesis), short.Dir(t, web)
	for _, dir := range []string{serverDir, clientDir} {
		if err := identity.SaveRoots(dir, both); err != nil {
			t.Fatal(err)
		}
	}
	url, log := serve(t, identity.Open(serverDir), nil)
	files := identity.Open(clientDir)
	c := client(t, files, nil)
	status, body, err := get(t, c, url)
	if err != nil || status != 200 {
		t.Fatalf("got %d %q, error %v", status, body, err)
	}
	for deadline := time.Now().Add(10 * time.Second); status == 200; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still let in")
		}
		if status, body, err = get(t, c, url); err != nil {
			t.Fatal(err)
		}
	}
	if status != http.StatusUnauthorized || !strings.Contains(body, "the certificate of this connection has expired at ") {
		t.Errorf("got %d %q, want 401", status, body)
	}
	log.waitForWhy(t, "the certificate of this connection has expired")
	// The connection was closed, so the next request needs a handshake, and that fails.
	waitFor(t, 5*time.Second, func() bool { _, _, err = get(t, c, url); return err != nil })
	refused(t, c, url, "it has expired there")
	// A renewed identity goes through by itself.
	short.Issue(t, web, clientDir)
	if err := identity.SaveRoots(clientDir, both); err != nil {
		t.Fatal(err)
	}
	if err := files.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, body, err = get(t, c, url); err != nil || status != 200 {
		t.Errorf("after renewal: %d %q, error %v", status, body, err)
	}
}

// TestRenewalWhileRequestsRun has a request pending on the old connection while a new identity comes: new requests
// use it, the old one is not disturbed.
func TestRenewalWhileRequestsRun(t *testing.T) {
	ca := identitytest.New(t)
	release := make(chan struct{})
	entered := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) { close(entered); <-release; io.WriteString(w, "done") })
	mux.HandleFunc("/serial", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.TLS.PeerCertificates[0].SerialNumber.String())
	})
	server := mtls.Server(ca.Files(t, genesis), mux, func(mtls.Refusal) {})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(listener, "", "") }()
	defer func() { server.Close(); <-done }()
	url := "https://" + listener.Addr().String()

	dir := ca.Dir(t, web)
	files := identity.Open(dir)
	c := client(t, files, mtls.Genesis(td, "config"))
	_, before, err := get(t, c, url+"/serial")
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan string, 1)
	go func() {
		resp, err := c.Get(url + "/wait")
		if err != nil {
			waited <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		waited <- string(body)
	}()
	<-entered
	ca.Issue(t, web, dir)
	if err := files.Reload(); err != nil {
		t.Fatal(err)
	}
	_, after, err := get(t, c, url+"/serial")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := files.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	if want := cert.Leaf.SerialNumber.String(); after != want || before == want {
		t.Errorf("serial seen %s before and %s after, the new one is %s", before, after, want)
	}
	close(release)
	if got := <-waited; got != "done" {
		t.Errorf("the pending request ended with %q", got)
	}
}

func TestHandshake(t *testing.T) {
	ca := identitytest.New(t)
	serverURL, _ := serve(t, ca.Files(t, genesis), nil)
	conf, err := mtls.ClientConfig(ca.Files(t, web), mtls.Genesis(td, "config"))
	if err != nil {
		t.Fatal(err)
	}
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for i := range 2 {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(serverURL, "https://"), conf)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if _, err := io.ReadAll(conn); err != nil { // session tickets come after the handshake
			t.Fatal(err)
		}
		state := conn.ConnectionState()
		conn.Close()
		if state.DidResume || state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768 {
			t.Errorf("connection %d: resumed %v, version %x, curve %v; want a full TLS 1.3 handshake over X25519MLKEM768", i, state.DidResume, state.Version, state.CurveID)
		}
	}
}
