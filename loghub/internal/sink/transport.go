// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

// CheckURL says what is wrong with the address of a receiver.
func CheckURL(address string, unsafe bool) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("must be https://<host>:<port>, got %q", address)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("must be an address without user, query and fragment, got %q", address)
	}
	if u.Scheme == "http" && !unsafe && !loopback(u.Hostname()) {
		return fmt.Errorf("is plain http to another machine: everybody between can read and forge it; use https, or set otlp_unsafe to true")
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// plainTransport is for http://.
func plainTransport() http.RoundTripper {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		ResponseHeaderTimeout:  30 * time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           1,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// tlsTransport makes connections with the identity of the moment. It holds one
// http.Transport per generation of the identity.
type tlsTransport struct {
	files *identity.Files

	mu         sync.Mutex // guards what follows
	generation uint64
	current    *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (t *tlsTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	tr, err := t.use()
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	return tr.RoundTrip(req)
}

func (t *tlsTransport) use() (*http.Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	generation := t.files.Generation()
	if t.current != nil && generation == t.generation {
		return t.current, nil
	}
	conf, err := mtls.ClientConfig(t.files, nil)
	if err != nil {
		return nil, err
	}
	own, err := t.files.ID()
	if err != nil {
		return nil, err
	}
	conf.VerifyConnection = func(state tls.ConnectionState) error { return checkServer(state, own.TrustDomain) }
	if t.current != nil {
		t.current.CloseIdleConnections()
	}
	t.generation, t.current = generation, mtls.NewTransport(conf)
	return t.current, nil
}

// CloseIdleConnections lets http.Client.CloseIdleConnections work.
func (t *tlsTransport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil {
		t.current.CloseIdleConnections()
	}
}

// checkServer wants genesis/log of a server that is one of ours. Chain and DNS
// name were checked before.
func checkServer(state tls.ConnectionState, trustDomain string) error {
	if len(state.PeerCertificates) == 0 {
		return fmt.Errorf("the server showed no certificate")
	}
	leaf := state.PeerCertificates[0]
	for _, u := range leaf.URIs {
		if u.Scheme != "spiffe" || u.Host != trustDomain {
			continue
		}
		id, err := spiffe.FromCertificate(leaf)
		if err != nil {
			return err
		}
		return mtls.Genesis(trustDomain, "log")(id)
	}
	return nil
}
