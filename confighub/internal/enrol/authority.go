// SPDX-License-Identifier: AGPL-3.0-or-later

package enrol

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/smallstep/certificates/api"
	"github.com/smallstep/certificates/ca"
	"github.com/smallstep/certificates/errs"
	"github.com/smallstep/cli-utils/token"
	"github.com/smallstep/cli-utils/token/provision"
	"go.step.sm/crypto/jose"
	"go.step.sm/crypto/randutil"

	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

// callTimeout bounds one call to the authority, from name resolution to the last byte; an enrolment takes 5 ms.
const callTimeout = 20 * time.Second

// renewTokenTTL is how long the token lives that an expired certificate signs for its renewal.
const renewTokenTTL = 5 * time.Minute

// disableStepIdentity keeps package ca from loading a client certificate from $STEPPATH by itself.
var disableStepIdentity = sync.OnceFunc(func() { ca.DisableIdentity = true })

// refusal is a no, of the authority or to a token: trying the same again soon is of no use.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// errStranger says that the authority does not know the root of our certificate.
var errStranger = errors.New("the authority does not know the root of this certificate")

// fetchRoot gets the root certificate with a fingerprint from the authority. The connection proves nothing, the
// fingerprint does. package ca's own way of doing this has no deadline and obeys proxy variables.
func fetchRoot(ctx context.Context, caURL, fingerprint string) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	tr := mtls.NewTransport(&tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true})
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(caURL, "/")+"/root/"+fingerprint, nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return nil, errors.New(mtls.Explain(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &unknownRoot{fmt.Errorf("%s: no root with fingerprint %s there (%s): identity.ca_fingerprint is wrong, or this is another authority",
			req.URL.Host, fingerprint, resp.Status)}
	}
	var body struct {
		CA string `json:"ca"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&body); err != nil {
		return nil, fmt.Errorf("%s: no answer of a step-ca: is this the authority's port?", req.URL.Host)
	}
	block, _ := pem.Decode([]byte(body.CA))
	if block == nil {
		return nil, fmt.Errorf("%s: answered without a certificate: is this the authority's port?", req.URL.Host)
	}
	if sum := sha256.Sum256(block.Bytes); hex.EncodeToString(sum[:]) != fingerprint {
		return nil, &unknownRoot{fmt.Errorf("%s: answered with another root than identity.ca_fingerprint names: %s", req.URL.Host, hex.EncodeToString(sum[:]))}
	}
	return x509.ParseCertificate(block.Bytes)
}

// unknownRoot says that the authority answered and does not have the root that was asked for.
type unknownRoot struct{ error }

func (e *unknownRoot) Unwrap() error { return e.error }

// authority is the fleet's step-ca, as seen over connections that one of the roots vouches for.
type authority struct {
	url    string
	client *ca.Client
	tr     *http.Transport
	roots  *x509.CertPool
}

func dialAuthority(caURL string, roots []*x509.Certificate) (*authority, error) {
	disableStepIdentity()
	pool := x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r)
	}
	tr := mtls.NewTransport(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool})
	client, err := ca.NewClient(caURL, ca.WithTransport(tr), ca.WithTimeout(callTimeout))
	if err != nil {
		return nil, fmt.Errorf("identity.ca_url: %w", err)
	}
	return &authority{url: caURL, client: client, tr: tr, roots: pool}, nil
}

// Close ends the connections.
func (a *authority) Close() { a.tr.CloseIdleConnections() }

// sign spends a token on a first certificate.
func (a *authority) sign(ctx context.Context, id spiffe.ID, key crypto.Signer, ott string) ([]*x509.Certificate, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: id.CommonName()},
		DNSNames: id.DNSNames(),
		URIs:     []*url.URL{id.URI()},
	}, key)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := a.client.SignWithContext(ctx, &api.SignRequest{CsrPEM: api.NewCertificateRequest(csr), OTT: ott})
	if err != nil {
		return nil, a.explain(err)
	}
	return a.accept(resp, id, key)
}

// renew gets a new certificate for the old one, over a connection made with it.
func (a *authority) renew(ctx context.Context, id spiffe.ID, cert *tls.Certificate) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	tr := mtls.NewTransport(&tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    a.roots,
		// Not Certificates: of those crypto/tls sends none that the authority's list of roots leaves out, and the
		// reason for the refusal would be lost.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil },
	})
	defer tr.CloseIdleConnections()
	resp, err := a.client.RenewWithContext(ctx, mtls.Asking{Transport: tr})
	if err != nil {
		return nil, a.explain(err)
	}
	return a.accept(resp, id, cert.PrivateKey.(crypto.Signer))
}

// renewExpired gets a new certificate for one that no handshake accepts any more, with a token signed by its key.
func (a *authority) renewExpired(ctx context.Context, id spiffe.ID, cert *tls.Certificate) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ott, err := a.renewToken(cert)
	if err != nil {
		return nil, fmt.Errorf("making the token for the renewal: %w", err)
	}
	resp, err := a.client.RenewWithTokenAndContext(ctx, ott)
	if err != nil {
		return nil, a.explain(err)
	}
	return a.accept(resp, id, cert.PrivateKey.(crypto.Signer))
}

// renewToken makes a token as step-ca wants it for a renewal without mTLS: the subject is the certificate's CN, the
// issuer that of step's own client, and the chain stands in a header that is not verified while it is read.
func (a *authority) renewToken(cert *tls.Certificate) (string, error) {
	jti, err := randutil.Hex(64)
	if err != nil {
		return "", err
	}
	chain := make([]string, len(cert.Certificate))
	for i, der := range cert.Certificate {
		chain[i] = base64.StdEncoding.EncodeToString(der)
	}
	now := time.Now()
	t, err := provision.New(cert.Leaf.Subject.CommonName,
		token.WithJWTID(jti),
		token.WithIssuer("step-ca-client/1.0"),
		token.WithAudience(strings.TrimSuffix(a.url, "/")+"/1.0/renew"),
		token.WithValidity(now, now.Add(renewTokenTTL)),
		func(c *token.Claims) error { c.SetHeader(jose.X5cInsecureKey, chain); return nil },
	)
	if err != nil {
		return "", err
	}
	return t.SignedString(jose.ES256, cert.PrivateKey)
}

// fetchRoots returns the roots that the authority wants the fleet to trust.
func (a *authority) fetchRoots(ctx context.Context) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := a.client.RootsWithContext(ctx)
	if err != nil {
		return nil, a.explain(err)
	}
	var out []*x509.Certificate
	for _, c := range resp.Certificates {
		if c.Certificate != nil {
			out = append(out, c.Certificate)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: the authority names no root", a.url)
	}
	return out, nil
}

// accept checks what the authority gave before it replaces what there is: our key, our name, a root we trust.
func (a *authority) accept(resp *api.SignResponse, id spiffe.ID, key crypto.Signer) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for _, c := range resp.CertChainPEM {
		if c.Certificate != nil {
			chain = append(chain, c.Certificate)
		}
	}
	if len(chain) == 0 {
		return nil, errors.New("the authority answered without a certificate")
	}
	leaf := chain[0]
	ours, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(ours, leaf.RawSubjectPublicKeyInfo) {
		return nil, errors.New("the authority answered with a certificate of another key")
	}
	if got, err := spiffe.FromCertificate(leaf); err != nil || got != id {
		return nil, fmt.Errorf("the authority answered with a certificate for %s, wanted is %s", orNone(leaf.Subject.CommonName), id)
	}
	middle := x509.NewCertPool()
	for _, c := range chain[1:] {
		middle.AddCert(c)
	}
	// At a time that suits the certificate: a wrong clock here is told elsewhere and must not cost the token.
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: a.roots, Intermediates: middle, CurrentTime: leaf.NotBefore.Add(time.Second),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return nil, fmt.Errorf("the authority answered with a certificate of a root that is not trusted here: %w", err)
	}
	return chain, nil
}

// explain sorts an error of package ca: a refusal, a stranger, or trouble of the network in words that help.
func (a *authority) explain(err error) error {
	if said, ok := errors.AsType[*errs.Error](err); ok {
		switch status := said.StatusCode(); status {
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
			return &refusal{fmt.Errorf("the authority refuses: %d %s", status, http.StatusText(status))}
		default:
			return fmt.Errorf("%s: the authority has trouble (%d %s): its log says more", a.host(), status, http.StatusText(status))
		}
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" && strings.Contains(op.Err.Error(), "unknown certificate authority") {
		return errStranger
	}
	return errors.New(mtls.Explain(&url.Error{Op: "Post", URL: a.url, Err: err}))
}

func (a *authority) host() string {
	if u, err := url.Parse(a.url); err == nil {
		return u.Host
	}
	return a.url
}
