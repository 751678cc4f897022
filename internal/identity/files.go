// SPDX-License-Identifier: AGPL-3.0-or-later

package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"cloud4.internal/hub/internal/spiffe"
)

// ErrNone says that there is no identity: not enrolled, or not yet.
var ErrNone = errors.New("no identity yet")

// lookInterval is how often the files are looked at, at most: a stat costs 2 µs, and a second is well below
// the time between "renewed" and "the old one has expired", which is half of a lifetime.
const lookInterval = time.Second

// Files is the identity in a directory as it is now. The files are looked at when somebody asks, at most once
// a second. What is read replaces what was there only if all of it can be used: a broken file changes nothing
// but [Files.Err]. Methods may be called from several goroutines.
type Files struct {
	dir string

	mu     sync.Mutex // guards all below
	looked time.Time
	seen   [2]fs.FileInfo // of id.pem and roots.pem at the last look; nil: absent
	now    snapshot
	err    error
}

// snapshot is what one reading of both files gave.
type snapshot struct {
	generation uint64
	cert       *tls.Certificate // nil: none
	id         spiffe.ID        // zero without cert
	roots      *x509.CertPool   // nil: none; never changed once made
	rootCerts  []*x509.Certificate
}

// Open returns the identity in dir. The directory need not exist, now or later.
func Open(dir string) *Files { return &Files{dir: dir} }

// Certificate returns key and chain, leaf first and parsed; [ErrNone] while there is none. An expired one is
// returned like any other: the peer decides.
func (f *Files) Certificate() (*tls.Certificate, error) {
	s, err := f.look()
	if s.cert == nil {
		return nil, none(err)
	}
	return s.cert, nil
}

// ID returns the name in the certificate; [ErrNone] while there is none.
func (f *Files) ID() (spiffe.ID, error) {
	s, err := f.look()
	if s.cert == nil {
		return spiffe.ID{}, none(err)
	}
	return s.id, nil
}

// Roots returns the roots the fleet trusts, a pool that never changes; [ErrNone] while there is none.
func (f *Files) Roots() (*x509.CertPool, error) {
	s, err := f.look()
	if s.roots == nil {
		return nil, none(err)
	}
	return s.roots, nil
}

// RootCertificates returns what [Files.Roots] holds, one by one.
func (f *Files) RootCertificates() ([]*x509.Certificate, error) {
	s, err := f.look()
	if s.roots == nil {
		return nil, none(err)
	}
	return s.rootCerts, nil
}

// Generation counts the identities and root sets seen: it changes whenever Certificate or Roots does.
// 0: nothing was ever read.
func (f *Files) Generation() uint64 {
	s, _ := f.look()
	return s.generation
}

// Err returns why the last change of the files was not taken; nil if what is used is what stands there.
func (f *Files) Err() error {
	_, err := f.look()
	return err
}

// Reload looks at the files now, for the one who has just written them.
func (f *Files) Reload() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked = time.Now()
	f.reload()
	return f.err
}

// How often [Files.Wait] looks: often while a new container is being enrolled, which takes a fraction of a second.
const (
	waitInterval = 100 * time.Millisecond
	waitEager    = time.Minute // for so long; from then on every lookInterval
)

// Wait returns nil as soon as there are certificate and roots, at the latest a tenth of a second after its files were written, or
// ctx's error. It says nothing of files that cannot be used; see [Files.Err].
func (f *Files) Wait(ctx context.Context) error {
	begin := time.Now()
	tick := time.NewTicker(waitInterval)
	defer tick.Stop()
	for {
		f.Reload() // what is wrong is kept for Err
		_, noCert := f.Certificate()
		_, noRoots := f.Roots()
		if noCert == nil && noRoots == nil {
			return nil
		}
		if time.Since(begin) > waitEager {
			tick.Reset(lookInterval)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func none(err error) error {
	if err != nil {
		return err
	}
	return ErrNone
}

func (f *Files) look() (snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); f.looked.IsZero() || now.Sub(f.looked) >= lookInterval {
		f.looked = now
		f.reload()
	}
	return f.now, f.err
}

// reload reads both files if one of them is another file than last time.
func (f *Files) reload() {
	var seen [2]fs.FileInfo
	for i, name := range []string{fileID, fileRoots} {
		info, err := os.Stat(filepath.Join(f.dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.err = fmt.Errorf("reading the identity: %w", err)
			return
		}
		if err == nil {
			seen[i] = info
		}
	}
	if same(seen[0], f.seen[0]) && same(seen[1], f.seen[1]) && f.err == nil {
		return
	}
	next, err := load(f.dir)
	if err != nil {
		f.err = err
		return
	}
	f.seen, f.err = seen, nil
	if sameCert(next.cert, f.now.cert) && sameRoots(next.rootCerts, f.now.rootCerts) {
		return
	}
	next.generation = f.now.generation + 1
	f.now = next
}

func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func sameCert(a, b *tls.Certificate) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	// A chain may change without its leaf, when an intermediate is replaced.
	if len(a.Certificate) != len(b.Certificate) {
		return false
	}
	for i := range a.Certificate {
		if !bytes.Equal(a.Certificate[i], b.Certificate[i]) {
			return false
		}
	}
	return true
}

func sameRoots(a, b []*x509.Certificate) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}

// load reads both files; a missing one leaves its part nil.
func load(dir string) (snapshot, error) {
	var s snapshot
	data, err := os.ReadFile(filepath.Join(dir, fileID))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("reading the identity: %w", err)
	}
	blocks, err := decode(data)
	if err != nil {
		return s, fmt.Errorf("reading the identity %s: %w", filepath.Join(dir, fileID), err)
	}
	if slices.ContainsFunc(blocks, func(b *pem.Block) bool { return b.Type == blockCert }) {
		cert, err := tls.X509KeyPair(data, data)
		if err != nil {
			return s, fmt.Errorf("reading the identity %s: %w", filepath.Join(dir, fileID), err)
		}
		s.cert = &cert
		if s.id, err = spiffe.FromCertificate(cert.Leaf); err != nil {
			return s, fmt.Errorf("reading the identity %s: %w", filepath.Join(dir, fileID), err)
		}
	}
	path := filepath.Join(dir, fileRoots)
	data, err = os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("reading the roots: %w", err)
	}
	if s.rootCerts, err = parseCertificates(data); err != nil {
		return s, fmt.Errorf("reading the roots %s: %w", path, err)
	}
	s.roots = x509.NewCertPool()
	for _, root := range s.rootCerts {
		s.roots.AddCert(root)
	}
	return s, nil
}

const (
	blockKey  = "PRIVATE KEY" // PKCS #8
	blockCert = "CERTIFICATE"
)

// decode reads all blocks of a PEM file. What follows the last one is an error: it is a block that was cut off,
// which package pem would pass over.
func decode(data []byte) ([]*pem.Block, error) {
	var out []*pem.Block
	for len(bytes.TrimSpace(data)) > 0 {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, errors.New("ends in the middle, or is no PEM")
		}
		out, data = append(out, block), rest
	}
	return out, nil
}

// parseCertificates reads every certificate of a PEM file that holds nothing else; at least one.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	blocks, err := decode(data)
	if err != nil {
		return nil, err
	}
	var out []*x509.Certificate
	for _, block := range blocks {
		if block.Type != blockCert {
			return nil, fmt.Errorf("holds a %s, must hold certificates alone", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no certificate")
	}
	return out, nil
}
