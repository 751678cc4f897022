// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"sync"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/spiffe"
)

// trust is whom a look believes, and what it shows to servers.
//
// Nothing of it is read before a look: the file of the roots may be one that confighub renders, which it does after healthhub
// has started, and identity and roots are renewed while looks are taken.
type trust struct {
	serverName string // the name a server must prove; "": the one it was asked by
	verify     bool   // check the server's certificate
	identity   bool   // show this container's identity
	roots      roots
	files      *identity.Files // nil: no identity and no roots of the fleet

	mu   sync.Mutex // guards conf
	conf *tls.Config
}

// newTrust takes what the settings of a check say. Where they name no roots, those of the fleet count for a server that is shown the
// identity, else usual, one of the words of setting.Check.CA.
func newTrust(s setting.Check, files *identity.Files, usual string) *trust {
	t := &trust{serverName: s.ServerName, verify: s.Verify == nil || *s.Verify, identity: s.Identity, files: files}
	t.roots = roots{from: s.CA, files: files}
	if t.roots.from == "" {
		t.roots.from = usual
		if s.Identity {
			t.roots.from = setting.CAFleet
		}
	}
	return t
}

// client gives the TLS side of a look; host is whom it asks. An error means that the look cannot be taken.
func (t *trust) client(host string) (*tls.Config, error) {
	if t.identity {
		if t.files == nil {
			return nil, identity.ErrNone
		}
		if _, err := t.files.Certificate(); err != nil {
			return nil, err
		}
	}
	var pool *x509.CertPool
	if t.verify {
		var err error
		if pool, err = t.roots.pool(); err != nil {
			return nil, err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conf != nil && t.conf.RootCAs == pool {
		return t.conf, nil
	}
	t.conf = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.serverName, RootCAs: pool, InsecureSkipVerify: !t.verify}
	if t.conf.ServerName == "" {
		t.conf.ServerName = host
	}
	if t.identity {
		t.conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.files.Certificate() }
		t.conf.VerifyConnection = t.checkOurs
	}
	return t.conf, nil
}

// checkOurs asks more of a server that says it is one of the fleet, as package mtls does: TLS 1.3 and an identity of our trust domain. Chain
// and DNS name are checked already; without check of the chain a name means nothing.
func (t *trust) checkOurs(state tls.ConnectionState) error {
	if !t.verify || t.roots.from != setting.CAFleet || len(state.PeerCertificates) == 0 {
		return nil
	}
	cert := state.PeerCertificates[0]
	if !slices.ContainsFunc(cert.URIs, func(u *url.URL) bool { return u.Scheme == "spiffe" }) {
		return nil
	}
	theirs, err := spiffe.FromCertificate(cert)
	if err != nil {
		return err
	}
	ours, err := t.files.ID()
	if err != nil {
		return err
	}
	if theirs.TrustDomain != ours.TrustDomain {
		return fmt.Errorf("the server is %s, which is not of the fleet %s", theirs, ours.TrustDomain)
	}
	if state.Version < tls.VersionTLS13 {
		return fmt.Errorf("the server is %s and speaks %s, servers of the fleet speak TLS 1.3", theirs, tls.VersionName(state.Version))
	}
	return nil
}

// roots are the certificates that a chain must lead to.
type roots struct {
	from  string // setting.CASystem, setting.CAFleet, or a PEM file
	files *identity.Files

	mu   sync.Mutex  // guards what follows
	seen fs.FileInfo // of the file that was read
	read *x509.CertPool
}

// pool gives the roots as they are now, the same one as long as they do not change; nil: the system's.
func (r *roots) pool() (*x509.CertPool, error) {
	switch r.from {
	case setting.CASystem:
		return nil, nil
	case setting.CAFleet:
		if r.files == nil {
			return nil, identity.ErrNone
		}
		return r.files.Roots()
	}
	info, err := os.Stat(r.from)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen != nil && os.SameFile(info, r.seen) && info.Size() == r.seen.Size() && info.ModTime().Equal(r.seen.ModTime()) {
		return r.read, nil
	}
	data, err := readFile(r.from, maxPEMBytes)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate", r.from)
	}
	r.seen, r.read = info, pool
	return pool, nil
}

// maxPEMBytes bounds a file of certificates: Debian's bundle of all public roots has 220 KiB.
const maxPEMBytes = 1 << 20

// readFile reads a regular file of a bounded size.
func readFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s: must be a regular file of at most %d bytes", path, limit)
	}
	return os.ReadFile(path)
}

// untrusting is the result of a look that has no certificate to show, or no roots to judge by.
func untrusting(err error) Result {
	if errors.Is(err, identity.ErrNone) {
		return blind("this container has no certificate yet").advise("see identity.json in the run directory for how the enrolment goes")
	}
	return blind("certificates cannot be judged: %v", err).advise("make the file that the setting ca names readable for healthhub")
}
