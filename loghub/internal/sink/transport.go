// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
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
		return fmt.Errorf("must be an address without user, query and fragment, got %q", u.Redacted())
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

// Transport is what requests to a receiver go through: with files the certificates of OTEL_EXPORTER_OTLP_*, else the identity.
func Transport(address string, files *TLSFiles, id *identity.Files) http.RoundTripper {
	switch {
	case !strings.HasPrefix(address, "https:"):
		return plainTransport()
	case files != nil:
		return &filesTransport{paths: *files, identity: id}
	}
	return tlsTransport(id)
}

// plainTransport is for http://.
func plainTransport() http.RoundTripper {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           1,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// tlsTransport is for https://: with the identity of the moment, to a server that is
// genesis/log, or one without a name of the fleet.
func tlsTransport(files *identity.Files) http.RoundTripper {
	return mtls.StaticTransport(files, genesisOf(files))
}

func genesisOf(files *identity.Files) mtls.Rule {
	return func(server spiffe.ID) error {
		own, err := files.ID()
		if err != nil {
			return err
		}
		return mtls.Genesis(own.TrustDomain, spiffe.KindLog)(server)
	}
}

// TLSFiles are the certificates of OTEL_EXPORTER_OTLP_*, as paths of PEM files. Without CA the system's roots and the
// fleet's count; without Cert and Key the identity is shown, if there is one.
type TLSFiles struct {
	CA, Cert, Key string
}

// TLS 1.2 is still what many a server behind these variables speaks.
const otelMinVersion = tls.VersionTLS12

// filesTransport is for https:// by OTEL_EXPORTER_OTLP_*. It reads the files again when they have changed.
type filesTransport struct {
	paths    TLSFiles
	identity *identity.Files

	mu      sync.Mutex // guards what follows
	seen    string     // what the files looked like when current was made
	current *http.Transport
}

// RoundTrip sends a request with the certificates of this moment. While new ones cannot be used, the old ones are.
func (t *filesTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	current, err := t.use()
	if err != nil {
		if req.Body != nil {
			req.Body.Close() // a RoundTripper owes this, also on errors
		}
		return nil, err
	}
	return mtls.Asking{Transport: current}.RoundTrip(req)
}

func (t *filesTransport) use() (*http.Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.look()
	if t.current != nil && now == t.seen {
		return t.current, nil
	}
	conf, err := t.config()
	if err != nil {
		if t.current != nil {
			return t.current, nil
		}
		return nil, err
	}
	if t.current != nil {
		t.current.CloseIdleConnections()
	}
	t.seen, t.current = now, mtls.NewTransport(conf)
	return t.current, nil
}

// look describes the files by what changes with them.
func (t *filesTransport) look() string {
	words := fmt.Sprint(t.identity.Generation())
	for _, path := range []string{t.paths.CA, t.paths.Cert, t.paths.Key} {
		if info, err := os.Stat(path); path != "" && err == nil {
			words += fmt.Sprintf(" %d.%d", info.ModTime().UnixNano(), info.Size())
		}
	}
	return words
}

func (t *filesTransport) config() (*tls.Config, error) {
	roots, err := t.roots()
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{MinVersion: otelMinVersion, RootCAs: roots, VerifyConnection: t.check}
	if t.paths.Cert != "" {
		cert, err := tls.LoadX509KeyPair(t.paths.Cert, t.paths.Key)
		if err != nil {
			return nil, fmt.Errorf("reading the client certificate of OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: %w", err)
		}
		conf.Certificates = []tls.Certificate{cert}
	} else if cert, err := t.identity.Certificate(); err == nil {
		conf.Certificates = []tls.Certificate{*cert}
	}
	return conf, nil
}

// check refuses whoever of the fleet is not genesis/log. Servers without a name of the fleet are known by their DNS name.
func (t *filesTransport) check(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the other side showed no certificate")
	}
	server := state.PeerCertificates[0]
	if t.paths.CA != "" || !slices.ContainsFunc(server.URIs, func(u *url.URL) bool { return u.Scheme == "spiffe" }) {
		return nil
	}
	id, err := spiffe.FromCertificate(server)
	if err != nil {
		return err
	}
	return genesisOf(t.identity)(id)
}

func (t *filesTransport) roots() (*x509.CertPool, error) {
	if t.paths.CA != "" {
		pem, err := os.ReadFile(t.paths.CA)
		if err != nil {
			return nil, fmt.Errorf("reading the roots of OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading the roots of OTEL_EXPORTER_OTLP_CERTIFICATE: %s holds no certificate", t.paths.CA)
		}
		return pool, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if fleet, err := t.identity.RootCertificates(); err == nil {
		for _, cert := range fleet {
			pool.AddCert(cert)
		}
	}
	return pool, nil
}
