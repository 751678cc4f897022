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
//	GET  /metrics                             OpenMetrics text; operators and genesis/health only
//
// Who asks is the URI of the client's certificate (package spiffe), never its CN or address. A refusal is 401, 403 or 404
// and says in words what to change. Each decision is one line in the log: who, what, verdict; of refusals those that
// mtls.Refusals finds worth it. An answer that nothing has changed is logged at level debug, as it hands out nothing.
//
// A version is published when a container's bundle changes, and for that container alone. Its serial is
// tree.Tree.Serial above the highest one given before, and survives restarts, as do the published bundles: a tree that is
// broken when the server starts leaves what was there before.
//
// A request that waits is a place in the room, until what it asked for is replaced, and a connection in the lot: over
// HTTP/1.1, which clients that know both are given, it is taken from net/http with nothing else kept, and goes back when
// the next request comes. One goroutine looks after all of them. A client that knows HTTP/2 alone is served as well, and
// waits in a goroutine for each request. When a change concerns more than 100 waiters, they are answered over up to 2 s.
//
// Limits: 64 requests at a time for each identity and 16,384 for all, 64 KiB for a report, 1000 replicas of a container, and the
// time limits of package mtls; a reader slower than 32 KiB/s is cut.
package serve

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strconv"
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
	counts   counts
	patience patience
	// room is where requests wait for a change, lot where their connections do; nil while nothing listens.
	room room
	lot  *lot

	mu sync.Mutex
	// open: who asks → its requests in progress; openAll is their sum.
	open    map[spiffe.ID]int
	openAll int
}

// New makes the server of a trust domain.
func New(trustDomain string, published *Publication, ledger *Ledger, log zerolog.Logger) *Server {
	s := &Server{
		trustDomain: trustDomain, log: log, published: published, ledger: ledger,
		stopping: make(chan struct{}), open: map[spiffe.ID]int{}, patience: patience{first: answerTime, speed: slowest},
	}
	published.whenReplaced(s.room.wake)
	return s
}

// Stop answers all waiting requests, so that the HTTP server can shut down.
func (s *Server) Stop() {
	s.stopOnce.Do(func() {
		close(s.stopping)
		s.room.close()
	})
}

// Handler serves the wire of the package comment. It is to run behind mtls.ServerConfig.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/bundles/{id}/current", s.guarded(s.current))
	mux.HandleFunc("GET /v1/bundles/{id}/blobs/sha256/{hex}", s.guarded(s.blob))
	mux.HandleFunc("POST /v1/applied", s.guarded(s.applied))
	mux.HandleFunc("GET /v1/fleet", s.guarded(s.fleet))
	mux.HandleFunc("GET /metrics", s.guarded(s.metrics))
	mux.HandleFunc("/", s.guarded(func(http.ResponseWriter, *http.Request, caller) (answer, error) {
		return answer{}, refuse(http.StatusNotFound, "there is GET /v1/bundles/<id>/current, GET /v1/bundles/<id>/blobs/sha256/<hex>, POST /v1/applied, GET /v1/fleet and GET /metrics")
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

// errParked says that a request is answered later, on its connection alone.
var errParked = errors.New("answered later")

// guarded finds out who asks, bounds how much of it there is at once, logs the decision and answers. An error is the answer
// too, unless it is errParked.
func (s *Server) guarded(handle func(http.ResponseWriter, *http.Request, caller) (answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var a answer
		c, err := s.caller(r)
		if err == nil {
			err = s.within(c.peer, func() error { a, err = handle(w, r, c); return err })
		}
		switch {
		case err == errParked:
			return
		case err != nil:
			a = refusing(s.refuse(c, err))
		}
		s.reply(w, r, a)
	}
}

// within counts a request until its answer is known, unless it goes on in the lot.
func (s *Server) within(peer spiffe.ID, handle func() error) (err error) {
	if err := s.enter(peer); err != nil {
		return err
	}
	defer func() {
		if err != errParked {
			s.leave(peer)
		}
	}()
	return handle()
}

// caller is who asks for what: all that the log says of a request.
type caller struct {
	peer         spiffe.ID // zero when unknown
	certificate  *x509.Certificate
	address      string // and port
	method, path string
}

// caller finds out who asks, in our trust domain. On an error it holds what is known.
func (s *Server) caller(r *http.Request) (caller, error) {
	c := caller{address: r.RemoteAddr, method: r.Method, path: r.URL.Path}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		c.certificate = r.TLS.PeerCertificates[0]
	}
	var err error
	c.peer, err = s.peer(r)
	return c, err
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
func (s *Server) audit(level zerolog.Level, c caller) *zerolog.Event {
	who, certificate := "unknown", ""
	if c.peer != (spiffe.ID{}) {
		who = c.peer.String()
	}
	if c.certificate != nil {
		certificate = c.certificate.SerialNumber.String() // as step-ca prints it
	}
	return s.log.WithLevel(level).Str("peer", who).Str("certificate", certificate).Str("address", c.address).Str("method", c.method).Str("path", c.path)
}

// refuse makes a refusal of an error, and logs it if it is worth it.
func (s *Server) refuse(c caller, err error) *refusal {
	answer, ok := errors.AsType[*refusal](err)
	if !ok {
		answer = &refusal{status: http.StatusInternalServerError, words: err.Error()}
	}
	s.counts.request(verdict{"refused", strconv.Itoa(answer.status)})
	one := mtls.Refusal{Remote: c.address, What: c.method + " " + c.path, Why: answer.words}
	if c.peer != (spiffe.ID{}) {
		one.Who = c.peer.String()
	}
	if say, unsaid := s.refusals.Worth(one); say {
		s.audit(zerolog.WarnLevel, c).Str("verdict", "refused").Int("status", answer.status).Str("reason", answer.words).
			Int("unsaid", unsaid).Msg("config request")
	}
	return answer
}

// allowed begins the line about a request that gets what it asks for. That nothing has changed hands out nothing, and is only
// worth a line to who looks for it.
func (s *Server) allowed(c caller, status int) *zerolog.Event {
	level := zerolog.InfoLevel
	if status == http.StatusNotModified {
		level = zerolog.DebugLevel
	}
	s.counts.request(verdict{"allowed", strconv.Itoa(status)})
	return s.audit(level, c).Str("verdict", "allowed").Int("status", status)
}

// Refused logs a caller whom package mtls turned away before a handler saw it: in the handshake, or with an expired
// certificate.
func (s *Server) Refused(r mtls.Refusal) {
	s.counts.request(verdict{"refused", "handshake"})
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
