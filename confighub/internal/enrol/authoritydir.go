// SPDX-License-Identifier: AGPL-3.0-or-later

package enrol

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"go.step.sm/crypto/jose"
	"go.step.sm/crypto/pemutil"

	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/spiffe"
)

// DefaultProvisioner is the name of the JWK provisioner that [AuthorityDir.Init] makes.
const DefaultProvisioner = "enrol"

// authorityYears is how long root and intermediate last. Their replacement is planned work, not a surprise.
const authorityYears = 10

// AuthorityDir is what a new step-ca needs, as files:
//
//	config/ca.json              what the package comment asks for
//	certs/root_ca.crt           the root, which the fleet trusts
//	certs/intermediate_ca.crt   signs everything
//	secrets/root_ca_key         0600, encrypted; of use only for another intermediate: best moved off the machine
//	secrets/intermediate_ca_key 0600, encrypted
//	secrets/password            0600, opens both: step-ca --password-file secrets/password config/ca.json
//	secrets/<provisioner>.jwk   0600, plain: mints tokens for any name, "confighub token --key"
//	db/                         step-ca's, with the used tokens
//	fingerprint                 SHA-256 of the root, for identity.ca_fingerprint
//
// It is made with crypto/x509 and go.step.sm/crypto, without package pki of the authority's module, which would
// add its whole server to confighub.
type AuthorityDir struct {
	Dir         string
	SeenAs      string   // Dir as step-ca will see it, "" for the same: ca.json holds absolute paths
	DNSNames    []string // names and addresses the authority answers to; at least one
	Address     string   // to listen on, ":9000"
	Provisioner string   // a DNS label
}

// ErrAuthorityExists says that the directory holds an authority already, which is left alone.
var ErrAuthorityExists = errors.New("there is an authority already")

// Init makes the directory, ca.json last, and returns the fingerprint of the root. Where ca.json exists it does
// nothing but return [ErrAuthorityExists].
func (d AuthorityDir) Init() (fingerprint string, err error) {
	if len(d.DNSNames) == 0 {
		return "", errors.New("the authority needs a DNS name")
	}
	if err := spiffe.CheckLabel(d.Provisioner); err != nil {
		return "", fmt.Errorf("provisioner %w", err)
	}
	if _, err := os.Stat(d.path("config/ca.json")); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", d.path("config/ca.json"), errors.Join(ErrAuthorityExists, err))
	}
	for _, sub := range []string{"config", "certs", "secrets", "db"} {
		if err := os.MkdirAll(d.path(sub), 0o700); err != nil {
			return "", fmt.Errorf("making the authority's directory: %w", err)
		}
	}
	root, err := d.makeKeys()
	if err != nil {
		return "", err
	}
	public, err := d.makeProvisioner()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(root.Raw)
	fingerprint = hex.EncodeToString(sum[:])
	if err := d.write("fingerprint", []byte(fingerprint+"\n"), 0o644); err != nil {
		return "", err
	}
	conf, err := json.MarshalIndent(d.config(public), "", "  ")
	if err != nil {
		return "", err
	}
	return fingerprint, d.write("config/ca.json", append(conf, '\n'), 0o600)
}

func (d AuthorityDir) path(name string) string { return filepath.Join(d.Dir, name) }

func (d AuthorityDir) write(name string, data []byte, mode fs.FileMode) error {
	return atomicfile.Write(d.path(name), data, mode)
}

// makeKeys makes root and intermediate.
func (d AuthorityDir) makeKeys() (*x509.Certificate, error) {
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	password := base64.RawURLEncoding.EncodeToString(random)
	if err := d.write("secrets/password", []byte(password+"\n"), 0o600); err != nil {
		return nil, err
	}
	root, rootKey, err := d.makeAuthority("root_ca", "Fleet Root CA", 1, password, nil, nil)
	if err != nil {
		return nil, err
	}
	_, _, err = d.makeAuthority("intermediate_ca", "Fleet Intermediate CA", 0, password, root, rootKey)
	return root, err
}

// makeAuthority makes one certificate authority and writes it; without a parent it signs itself.
func (d AuthorityDir) makeAuthority(file, name string, pathLen int, password string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Minute), // for clocks that are a little behind
		NotAfter:              now.AddDate(authorityYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            pathLen,
		MaxPathLenZero:        pathLen == 0,
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, nil, fmt.Errorf("signing %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	block, err := pemutil.Serialize(key, pemutil.WithPKCS8(true), pemutil.WithPassword([]byte(password)))
	if err != nil {
		return nil, nil, fmt.Errorf("encrypting the key of %s: %w", name, err)
	}
	if err := d.write("secrets/"+file+"_key", pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, nil, err
	}
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return cert, key, d.write("certs/"+file+".crt", crt, 0o644)
}

// makeProvisioner makes the provisioner's key and returns its public part.
func (d AuthorityDir) makeProvisioner() (jose.JSONWebKey, error) {
	key, err := jose.GenerateJWK("EC", "P-256", jose.ES256, "sig", "", 0)
	if err != nil {
		return jose.JSONWebKey{}, fmt.Errorf("making the provisioner's key: %w", err)
	}
	data, err := json.Marshal(key)
	if err != nil {
		return jose.JSONWebKey{}, fmt.Errorf("writing the provisioner's key: %w", err)
	}
	return key.Public(), d.write("secrets/"+d.Provisioner+".jwk", append(data, '\n'), 0o600)
}

// config is ca.json.
func (d AuthorityDir) config(public jose.JSONWebKey) any {
	type object = map[string]any
	at := func(name string) string {
		if d.SeenAs != "" {
			return filepath.Join(d.SeenAs, name)
		}
		return d.path(name)
	}
	return object{
		"root":     at("certs/root_ca.crt"),
		"crt":      at("certs/intermediate_ca.crt"),
		"key":      at("secrets/intermediate_ca_key"),
		"address":  d.Address,
		"dnsNames": d.DNSNames,
		"logger":   object{"format": "text"},
		// bbolt, one file: of the databases step-ca can embed the one that does not suffer from a full disk.
		"db":  object{"type": "bbolt", "dataSource": at("db/step-ca.db")},
		"tls": object{"minVersion": 1.3, "maxVersion": 1.3, "renegotiation": false},
		"authority": object{
			"provisioners": []object{{"type": "JWK", "name": d.Provisioner, "key": public}},
			"claims": object{
				"minTLSCertDuration": "5m", "maxTLSCertDuration": "720h", "defaultTLSCertDuration": "24h",
				"allowRenewalAfterExpiry": true,
			},
			"disableIssuedAtCheck": true,
		},
	}
}
