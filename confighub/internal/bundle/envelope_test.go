// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestEnvelope(t *testing.T) {
	public, private, _ := ed25519.GenerateKey(nil)
	other, _, _ := ed25519.GenerateKey(nil)
	p := Pointer{Schema: 1, Identity: "web.shop.vm1", Serial: 7, Created: time.Unix(1, 0).UTC(), Digest: Digest([]byte("x")), Size: 1}
	e, err := Seal(p, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	e, err = ParseEnvelope(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.Pointer(); err != nil || got != p {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := e.Verify([]ed25519.PublicKey{other, public}); err != nil {
		t.Error(err)
	}
	if err := e.Verify(nil); !errors.Is(err, ErrUntrusted) {
		t.Errorf("without keys: %v", err)
	}
	if err := e.Verify([]ed25519.PublicKey{nil, {1}}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("with keys that are none: %v", err)
	}
	if err := e.Verify([]ed25519.PublicKey{other}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("another key: %v", err)
	}
	e.Payload = bytes.Replace(e.Payload, []byte(`"serial":7`), []byte(`"serial":8`), 1)
	if err := e.Verify([]ed25519.PublicKey{public}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("another payload: %v", err)
	}
	for name, change := range map[string]func(*Pointer){
		"schema": func(p *Pointer) { p.Schema = 2 }, "identity": func(p *Pointer) { p.Identity = "" }, "serial": func(p *Pointer) { p.Serial = 0 },
		"size": func(p *Pointer) { p.Size = MaxPacked + 1 }, "digest": func(p *Pointer) { p.Digest = "sha256:xyz" },
	} {
		bad := p
		change(&bad)
		if _, err := Seal(bad); err == nil || !strings.Contains(err.Error(), name+": ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// After the highest serial there is none for the next version.
func TestHighestSerial(t *testing.T) {
	p := Pointer{Schema: 1, Identity: "web.shop.vm1", Serial: MaxSerial, Digest: Digest(nil), Size: 1}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
	p.Serial++
	if err := p.Check(); err == nil || err.Error() != "serial: must be between 1 and 9007199254740992, got 9007199254740993" {
		t.Errorf("got %v", err)
	}
}

// The example of the DSSE protocol's text.
func TestPAE(t *testing.T) {
	got := string(pae("http://example.com/HelloWorld", []byte("hello world")))
	if want := "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Errorf("got %q", got)
	}
}

// Whatever an envelope is made into, a trusted key vouches for the bytes that were signed and for no others.
func FuzzEnvelope(f *testing.F) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	p := Pointer{Schema: 1, Identity: "web.shop.vm1", Serial: 7, Created: time.Unix(1, 0).UTC(), Digest: Digest([]byte("x")), Size: 1}
	signed, err := Seal(p, private)
	if err != nil {
		f.Fatal(err)
	}
	for _, keys := range [][]ed25519.PrivateKey{nil, {private}} {
		e, err := Seal(p, keys...)
		if err != nil {
			f.Fatal(err)
		}
		raw, err := e.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"payloadType": "application/vnd.cloud4.bundle+json", "payload": "e30=", "signatures": [{}, null]}`))
	f.Add([]byte(`{"payloadtype": "application/vnd.cloud4.bundle+json", "Payload": null, "payload": "e30="}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := ParseEnvelope(raw)
		if err != nil {
			return
		}
		pointer, pointerErr := e.Pointer()
		if err := e.Verify([]ed25519.PublicKey{public}); err == nil && !bytes.Equal(e.Payload, signed.Payload) {
			t.Errorf("vouched for %q, which says %+v, %v", e.Payload, pointer, pointerErr)
		}
		if pointerErr == nil && pointer.Check() != nil {
			t.Errorf("a pointer that fails its own check: %+v", pointer)
		}
		again, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseEnvelope(again); len(again) <= MaxEnvelope && (err != nil || !bytes.Equal(back.Payload, e.Payload)) {
			t.Errorf("%q comes back as %q: %v", raw, again, err)
		}
	})
}
