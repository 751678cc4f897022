// SPDX-License-Identifier: AGPL-3.0-or-later

package enrol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/smallstep/cli-utils/token"
	"github.com/smallstep/cli-utils/token/provision"
	"go.step.sm/crypto/jose"
	"go.step.sm/crypto/randutil"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/spiffe"
)

// Bounds of a token's life: the authority's own library refuses more and less.
const (
	MinTokenTTL = token.MinValidity // 10 s
	MaxTokenTTL = token.MaxValidity // 1 h
)

// Minter makes one-time tokens offline: it holds the provisioner's private key, so whoever has it can be anybody.
type Minter struct {
	Provisioner string        // the provisioner's name in ca.json
	CAURL       string        // the authority, as the containers reach it, by one of its dnsNames
	Fingerprint string        // of the authority's root
	TTL         time.Duration // from now; MinTokenTTL to MaxTokenTTL

	key *jose.JSONWebKey
}

// OpenMinter reads the provisioner's private key: a JWK, plain or encrypted (JWE) with the password in passwordFile; ""
// for a plain one. The fields are the caller's to set.
func OpenMinter(path, passwordFile string) (*Minter, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the provisioner's key: %w", err)
	}
	if data, err = decrypt(data, path, passwordFile); err != nil {
		return nil, err
	}
	key := new(jose.JSONWebKey)
	if err := json.Unmarshal(data, key); err != nil || !key.Valid() || key.IsPublic() || jose.IsSymmetric(key) {
		return nil, fmt.Errorf("%s holds no private JWK", path)
	}
	if key.Algorithm == "" {
		return nil, fmt.Errorf(`%s: the JWK has no "alg"`, path)
	}
	return &Minter{key: key}, nil
}

// decrypt opens a JWE; anything else is returned as it is.
func decrypt(data []byte, path, passwordFile string) ([]byte, error) {
	text := strings.TrimSpace(string(data))
	if !strings.Contains(text, `"ciphertext"`) && strings.Count(text, ".") != 4 {
		return data, nil
	}
	if passwordFile == "" {
		return nil, fmt.Errorf("%s is encrypted: name the file with its password (--password-file)", path)
	}
	password, err := os.ReadFile(passwordFile)
	if err != nil {
		return nil, fmt.Errorf("reading the password: %w", err)
	}
	plain, err := jose.Decrypt([]byte(text), jose.WithPassword(bytes.TrimRight(password, "\r\n")))
	if err != nil {
		return nil, fmt.Errorf("%s: the password in %s does not open it", path, passwordFile)
	}
	return plain, nil
}

// Mint returns a token that the authority takes once, for exactly the names of id.
func (m *Minter) Mint(id spiffe.ID) (string, error) {
	if err := id.Check(); err != nil {
		return "", err
	}
	fingerprint, err := identity.ParseFingerprint(m.Fingerprint)
	if err != nil {
		return "", fmt.Errorf("fingerprint: %w", err)
	}
	if m.TTL < MinTokenTTL || m.TTL > MaxTokenTTL {
		return "", fmt.Errorf("lifetime of the token: must be between %s and %s, got %s", MinTokenTTL, MaxTokenTTL, m.TTL)
	}
	jti, err := randutil.Hex(64)
	if err != nil {
		return "", fmt.Errorf("making a token: %w", err)
	}
	now := time.Now()
	options := []token.Options{
		token.WithJWTID(jti),
		token.WithIssuer(m.Provisioner),
		token.WithAudience(strings.TrimSuffix(m.CAURL, "/") + "/1.0/sign"),
		token.WithValidity(now, now.Add(m.TTL)),
		token.WithSHA(fingerprint),
		token.WithSANS(append([]string{id.String()}, id.DNSNames()...)),
	}
	if m.key.KeyID != "" {
		options = append(options, token.WithKid(m.key.KeyID))
	}
	t, err := provision.New(id.CommonName(), options...)
	if err != nil {
		return "", fmt.Errorf("making a token: %w", err)
	}
	signed, err := t.SignedString(m.key.Algorithm, m.key.Key)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return signed, nil
}
