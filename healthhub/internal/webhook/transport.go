// SPDX-License-Identifier: AGPL-3.0-or-later

package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"

	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/mtls"
)

// The words that Form.CA knows besides the path of a file.
const (
	CASystem = "system" // the roots of the operating system
	CAFleet  = "fleet"  // the roots of this fleet
)

const maxRoots = 1 << 20

// transport makes its TLS side at the first request, so that a file of roots may come later than the settings.
type transport struct {
	ca    string
	files *identity.Files

	mu         sync.Mutex // guards what follows
	current    *http.Transport
	generation uint64 // of files, with CAFleet
}

// RoundTrip sends a request.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	current, err := t.use()
	if err != nil {
		if req.Body != nil {
			req.Body.Close() // a RoundTripper owes this, also on errors
		}
		return nil, err
	}
	return current.RoundTrip(req)
}

func (t *transport) use() (*http.Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	generation := uint64(0)
	if t.ca == CAFleet && t.files != nil {
		generation = t.files.Generation()
	}
	if t.current != nil && t.generation == generation {
		return t.current, nil
	}
	roots, err := t.roots()
	if err != nil {
		return nil, err
	}
	if t.current != nil {
		t.current.CloseIdleConnections()
	}
	// TLS 1.2 since these are servers of others. The limits are those of the fleet's own connections.
	t.current, t.generation = mtls.NewTransport(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}), generation
	return t.current, nil
}

// roots are those to trust; nil: the operating system's.
func (t *transport) roots() (*x509.CertPool, error) {
	switch t.ca {
	case "", CASystem:
		return nil, nil
	case CAFleet:
		if t.files == nil {
			return nil, identity.ErrNone
		}
		return t.files.Roots()
	}
	data, err := hubfile.ReadFile(t.ca, maxRoots)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("ca: %s holds no certificate", t.ca)
	}
	return pool, nil
}

// CloseIdleConnections lets http.Client.CloseIdleConnections work.
func (t *transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil {
		t.current.CloseIdleConnections()
	}
}
