// SPDX-License-Identifier: AGPL-3.0-or-later

package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"cloud4.internal/hub/internal/atomicfile"
)

// EnsureKey returns the private key in dir/id.pem, or makes one (ECDSA P-256), which is on the disk when it
// returns. A key that was used in a request and then lost would leave a certificate nobody can use, and a
// token that is spent. The directory is made if need be, mode 0700.
func EnsureKey(dir string) (crypto.Signer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the identity's directory: %w", err)
	}
	path := filepath.Join(dir, fileID)
	data, err := os.ReadFile(path)
	if err == nil {
		key, err := parseKey(data)
		if err != nil {
			return nil, fmt.Errorf("reading the key in %s: %w", path, err)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the identity: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key: %w", err)
	}
	return key, SaveIdentity(dir, key, nil)
}

// SaveIdentity replaces dir/id.pem by the key and its chain, leaf first: mode 0600, on the disk when it
// returns, whole at every moment.
func SaveIdentity(dir string, key crypto.Signer, chain []*x509.Certificate) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("writing the identity: %w", err)
	}
	var buf bytes.Buffer
	if err := pem.Encode(&buf, &pem.Block{Type: blockKey, Bytes: der}); err != nil {
		return fmt.Errorf("writing the identity: %w", err)
	}
	buf.Write(encodeCertificates(chain))
	if err := atomicfile.Write(filepath.Join(dir, fileID), buf.Bytes(), 0o600); err != nil {
		return fmt.Errorf("writing the identity: %w", err)
	}
	return nil
}

// SaveRoots replaces dir/roots.pem, mode 0644. It is written before the first certificate, so that whoever
// sees an identity sees its roots.
func SaveRoots(dir string, roots []*x509.Certificate) error {
	if len(roots) == 0 {
		return fmt.Errorf("writing the roots: there are none")
	}
	if err := atomicfile.Write(filepath.Join(dir, fileRoots), encodeCertificates(roots), 0o644); err != nil {
		return fmt.Errorf("writing the roots: %w", err)
	}
	return nil
}

// SetAside moves the identity in dir to dir/old-<time>, where it is kept for whoever needs to look: it
// belongs to another name than the settings say. It returns the new place.
func SetAside(dir string, now time.Time) (string, error) {
	old := filepath.Join(dir, "old-"+now.UTC().Format("20060102T150405.000000000"))
	if err := os.Mkdir(old, 0o700); err != nil {
		return "", fmt.Errorf("setting the old identity aside: %w", err)
	}
	for _, name := range []string{fileID, fileRoots} {
		err := os.Rename(filepath.Join(dir, name), filepath.Join(old, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("setting the old identity aside: %w", err)
		}
	}
	return old, nil
}

func encodeCertificates(certs []*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: blockCert, Bytes: c.Raw})...)
	}
	return out
}

func parseKey(data []byte) (crypto.Signer, error) {
	blocks, err := decode(data)
	if err != nil {
		return nil, err
	}
	for _, block := range blocks {
		if block.Type != blockKey {
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
		return nil, fmt.Errorf("a %T cannot sign", key)
	}
	return nil, fmt.Errorf("holds no %s", blockKey)
}
