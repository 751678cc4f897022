// SPDX-License-Identifier: AGPL-3.0-or-later

package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/spiffe"
)

// The limits of a server connection.
const (
	readHeaderTimeout = 10 * time.Second
	// requestTimeout bounds reading a request and writing its answer, each: above the longest long poll (50 s). A
	// handler that streams longer moves it with http.ResponseController.
	requestTimeout       = 90 * time.Second
	serverIdleTimeout    = 2 * time.Minute
	maxRequestHeadBytes  = 16 << 10
	maxRequestBodyBytes  = 16 << 20 // a net below everything; handlers set their own, smaller limit
	maxConcurrentStreams = 128
)

// Refusal is one caller turned away, for the server's log: who, what, why.
type Refusal struct {
	Remote string // address and port
	Who    string // the SPIFFE ID; "" before it is known
	What   string // "TLS handshake", "POST /v1/report"; "" for anything else net/http had to say
	Why    string
}

// The protocols a server knows, best first: with a client that knows several the server chooses (RFC 7301 §3.2).
var (
	http2First = []string{"h2", "http/1.1"}
	http1First = []string{"http/1.1", "h2"}
)

// ServerConfig returns the TLS side of a server that shows the identity in files and wants a certificate of
// the fleet from its clients: a root of files, for client authentication, valid now, with exactly one URI name, and
// accepted by one of the rules if there are any. Rules given here end the connection without a word the
// client could read; those that deserve one belong into [Require].
func ServerConfig(files *identity.Files, clients ...Rule) *tls.Config {
	return serverConfig(files, http2First, clients...)
}

func serverConfig(files *identity.Files, protocols []string, clients ...Rule) *tls.Config {
	rule := Rule(func(spiffe.ID) error { return nil })
	if len(clients) > 0 {
		rule = AnyOf(clients...)
	}
	h := &handshakes{files: files, protocols: protocols, check: peerCheck(rule)}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             protocols,
		SessionTicketsDisabled: true,
		GetConfigForClient:     h.config,
	}
}

// handshakes makes the configuration of each handshake. All those with the same identity and roots share one: a
// connection keeps its own as long as it lives.
type handshakes struct {
	files     *identity.Files
	protocols []string
	check     func(tls.ConnectionState) error

	mu   sync.Mutex
	cert *tls.Certificate
	last *tls.Config
}

func (h *handshakes) config(*tls.ClientHelloInfo) (*tls.Config, error) {
	cert, err := h.files.Certificate()
	if err != nil {
		return nil, fmt.Errorf("own certificate: %w", err)
	}
	roots, err := h.files.Roots()
	if err != nil {
		return nil, fmt.Errorf("roots of the fleet: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last == nil || h.cert != cert || h.last.ClientCAs != roots {
		h.cert, h.last = cert, &tls.Config{
			MinVersion:             tls.VersionTLS13,
			NextProtos:             h.protocols,
			SessionTicketsDisabled: true, // a resumed connection would skip looking at a renewed certificate
			Certificates:           []tls.Certificate{*cert},
			ClientAuth:             tls.RequireAndVerifyClientCert,
			ClientCAs:              roots,
			VerifyConnection:       h.check,
		}
	}
	return h.last, nil
}

// Server returns a server for ListenAndServeTLS("", "") with every timeout and limit set. Every refused handshake,
// every request on an expired certificate, and whatever net/http has to say goes to refused, from several
// goroutines; it must not block.
func Server(files *identity.Files, handler http.Handler, refused func(Refusal)) *http.Server {
	return server(serverConfig(files, http2First), handler, refused)
}

// HTTP1Server is [Server] for clients that mostly wait: with those that know HTTP/1.1 and HTTP/2 it speaks HTTP/1.1, where
// a connection carries one request at a time, so that a handler can take it over (http.Hijacker) and keep no more
// than the connection until there is an answer. Such connections come back by Serve with a listener that returns
// them: their handshake is done.
func HTTP1Server(files *identity.Files, handler http.Handler, refused func(Refusal)) *http.Server {
	return server(serverConfig(files, http1First), handler, refused)
}

func server(conf *tls.Config, handler http.Handler, refused func(Refusal)) *http.Server {
	return &http.Server{
		Handler:           http.MaxBytesHandler(stillValid(handler, refused), maxRequestBodyBytes),
		TLSConfig:         conf,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       serverIdleTimeout,
		MaxHeaderBytes:    maxRequestHeadBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxConcurrentStreams},
		ConnState:         (&knocking{max: maxKnocking, open: map[net.Conn]struct{}{}}).note,
		ErrorLog:          log.New(&errorLog{refused}, "", 0),
	}
}

// ErrExpired says that the caller's certificate ran out while its connection was open.
var ErrExpired = errors.New("the certificate of this connection has expired")

// Peer returns who is calling: the identity in the certificate that the connection was made with, if it is
// still valid now; else the error is [ErrExpired].
func Peer(r *http.Request) (spiffe.ID, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return spiffe.ID{}, fmt.Errorf("no client certificate")
	}
	return PeerOf(r.TLS.PeerCertificates[0])
}

// PeerOf is [Peer] for the certificate of a connection that a handler has taken over.
func PeerOf(leaf *x509.Certificate) (spiffe.ID, error) {
	if time.Now().After(leaf.NotAfter) {
		return spiffe.ID{}, fmt.Errorf("%w at %s", ErrExpired, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return spiffe.FromCertificate(leaf)
}

// stillValid answers 401 and ends the connection once the caller's certificate has expired.
func stillValid(next http.Handler, refused func(Refusal)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := Peer(r); err != nil {
			w.Header().Set("Connection", "close") // over HTTP/2 net/http makes it a GOAWAY
			Refuse(w, r, http.StatusUnauthorized, err.Error(), refused)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Require lets only those through whom the rule accepts. Others get 403 with the reason in plain words, and the
// refusal is reported.
func Require(rule Rule, refused func(Refusal), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := Peer(r)
		if err == nil {
			err = rule(id)
		}
		if err != nil {
			Refuse(w, r, http.StatusForbidden, err.Error(), refused)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Refuse answers a request with a status and why in plain text, and reports the refusal: the one way to turn
// a caller away, for handlers with reasons of their own.
func Refuse(w http.ResponseWriter, r *http.Request, status int, why string, refused func(Refusal)) {
	who := ""
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		if id, err := spiffe.FromCertificate(r.TLS.PeerCertificates[0]); err == nil {
			who = id.String()
		}
	}
	refused(Refusal{Remote: r.RemoteAddr, Who: who, What: r.Method + " " + r.URL.Path, Why: why})
	http.Error(w, why, status)
}

// errorLog turns the lines of http.Server.ErrorLog into refusals: net/http has no other way to tell of a
// handshake that failed.
type errorLog struct{ refused func(Refusal) }

const handshakePrefix = "http: TLS handshake error from "

// Write takes one line.
func (l *errorLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	rest, ok := strings.CutPrefix(text, handshakePrefix)
	if !ok {
		l.refused(Refusal{Why: strings.TrimPrefix(text, "http: ")})
		return len(line), nil
	}
	remote, reason, _ := strings.Cut(rest, ": ")
	l.refused(Refusal{Remote: remote, What: "TLS handshake", Why: handshakeReason(reason)})
	return len(line), nil
}
