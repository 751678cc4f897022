// SPDX-License-Identifier: AGPL-3.0-or-later

// Package identitytest starts a real step-ca authority inside a test: its keys, its provisioner, its HTTP routes
// and its TLS, on a port of the loopback interface, in milliseconds. Nothing of it is imitated; what a certificate, a
// token or a renewal is allowed to be is decided by github.com/smallstep/certificates.
//
//	ca := identitytest.New(t, identitytest.Lifetime(8*time.Second))
//	files := ca.Files(t, id)                    // an identity issued at once
//	settings := ca.Settings(id)                 // the section "identity" that enrols id here
//	token := ca.Token(t, id)                    // a one-time token for it
//	ca.Stop(); ca.Start(t)                      // an outage; address, keys and used tokens stay
//
// It is for tests alone (it imports testing) and, besides confighub/internal/enrol, the one place that may link the
// authority's modules. Tests that import it are built with the tags the Makefile passes.
//
// Left out: a database on disk (used tokens are remembered in memory, across Stop and Start) and every provisioner but JWK.
package identitytest

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/smallstep/certificates/api"
	"github.com/smallstep/certificates/authority"
	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/authority/provisioner"
	"github.com/smallstep/certificates/db"
	"github.com/smallstep/certificates/errs"
	"go.step.sm/crypto/jose"
	"go.step.sm/crypto/minica"
)

// ProvisionerName is the name of the authority's one provisioner.
const ProvisionerName = "enrol"

// CA is a running authority. Its methods may be called from several goroutines, except Start and Stop.
type CA struct {
	URL         string // https://127.0.0.1:<port>; the same after Stop and Start
	Fingerprint string // SHA-256 of the root, hex

	lifetime time.Duration
	backdate time.Duration
	pki      minica.CA
	key      *jose.JSONWebKey // of the provisioner, private
	used     db.AuthDB        // tokens that are spent
	address  string

	authority atomic.Pointer[authority.Authority]
	refuse    atomic.Bool

	// authorising is held while the authority judges a token: its list of audiences is built by appending to slices that all
	// requests share (provisioner.Audiences.All), which two at a time do in a data race. They write the same, so step-ca lives with it.
	authorising sync.Mutex

	mu     sync.Mutex // guards server
	server *httptest.Server
}

// Option changes what New makes.
type Option func(*CA)

// Lifetime sets how long certificates live from now, 1 s and up; without it 24 h.
func Lifetime(d time.Duration) Option { return func(ca *CA) { ca.lifetime = d } }

// Backdate sets how long before now certificates begin to be valid; without it not at all, where an authority in
// earnest takes a minute. A test that lets an expired certificate be renewed needs a minute at least, since the
// authority judges it as of one minute before its end.
func Backdate(d time.Duration) Option { return func(ca *CA) { ca.backdate = d } }

// New starts an authority with keys of its own; it ends with the test.
func New(t testing.TB, opts ...Option) *CA {
	t.Helper()
	ca := &CA{lifetime: 24 * time.Hour}
	for _, o := range opts {
		o(ca)
	}
	var err error
	if err = ca.makeKeys(); err != nil {
		t.Fatalf("making the authority's keys: %v", err)
	}
	if ca.key, err = jose.GenerateJWK("EC", "P-256", "ES256", "sig", "", 0); err != nil {
		t.Fatalf("making the provisioner's key: %v", err)
	}
	if ca.used, err = db.New(nil); err != nil {
		t.Fatalf("making the authority's memory: %v", err)
	}
	sum := sha256.Sum256(ca.pki.Root.Raw)
	ca.Fingerprint = hex.EncodeToString(sum[:])
	ca.configure(t, true)
	ca.address = "127.0.0.1:0"
	ca.Start(t)
	t.Cleanup(ca.Stop)
	return ca
}

// configure makes the authority's rules anew, over the same keys and the same memory.
func (ca *CA) configure(t testing.TB, withProvisioner bool) {
	t.Helper()
	yes := true
	claims := &provisioner.Claims{
		MinTLSDur:               &provisioner.Duration{Duration: time.Second},
		DefaultTLSDur:           &provisioner.Duration{Duration: ca.lifetime},
		MaxTLSDur:               &provisioner.Duration{Duration: max(ca.lifetime, 720*time.Hour)},
		AllowRenewalAfterExpiry: &yes,
	}
	public := ca.key.Public()
	conf := &config.Config{
		SkipValidation: true,
		Address:        "127.0.0.1:0",
		AuthorityConfig: &config.AuthConfig{
			Claims:   claims,
			Backdate: &provisioner.Duration{Duration: ca.backdate},
			// The time in a token has whole seconds, so one made right after the start looks older than it.
			DisableIssuedAtCheck: true,
		},
	}
	if withProvisioner {
		conf.AuthorityConfig.Provisioners = provisioner.List{
			&provisioner.JWK{Type: "JWK", Name: ProvisionerName, Key: &public},
		}
	}
	conf.Init()
	a, err := authority.New(conf,
		authority.WithX509RootCerts(ca.pki.Root),
		authority.WithX509Signer(ca.pki.Intermediate, ca.pki.Signer),
		authority.WithDatabase(ca.used),
		authority.WithAuthorizeRenewFunc(ca.authorizeRenewal),
		authority.WithQuietInit(),
	)
	if err != nil {
		t.Fatalf("making the authority: %v", err)
	}
	ca.authority.Store(a)
}

func (ca *CA) authorizeRenewal(ctx context.Context, p *provisioner.Controller, cert *x509.Certificate) error {
	if ca.refuse.Load() {
		return errs.Unauthorized("renewals are refused")
	}
	return provisioner.DefaultAuthorizeRenew(ctx, p, cert)
}

// RefuseRenewals makes the authority answer every renewal with 401, or allow them again.
func (ca *CA) RefuseRenewals(refuse bool) { ca.refuse.Store(refuse) }

// RemoveProvisioner takes the provisioner away, which freezes all certificates it gave: none is renewed, and no
// token is taken.
func (ca *CA) RemoveProvisioner(t testing.TB) {
	t.Helper()
	ca.configure(t, false)
}

// RestoreProvisioner undoes RemoveProvisioner.
func (ca *CA) RestoreProvisioner(t testing.TB) {
	t.Helper()
	ca.configure(t, true)
}

// Start lets a stopped authority answer again.
func (ca *CA) Start(t testing.TB) {
	t.Helper()
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.server != nil {
		return
	}
	listener, err := net.Listen("tcp", ca.address)
	if err != nil {
		t.Fatalf("starting the authority: %v", err)
	}
	ca.address = listener.Addr().String()
	ca.URL = "https://" + ca.address
	cert, err := ca.authority.Load().GetTLSCertificate()
	if err != nil {
		t.Fatalf("making the authority's own certificate: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.pki.Root)
	roots.AddCert(ca.pki.Intermediate)

	server := httptest.NewUnstartedServer(ca.handler())
	server.Listener.Close()
	server.Listener = listener
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{*cert},
		ClientAuth:   tls.VerifyClientCertIfGiven,
		ClientCAs:    roots,
	}
	server.StartTLS()
	ca.server = server
}

// handler is the authority's routes; each request is answered by the rules of its moment.
func (ca *CA) handler() http.Handler {
	mux := chi.NewRouter()
	api.Route(mux)
	mux.Route("/1.0", func(r chi.Router) { api.Route(r) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ca.authorising.Lock()
		defer ca.authorising.Unlock()
		mux.ServeHTTP(w, r.WithContext(authority.NewContext(r.Context(), ca.authority.Load())))
	})
}

// Stop ends all connections and refuses new ones, until Start.
func (ca *CA) Stop() {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.server != nil {
		ca.server.CloseClientConnections()
		ca.server.Close()
		ca.server = nil
	}
}
