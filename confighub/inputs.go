// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/identity"
)

// maxSecret bounds a secret's file.
const maxSecret = 1 << 20

// environment returns the named variables that are set.
func environment(names []string) map[string]string {
	values := map[string]string{}
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			values[name] = value
		}
	}
	return values
}

// readSecrets reads the named files. One that cannot be read is absent: a template that uses it then says so.
func readSecrets(files map[string]string, log zerolog.Logger) map[string]string {
	values := map[string]string{}
	for name, file := range files {
		value, err := readSecret(file)
		if err != nil {
			log.Warn().Str("secret", name).Err(err).Msg("a secret cannot be read")
			continue
		}
		values[name] = value
	}
	return values
}

// readSecret reads a file without the one newline that editors put at its end.
func readSecret(file string) (string, error) {
	raw, err := hubfile.ReadFile(file, maxSecret)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r"), nil
}

// sealKey is the key for what is sealed for this container. One that could not be read or made is tried again each time.
func (h *hub) sealKey() (*seal.Key, error) {
	if h.key == nil {
		if h.key, h.keyErr = seal.EnsureKey(identity.Dir()); h.keyErr == nil {
			h.reports.recipient = h.key.Recipient()
		}
	}
	return h.key, h.keyErr
}

// opener opens what is sealed in the bundle. The error is of this machine, and no fault of the bundle's.
func (h *hub) opener(b *bundle.Bundle) (render.Opener, error) {
	key, err := h.sealKey()
	switch {
	case err == nil:
		return key, nil
	case seal.Any(b.Data):
		return nil, fmt.Errorf("it holds sealed values: %w", err)
	}
	return nil, nil
}

// borrowKey takes the key of a sibling replica, whose bundle is borrowed too: for itself, without identity, this one can
// tell nobody a recipient.
func (h *hub) borrowKey(slot string) {
	key, err := seal.ReadKey(filepath.Join(slot, "identity", seal.KeyFile))
	if err == nil {
		h.key = key
	} else if !errors.Is(err, fs.ErrNotExist) {
		h.log.Warn().Err(err).Msg("the sibling's key for sealed values cannot be used")
	}
}

// identityPEM is the certificate files that targets may be; nil without an identity.
func identityPEM(files *identity.Files) map[string][]byte {
	certificate, err := files.Certificate()
	if err != nil {
		return nil
	}
	roots, err := files.RootCertificates()
	if err != nil {
		return nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		return nil
	}
	var chain, anchors bytes.Buffer
	for _, raw := range certificate.Certificate {
		pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: raw})
	}
	for _, root := range roots {
		pem.Encode(&anchors, &pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return map[string][]byte{
		bundle.IdentityCert: chain.Bytes(), bundle.IdentityKey: key, bundle.IdentityRoots: anchors.Bytes(),
		bundle.IdentityCombined: append(bytes.Clone(key), chain.Bytes()...),
	}
}
