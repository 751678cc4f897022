// SPDX-License-Identifier: AGPL-3.0-or-later

package identitytest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/smallstep/certificates/authority/provisioner"
	"github.com/smallstep/cli-utils/token"
	"github.com/smallstep/cli-utils/token/provision"
	"go.step.sm/crypto/jose"
	"go.step.sm/crypto/randutil"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/spiffe"
)

// loopback is where servers of tests listen.
var loopback = net.IPv4(127, 0, 0, 1)

// tokenTTL is long enough for any test.
const tokenTTL = 5 * time.Minute

// Settings returns the section "identity" that enrols id at this authority.
func (ca *CA) Settings(id spiffe.ID) identity.Settings {
	s := identity.Settings{TrustDomain: id.TrustDomain, CAURL: ca.URL, CAFingerprint: ca.Fingerprint}
	switch id.Role {
	case spiffe.Container, spiffe.Host:
		s.Host, s.Stack, s.Service = id.Host, id.Stack, id.Service
	case spiffe.Genesis:
		s.Genesis = id.Name
	case spiffe.Operator:
		s.Operator = id.Name
	}
	return s
}

// Token returns a one-time token for id.
func (ca *CA) Token(t testing.TB, id spiffe.ID) string {
	t.Helper()
	return ca.TokenFor(t, id.CommonName(), append([]string{id.String()}, id.DNSNames()...)...)
}

// TokenFor returns a one-time token for any names, also wrong ones.
func (ca *CA) TokenFor(t testing.TB, commonName string, sans ...string) string {
	t.Helper()
	serial, err := randutil.Hex(64)
	if err != nil {
		t.Fatalf("making a token: %v", err)
	}
	now := time.Now()
	tok, err := provision.New(commonName,
		token.WithJWTID(serial),
		token.WithKid(ca.key.KeyID),
		token.WithIssuer(ProvisionerName),
		token.WithAudience(ca.URL+"/1.0/sign"),
		token.WithValidity(now, now.Add(tokenTTL)),
		token.WithSHA(ca.Fingerprint),
		token.WithSANS(sans),
	)
	if err != nil {
		t.Fatalf("making a token: %v", err)
	}
	signed, err := tok.SignedString(jose.ES256, ca.key.Key)
	if err != nil {
		t.Fatalf("signing a token: %v", err)
	}
	return signed
}

// ProvisionerJWK returns the provisioner's private key as a JWK file holds it.
func (ca *CA) ProvisionerJWK(t testing.TB) []byte {
	t.Helper()
	data, err := ca.key.MarshalJSON()
	if err != nil {
		t.Fatalf("writing the provisioner's key: %v", err)
	}
	return data
}

// Roots returns the authority's root certificates.
func (ca *CA) Roots() []*x509.Certificate { return []*x509.Certificate{ca.pki.Root} }

// Dir returns a new directory with id.pem and roots.pem: an identity issued by the authority at this moment, as an
// enrolment would, which it will also renew. It works on a stopped authority too. Besides the names of id the
// certificate holds 127.0.0.1, so that a test's server is reached without a name server.
func (ca *CA) Dir(t testing.TB, id spiffe.ID) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "identity")
	ca.Issue(t, id, dir)
	return dir
}

// Files opens what Dir makes.
func (ca *CA) Files(t testing.TB, id spiffe.ID) *identity.Files {
	t.Helper()
	return identity.Open(ca.Dir(t, id))
}

// Issue writes an identity to dir like Dir, keeping the key that is there: what a renewal leaves behind.
func (ca *CA) Issue(t testing.TB, id spiffe.ID, dir string) {
	t.Helper()
	key := ensureKey(t, dir)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: id.CommonName()}, DNSNames: id.DNSNames(), URIs: []*url.URL{id.URI()},
		IPAddresses: []net.IP{loopback},
	}, key)
	if err != nil {
		t.Fatalf("making a request: %v", err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatalf("making a request: %v", err)
	}
	ctx := provisioner.NewContextWithMethod(context.Background(), provisioner.SignMethod)
	ott := ca.TokenFor(t, id.CommonName(), append([]string{id.String(), loopback.String()}, id.DNSNames()...)...)
	ca.authorising.Lock()
	options, err := ca.authority.Load().Authorize(ctx, ott)
	ca.authorising.Unlock()
	if err != nil {
		t.Fatalf("authorising %s: %v", id, err)
	}
	chain, err := ca.authority.Load().SignWithContext(ctx, csr, provisioner.SignOptions{}, options...)
	if err != nil {
		t.Fatalf("signing %s: %v", id, err)
	}
	ca.save(t, dir, key, chain)
}

// DirOf returns a directory like Dir with a certificate the authority would never give: the template's names,
// times and usages, signed by its intermediate key. Zero times mean from a minute ago for an hour, no usage both client and server, no address 127.0.0.1.
func (ca *CA) DirOf(t testing.TB, template x509.Certificate) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "identity")
	key := ensureKey(t, dir)
	ca.save(t, dir, key, ca.sign(t, template, key.Public()))
	return dir
}

// Certificate returns an identity that is in no file and did not take the way through the authority, for tests that
// need thousands of them.
func (ca *CA) Certificate(t testing.TB, id spiffe.ID) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("making a key: %v", err)
	}
	chain := ca.sign(t, x509.Certificate{
		Subject: pkix.Name{CommonName: id.CommonName()}, DNSNames: id.DNSNames(), URIs: []*url.URL{id.URI()},
	}, key.Public())
	certificate := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, one := range chain {
		certificate.Certificate = append(certificate.Certificate, one.Raw)
	}
	return certificate
}

// sign makes a certificate of the template, with its chain.
func (ca *CA) sign(t testing.TB, template x509.Certificate, key crypto.PublicKey) []*x509.Certificate {
	t.Helper()
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Minute)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = template.NotBefore.Add(time.Hour)
	}
	if template.IPAddresses == nil {
		template.IPAddresses = []net.IP{loopback}
	}
	if template.ExtKeyUsage == nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatalf("making a certificate: %v", err)
	}
	template.SerialNumber = serial
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.PublicKey = key
	leaf, err := ca.pki.Sign(&template)
	if err != nil {
		t.Fatalf("making a certificate: %v", err)
	}
	return []*x509.Certificate{leaf, ca.pki.Intermediate}
}

func (ca *CA) save(t testing.TB, dir string, key crypto.Signer, chain []*x509.Certificate) {
	t.Helper()
	if err := identity.SaveRoots(dir, ca.Roots()); err != nil {
		t.Fatal(err)
	}
	if err := identity.SaveIdentity(dir, key, chain); err != nil {
		t.Fatal(err)
	}
}

func ensureKey(t testing.TB, dir string) crypto.Signer {
	t.Helper()
	key, err := identity.EnsureKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if k, ok := key.(*ecdsa.PrivateKey); !ok || k.Curve != elliptic.P256() {
		t.Fatalf("the key in %s is a %T, not ECDSA P-256", dir, key)
	}
	return key
}
