// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// KeyID is the first 16 hexadecimal digits of the SHA-256 of a public key.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// ParsePublicKey reads a trusted key: "ed25519:<base64 of 32 bytes>", or a line of OpenSSH
// ("ssh-ed25519 AAAA… comment", RFC 8709 §4).
func ParsePublicKey(text string) (ed25519.PublicKey, error) {
	if rest, ok := strings.CutPrefix(text, "ed25519:"); ok {
		raw, err := base64.StdEncoding.Strict().DecodeString(rest)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("must be ed25519: and the base64 of 32 bytes, got %q", text)
		}
		return raw, nil
	}
	fields := strings.Fields(text)
	if len(fields) >= 2 && fields[0] == ssh.KeyAlgoED25519 {
		blob, err := base64.StdEncoding.DecodeString(fields[1])
		prefix := append(binary.BigEndian.AppendUint32(nil, uint32(len(ssh.KeyAlgoED25519))), ssh.KeyAlgoED25519...)
		prefix = binary.BigEndian.AppendUint32(prefix, ed25519.PublicKeySize)
		if raw, ok := bytes.CutPrefix(blob, prefix); err == nil && ok && len(raw) == ed25519.PublicKeySize {
			return raw, nil
		}
	}
	return nil, fmt.Errorf(`must be "ed25519:<base64>" or "ssh-ed25519 <base64>", got %q`, text)
}

// FormatPublicKey is the form that ParsePublicKey reads first.
func FormatPublicKey(key ed25519.PublicKey) string {
	return "ed25519:" + base64.StdEncoding.EncodeToString(key)
}

// Errors of ParsePrivateKey that a passphrase mends, or another one.
var (
	ErrEncrypted       = errors.New("the key is encrypted and wants its passphrase")
	ErrWrongPassphrase = errors.New("the passphrase does not open the key")
)

// PEM types of private keys.
const (
	pemOpenSSH        = "OPENSSH PRIVATE KEY"   // PROTOCOL.key of OpenSSH
	pemPKCS8          = "PRIVATE KEY"           // RFC 5958
	pemEncryptedPKCS8 = "ENCRYPTED PRIVATE KEY" // likewise, §3
)

// ParsePrivateKey reads an ed25519 signing key: OpenSSH's own form, as ssh-keygen -t ed25519 writes it, or PKCS #8, as
// openssl genpkey -algorithm ed25519 does, both in PEM. An encrypted key of OpenSSH wants its passphrase: without one
// the error is ErrEncrypted, with a wrong one ErrWrongPassphrase. For a key that is not encrypted it is not looked at.
func ParsePrivateKey(text, passphrase []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("is no private key in PEM: make one with ssh-keygen -t ed25519")
	}
	var parsed any
	var err error
	switch block.Type {
	case pemOpenSSH:
		parsed, err = parseOpenSSH(text, passphrase)
	case pemPKCS8:
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case pemEncryptedPKCS8:
		err = errors.New("is encrypted in the form of PKCS #8, which is not read: make a key with ssh-keygen -t ed25519, whose encryption is")
	default:
		err = fmt.Errorf("is a PEM %q, not a private key: make one with ssh-keygen -t ed25519", block.Type)
	}
	if err != nil {
		return nil, err
	}
	switch key := parsed.(type) {
	case ed25519.PrivateKey:
		return whole(key)
	case *ed25519.PrivateKey:
		return whole(*key)
	}
	return nil, errors.New("is a key of another kind: it must be ed25519, as ssh-keygen -t ed25519 makes it")
}

func parseOpenSSH(text, passphrase []byte) (any, error) {
	parsed, err := ssh.ParseRawPrivateKey(text)
	if _, locked := errors.AsType[*ssh.PassphraseMissingError](err); !locked {
		return parsed, err
	}
	if len(passphrase) == 0 {
		return nil, ErrEncrypted
	}
	parsed, err = ssh.ParseRawPrivateKeyWithPassphrase(text, passphrase)
	if errors.Is(err, x509.IncorrectPasswordError) {
		err = ErrWrongPassphrase
	}
	return parsed, err
}

// whole refuses a key whose two halves do not belong together, as a file holds both: signatures of such a pair give the
// private half away.
func whole(key ed25519.PrivateKey) (ed25519.PrivateKey, error) {
	if len(key) != ed25519.PrivateKeySize || !ed25519.NewKeyFromSeed(key.Seed()).Equal(key) {
		return nil, errors.New("is damaged: its public half is not that of its private half")
	}
	return key, nil
}
