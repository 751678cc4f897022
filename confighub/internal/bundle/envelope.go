// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// PayloadType of the DSSE envelope around a Pointer.
	PayloadType = "application/vnd.cloud4.bundle+json"
	// DigestPrefix stands before the hexadecimal SHA-256 of a packed bundle.
	DigestPrefix = "sha256:"
	// MaxEnvelope bounds the answer to GET …/current, in bytes.
	MaxEnvelope = 64 << 10
	// MaxSignatures bounds an envelope: each costs a check per trusted key.
	MaxSignatures = 16
	// PointerSchema is the version of Pointer's own form.
	PointerSchema = 1
	// MaxSerial is the largest whole number that every reader of JSON keeps exactly (RFC 8259 §6). Above the
	// largest there would be no serial for a next version.
	MaxSerial = 1 << 53
)

// Pointer says which bundle an identity is to have.
type Pointer struct {
	Schema int `json:"schema"`
	// Identity is the bundle name: web.shop.vm1.
	Identity string `json:"identity"`
	// Serial grows with every publication, a rollback included.
	Serial uint64 `json:"serial"`
	// Revision is for people: a git commit, or what the publisher calls it.
	Revision string    `json:"revision,omitempty"`
	Created  time.Time `json:"created"`
	// Expires is the time after which the version is no longer taken as a new one; zero: never.
	Expires time.Time `json:"expires,omitzero"`
	// Digest is "sha256:" and 64 hexadecimal digits, of the packed bundle.
	Digest string `json:"digest"`
	// Size of the packed bundle in bytes.
	Size int64 `json:"size"`
}

// Version is the part of p that tells it from others.
func (p Pointer) Version() Version { return Version{Serial: p.Serial, Digest: p.Digest} }

// Check says what is wrong with a pointer in itself.
func (p Pointer) Check() error {
	switch {
	case p.Schema != PointerSchema:
		return fmt.Errorf("schema: must be %d, got %d (a newer genesis?)", PointerSchema, p.Schema)
	case p.Identity == "":
		return errors.New("identity: is empty")
	case p.Serial == 0 || p.Serial > MaxSerial:
		return fmt.Errorf("serial: must be between 1 and %d, got %d", uint64(MaxSerial), p.Serial)
	case p.Size <= 0 || p.Size > MaxPacked:
		return fmt.Errorf("size: must be between 1 and %d bytes, got %d", MaxPacked, p.Size)
	}
	if err := checkDigest(p.Digest); err != nil {
		return fmt.Errorf("digest: %w", err)
	}
	return nil
}

func checkDigest(digest string) error {
	text, ok := strings.CutPrefix(digest, DigestPrefix)
	if raw, err := hex.DecodeString(text); !ok || err != nil || len(raw) != sha256.Size || strings.ToLower(text) != text {
		return fmt.Errorf("must be sha256: and 64 lower-case hexadecimal digits, got %q", digest)
	}
	return nil
}

// Digest returns the digest of a packed bundle.
func Digest(packed []byte) string {
	sum := sha256.Sum256(packed)
	return DigestPrefix + hex.EncodeToString(sum[:])
}

// Envelope is a DSSE envelope (protocol.md of DSSE v1.0.2). Byte slices travel as base64.
type Envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     []byte      `json:"payload"`
	Signatures  []Signature `json:"signatures"`
}

// Signature is one signature of an Envelope over its pre-authentication encoding.
type Signature struct {
	KeyID string `json:"keyid,omitempty"`
	Sig   []byte `json:"sig"`
}

// Seal puts p into an envelope and signs it with each key; with none the envelope is unsigned and the TLS
// connection alone vouches for it.
func Seal(p Pointer, keys ...ed25519.PrivateKey) (*Envelope, error) {
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("sealing the pointer: %w", err)
	}
	payload, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("sealing the pointer: %w", err)
	}
	e := &Envelope{PayloadType: PayloadType, Payload: payload, Signatures: []Signature{}}
	for _, key := range keys {
		sig := ed25519.Sign(key, pae(PayloadType, payload))
		e.Signatures = append(e.Signatures, Signature{KeyID: KeyID(key.Public().(ed25519.PublicKey)), Sig: sig})
	}
	return e, nil
}

// ParseEnvelope reads what GET …/current answered: its form alone, nothing of it is trusted yet.
func ParseEnvelope(raw []byte) (*Envelope, error) {
	var e Envelope
	if err := e.parse(raw); err != nil {
		return nil, fmt.Errorf("reading the envelope: %w", err)
	}
	return &e, nil
}

func (e *Envelope) parse(raw []byte) error {
	if len(raw) > MaxEnvelope {
		return fmt.Errorf("is larger than %d bytes: no confighub wrote it", MaxEnvelope)
	}
	if err := json.Unmarshal(raw, e); err != nil {
		return fmt.Errorf("%w: is this what confighub publish or serve hands out?", err)
	}
	switch {
	case e.PayloadType != PayloadType:
		return fmt.Errorf("payloadType must be %s, got %.80q: it is made for something else, or by a newer confighub", PayloadType, e.PayloadType)
	case len(e.Signatures) > MaxSignatures:
		return fmt.Errorf("has %d signatures, more than %d: sign with fewer keys", len(e.Signatures), MaxSignatures)
	}
	for i, s := range e.Signatures {
		if slices.ContainsFunc(e.Signatures[:i], func(o Signature) bool { return bytes.Equal(o.Sig, s.Sig) }) {
			return fmt.Errorf("has the same signature twice (of %.40q): sign once with each key", s.KeyID)
		}
	}
	return nil
}

// Marshal returns the envelope's JSON.
func (e *Envelope) Marshal() ([]byte, error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("writing the envelope: %w", err)
	}
	return append(raw, '\n'), nil
}

// ErrUntrusted means that no trusted key signed the envelope.
var ErrUntrusted = errors.New("no signature of a trusted key")

// Verify returns nil when at least one of keys signed the envelope, over the very bytes that Pointer then reads. The key id of
// a signature is a hint that an attacker writes, so every key is tried. The error is ErrUntrusted, with what to do.
func (e *Envelope) Verify(keys []ed25519.PublicKey) error {
	message := pae(e.PayloadType, e.Payload)
	for _, s := range e.Signatures {
		for _, key := range keys {
			if len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, s.Sig) {
				return nil
			}
		}
	}
	return fmt.Errorf("verifying the envelope: %w: %s", ErrUntrusted, e.distrust(keys))
}

// distrust says why no key fits, as far as the envelope's own word goes.
func (e *Envelope) distrust(keys []ed25519.PublicKey) string {
	if len(e.Signatures) == 0 {
		return "it is not signed: publish it with --sign KEY"
	}
	var trusted, named []string
	for _, key := range keys {
		trusted = append(trusted, KeyID(key))
	}
	for _, s := range e.Signatures {
		if slices.Contains(trusted, s.KeyID) {
			return "the signature of " + s.KeyID + " does not fit: it was changed after it was signed; publish it again"
		}
		named = append(named, fmt.Sprintf("%.40q", s.KeyID))
	}
	return fmt.Sprintf("it is signed by %s, trusted is %s: if that key is yours add it to config.trusted_keys, else find out who published it",
		strings.Join(named, ", "), strings.Join(trusted, ", "))
}

// Pointer returns the checked payload. Unknown fields are ignored: genesis may be newer.
func (e *Envelope) Pointer() (Pointer, error) {
	var p Pointer
	if err := json.Unmarshal(e.Payload, &p); err != nil {
		return Pointer{}, fmt.Errorf("reading the pointer: %w", err)
	}
	if err := p.Check(); err != nil {
		return Pointer{}, fmt.Errorf("reading the pointer: %w", err)
	}
	return p, nil
}

// pae is DSSE's pre-authentication encoding: "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body.
func pae(payloadType string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "DSSEv1 %d %s %d ", len(payloadType), payloadType, len(body))
	b.Write(body)
	return b.Bytes()
}
