// SPDX-License-Identifier: AGPL-3.0-or-later

package identitytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"time"

	"go.step.sm/crypto/minica"
)

// makeKeys makes root and intermediate. minica.New would, but lets them begin now, and what they sign may begin earlier.
func (ca *CA) makeKeys() error {
	root, rootKey, err := makeAuthority("Test Root CA", nil, nil)
	if err != nil {
		return err
	}
	intermediate, key, err := makeAuthority("Test Intermediate CA", root, rootKey)
	if err != nil {
		return err
	}
	ca.pki = minica.CA{Root: root, RootSigner: rootKey, Intermediate: intermediate, Signer: key}
	return nil
}

// makeAuthority makes one certificate authority; without a parent it signs itself.
func makeAuthority(name string, parent *x509.Certificate, parentKey crypto.Signer) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-24 * time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            1,
	}
	if parent == nil {
		parent, parentKey = template, key
	} else {
		template.MaxPathLen, template.MaxPathLenZero = 0, true
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}
