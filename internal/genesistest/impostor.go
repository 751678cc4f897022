// SPDX-License-Identifier: AGPL-3.0-or-later

package genesistest

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

// Impostor is a server that has a certificate of the fleet's authority, for the DNS name of a server but with an identity
// that is not its: only the check of the role can tell.
type Impostor struct {
	// URL is where clients would look for the real one.
	URL string

	mu       sync.Mutex
	requests []string
}

// Requests is what reached it, "GET /v1/…", answered with 200.
func (i *Impostor) Requests() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.requests)
}

// Impostor starts one, until the test ends.
func (g *Genesis) Impostor(t testing.TB, id spiffe.ID, dnsName string) *Impostor {
	t.Helper()
	files := identity.Open(g.CA.DirOf(t, x509.Certificate{URIs: []*url.URL{id.URI()}, DNSNames: []string{dnsName}}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	i := &Impostor{URL: "https://" + dnsName + ":" + port}
	note := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.requests = append(i.requests, r.Method+" "+r.URL.Path)
	})
	server := mtls.Server(files, note, func(mtls.Refusal) {})
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the impostor: %v", err)
		}
	})
	return i
}
