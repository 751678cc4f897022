// SPDX-License-Identifier: AGPL-3.0-or-later

package mtls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/spiffe"
)

// The limits of a client connection.
const (
	dialTimeout      = 10 * time.Second // name resolution and TCP connect
	handshakeTimeout = 10 * time.Second
	// headerTimeout is from the end of the request to the head of the answer: above the longest wait a
	// client asks for (Prefer: wait=50), so that a long poll is never cut.
	headerTimeout  = 75 * time.Second
	idleTimeout    = 90 * time.Second // below the server's, so that the client closes first
	pingAfter      = 30 * time.Second // HTTP/2: silence after which the connection is tested …
	pingTimeout    = 15 * time.Second // … and given up
	maxHeaderBytes = 64 << 10
)

// Transport returns an HTTP client's transport that shows the identity in files and talks only to servers whose
// certificate has a root of files, the DNS name asked for, and an identity that the rule accepts; a nil rule
// accepts every identity and none (the DNS name alone counts, as with a static HTTPS server of the fleet's authority).
//
// Without an identity every request fails with an error that is [identity.ErrNone]. Requests have no deadline of
// their own beyond the parts' (dial, handshake, head of the answer): the caller's context sets it.
func Transport(files *identity.Files, server Rule) http.RoundTripper {
	return &transport{files: files, check: peerCheck(server)}
}

// StaticTransport is [Transport] for a server that may be none of ours, such as a static HTTPS server: the rule judges
// a certificate with a SPIFFE name; the holder of one without, of the fleet's authority too, is known by the DNS name alone.
func StaticTransport(files *identity.Files, server Rule) http.RoundTripper {
	check := peerCheck(server)
	return &transport{files: files, check: func(state tls.ConnectionState) error {
		if named(state) {
			return check(state)
		}
		return nil
	}}
}

func named(state tls.ConnectionState) bool {
	return len(state.PeerCertificates) == 0 || slices.ContainsFunc(state.PeerCertificates[0].URIs, func(u *url.URL) bool {
		return u.Scheme == "spiffe"
	})
}

// transport is one http.Transport per generation of the identity. Closing idle connections would not do:
// an HTTP/2 connection with a long poll on it is never idle and would carry all new requests too.
type transport struct {
	files *identity.Files
	check func(tls.ConnectionState) error

	mu         sync.Mutex // guards what follows
	generation uint64
	current    *http.Transport
}

// RoundTrip sends a request over a connection made with the identity of this moment.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	current, err := t.use()
	if err != nil {
		if req.Body != nil {
			req.Body.Close() // a RoundTripper owes this, also on errors
		}
		return nil, err
	}
	return Asking{current}.RoundTrip(req)
}

// Asking is a transport that finds out why a server ends its connections, so that [Explain] can tell: where a
// request failed on a connection that was cut, it connects once more and waits for the alert. In TLS 1.3 the client is through
// with the handshake before the server has judged its certificate (RFC 8446 §2), and if it then writes before it
// reads, it finds a closed connection instead of the reason.
type Asking struct{ *http.Transport }

// RoundTrip sends a request.
func (a Asking) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := a.Transport.RoundTrip(req)
	if err != nil && cut(err) {
		if alert := askWhy(req.Context(), a.TLSClientConfig, req.URL); alert != nil {
			err = alert
		}
	}
	return resp, err
}

// notEstablished is all that net/http's HTTP/2 says when a connection ended before its first request; it keeps the
// value to itself.
const notEstablished = "http2: client conn could not be established"

// cut says whether a request failed because the other side ended the connection, without a reason.
func cut(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || err.Error() == notEstablished
}

// The bounds of askWhy. An HTTP/2 server speaks first, so the wait for its word is short.
const (
	askDialTimeout = 5 * time.Second
	askReadTimeout = 2 * time.Second
)

// askWhy connects once more to hear why the server ends our connections; nil if it does not say.
func askWhy(ctx context.Context, conf *tls.Config, u *url.URL) error {
	ctx, cancel := context.WithTimeout(ctx, askDialTimeout)
	defer cancel()
	port := u.Port()
	if port == "" {
		port = "443"
	}
	conf = conf.Clone()
	conf.ServerName = u.Hostname()
	conf.NextProtos = []string{"h2", "http/1.1"}
	conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(askReadTimeout)); err != nil {
		return nil
	}
	_, err = conn.Read(make([]byte, 1))
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return err
	}
	return nil
}

// CloseIdleConnections lets http.Client.CloseIdleConnections work.
func (t *transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil {
		t.current.CloseIdleConnections()
	}
}

func (t *transport) use() (*http.Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	generation := t.files.Generation()
	if t.current != nil && t.generation == generation {
		return t.current, nil
	}
	conf, err := clientConfig(t.files, t.check)
	if err != nil {
		return nil, err
	}
	if t.current != nil {
		// What is under way ends on its connection; that one is closed when it falls idle.
		t.current.CloseIdleConnections()
	}
	t.generation, t.current = generation, NewTransport(conf)
	return t.current, nil
}

// NewTransport returns an HTTP transport over a TLS side of one's own, with the limits of [Transport] and no proxy.
func NewTransport(conf *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:                  nil, // see the package comment
		DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    handshakeTimeout,
		ForceAttemptHTTP2:      true, // a TLSClientConfig of one's own turns it off
		ResponseHeaderTimeout:  headerTimeout,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConns:           16,
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: maxHeaderBytes,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
}

// ClientConfig returns the TLS side of [Transport], for protocols other than HTTP, with the roots of this
// moment. The error is [identity.ErrNone] without an identity.
func ClientConfig(files *identity.Files, server Rule) (*tls.Config, error) {
	return clientConfig(files, peerCheck(server))
}

func clientConfig(files *identity.Files, check func(tls.ConnectionState) error) (*tls.Config, error) {
	if _, err := files.Certificate(); err != nil {
		return nil, fmt.Errorf("own certificate: %w", err)
	}
	roots, err := files.Roots()
	if err != nil {
		return nil, fmt.Errorf("roots of the fleet: %w", err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return files.Certificate()
		},
		VerifyConnection: check,
	}, nil
}

// peerCheck applies a rule to the certificate at the other end; chain, time and DNS name are checked already.
func peerCheck(rule Rule) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if rule == nil {
			return nil
		}
		if len(state.PeerCertificates) == 0 {
			return fmt.Errorf("the other side showed no certificate")
		}
		id, err := spiffe.FromCertificate(state.PeerCertificates[0])
		if err != nil {
			return &roleless{err}
		}
		return rule(id)
	}
}

// roleless is a certificate of our authority that is nobody's identity.
type roleless struct{ error }

func (e *roleless) Unwrap() error { return e.error }
