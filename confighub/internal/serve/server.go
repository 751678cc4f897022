// SPDX-License-Identifier: AGPL-3.0-or-later

// Package serve owns the genesis side of configuration: it publishes the bundles of a tree (package tree) over mTLS,
// hands each container its own and nothing else, and keeps what the containers say became of them.
//
//	GET  /v1/bundles/<id>/current             <id> = web.shop.vm1: the DSSE envelope (package bundle) of the pointer. The ETag
//	                                          is a hash of the content. With If-None-Match and Prefer: wait=N (RFC 7240, N ≤ 50
//	                                          seconds) the answer waits for a change; Preference-Applied says that it does.
//	GET  /v1/bundles/<id>/blobs/sha256/<hex>  the current bundle of <id> or the one before, tar.gz, immutable
//	POST /v1/applied                          bundle.Applied of the caller; 204
//	GET  /v1/fleet                            Fleet; operators and genesis only
//
// Who asks is the URI of the client's certificate (package spiffe), never its CN or address. A refusal is 401, 403 or 404
// and says in words what to change. Each decision is one line in the log: who, what, verdict; of refusals those that
// mtls.Refusals finds worth it. An answer that nothing has changed is logged at level debug, as it hands out nothing.
//
// A version is published when a container's bundle changes, and for that container alone. Its serial is
// tree.Tree.Serial above the highest one given before, and survives restarts, as do the published bundles: a tree that is broken when the server
// starts leaves what was there before.
//
// Limits: 64 requests at a time for each identity and 16,384 for all, 64 KiB for a report, 1000 replicas of a container, and the
// time limits of package mtls; a reader slower than 32 KiB/s is cut. One goroutine for each waiting request.
// Left out: git as a root.
package serve

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

const (
	// maxAtOnce is how many requests one identity may have open; a replica is one of its own.
	maxAtOnce = 64
	// maxAtOnceAll is how many may be open together: some 16,000 containers that wait for a change.
	maxAtOnceAll = 16 << 10
	// answerTime is how long a small answer may take to be read by the client.
	answerTime = 10 * time.Second
	// slowest is the speed in bytes/s below which a reader of a bundle is cut.
	slowest = 32 << 10
)

// Server answers for one trust domain. Make it with New.
type Server struct {
	trustDomain string
	log         zerolog.Logger
	published   *Publication
	ledger      *Ledger
	// stopping is closed when waiting requests are to be answered at once.
	stopping chan struct{}
	stopOnce sync.Once
	refusals mtls.Refusals

	mu sync.Mutex
	// open: who asks → its requests in progress; openAll is their sum.
	open    map[spiffe.ID]int
	openAll int
}

// New makes the server of a trust domain.
func New(trustDomain string, published *Publication, ledger *Ledger, log zerolog.Logger) *Server {
	return &Server{
		trustDomain: trustDomain, log: log, published: published, ledger: ledger,
		stopping: make(chan struct{}), open: map[spiffe.ID]int{},
	}
}

// Stop answers all waiting requests, so that the HTTP server can shut down.
func (s *Server) Stop() { s.stopOnce.Do(func() { close(s.stopping) }) }

// Handler serves the wire of the package comment. It is to run behind mtls.ServerConfig.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/bundles/{id}/current", s.guarded(s.current))
	mux.HandleFunc("GET /v1/bundles/{id}/blobs/sha256/{hex}", s.guarded(s.blob))
	mux.HandleFunc("POST /v1/applied", s.guarded(s.applied))
	mux.HandleFunc("GET /v1/fleet", s.guarded(s.fleet))
	mux.HandleFunc("/", s.guarded(func(http.ResponseWriter, *http.Request, spiffe.ID) error {
		return refuse(http.StatusNotFound, "there is GET /v1/bundles/<id>/current, GET /v1/bundles/<id>/blobs/sha256/<hex>, POST /v1/applied and GET /v1/fleet")
	}))
	return mux
}

// refusal is an answer that is not what was asked for.
type refusal struct {
	status int
	words  string
}

func (r *refusal) Error() string { return r.words }

func refuse(status int, format string, args ...any) error {
	return &refusal{status: status, words: fmt.Sprintf(format, args...)}
}

// guarded finds out who asks, bounds how much of it there is at once, and logs the decision. A handler that returns nil has
// answered; what it returns else is the answer.
func (s *Server) guarded(handle func(http.ResponseWriter, *http.Request, spiffe.ID) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// A client that does not read must not hold the answer; handlers that take longer set their own.
		deadline(w, answerTime)
		peer, err := s.peer(r)
		if err == nil {
			if err = s.enter(peer); err == nil {
				defer s.leave(peer)
				err = handle(w, r, peer)
			}
		}
		if err == nil {
			return
		}
		answer, ok := errors.AsType[*refusal](err)
		if !ok {
			answer = &refusal{status: http.StatusInternalServerError, words: err.Error()}
		}
		s.refused(r, peer, answer)
		if answer.status == http.StatusServiceUnavailable || answer.status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "5")
		}
		http.Error(w, answer.words, answer.status)
	}
}

// peer is who the client's certificate says it is, in our trust domain.
func (s *Server) peer(r *http.Request) (spiffe.ID, error) {
	peer, err := mtls.Peer(r)
	if err != nil {
		return peer, refuse(http.StatusUnauthorized, "%v", err)
	}
	if peer.TrustDomain != s.trustDomain {
		return peer, refuse(http.StatusForbidden, "this certificate is of the trust domain %q, this server of %q", peer.TrustDomain, s.trustDomain)
	}
	return peer, nil
}

func (s *Server) enter(peer spiffe.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.open[peer] >= maxAtOnce:
		return refuse(http.StatusTooManyRequests, "%s has %d requests open already", peer, maxAtOnce)
	case s.openAll >= maxAtOnceAll:
		return refuse(http.StatusServiceUnavailable, "this server has %d requests open already", maxAtOnceAll)
	}
	s.open[peer]++
	s.openAll++
	return nil
}

func (s *Server) leave(peer spiffe.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.openAll--
	if s.open[peer]--; s.open[peer] == 0 {
		delete(s.open, peer)
	}
}

// audit begins the line about a decision; the caller adds the verdict.
func (s *Server) audit(level zerolog.Level, r *http.Request, peer spiffe.ID) *zerolog.Event {
	who := "unknown"
	if peer != (spiffe.ID{}) {
		who = peer.String()
	}
	certificate := ""
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		certificate = r.TLS.PeerCertificates[0].SerialNumber.String() // as step-ca prints it
	}
	return s.log.WithLevel(level).Str("peer", who).Str("certificate", certificate).Str("address", r.RemoteAddr).Str("method", r.Method).Str("path", r.URL.Path)
}

// refused logs a refusal that is worth it.
func (s *Server) refused(r *http.Request, peer spiffe.ID, answer *refusal) {
	one := mtls.Refusal{Remote: r.RemoteAddr, What: r.Method + " " + r.URL.Path, Why: answer.words}
	if peer != (spiffe.ID{}) {
		one.Who = peer.String()
	}
	if say, unsaid := s.refusals.Worth(one); say {
		s.audit(zerolog.WarnLevel, r, peer).Str("verdict", "refused").Int("status", answer.status).Str("reason", answer.words).
			Int("unsaid", unsaid).Msg("config request")
	}
}

func (s *Server) allowed(r *http.Request, peer spiffe.ID, status int) *zerolog.Event {
	return s.audit(zerolog.InfoLevel, r, peer).Str("verdict", "allowed").Int("status", status)
}

// Refused logs a caller whom package mtls turned away before a handler saw it: in the handshake, or with an expired
// certificate.
func (s *Server) Refused(r mtls.Refusal) {
	say, unsaid := s.refusals.Worth(r)
	if !say {
		return
	}
	who := r.Who
	if who == "" {
		who = "unknown"
	}
	s.log.Warn().Str("peer", who).Str("address", r.Remote).Str("request", r.What).Str("verdict", "refused").Str("reason", r.Why).
		Int("unsaid", unsaid).Msg("config request")
}

// deadline bounds how long the rest of the answer may take. A writer without deadlines has the server's.
func deadline(w http.ResponseWriter, d time.Duration) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d))
}
