// SPDX-License-Identifier: AGPL-3.0-or-later

package serve_test

import (
	"crypto/ed25519"
	"errors"
	"testing"

	"cloud4.internal/hub/confighub/internal/bundle"
)

// Versions are signed with every key of the server, and a change of keys is not a new version.
func TestSigned(t *testing.T) {
	s := newServer(t, shop())
	web := s.container("vm1", "shop", "web", "")
	envelope := func() *bundle.Envelope {
		t.Helper()
		e, err := bundle.ParseEnvelope([]byte(s.client(web).get("/v1/bundles/web.shop.vm1/current").body))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	version := s.client(web).pointer("web.shop.vm1").Version()
	if n := len(envelope().Signatures); n != 0 {
		t.Errorf("%d signatures without a key", n)
	}
	var private []ed25519.PrivateKey
	var public []ed25519.PublicKey
	for range 3 {
		pub, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		private, public = append(private, key), append(public, pub)
	}
	for _, signing := range [][]ed25519.PrivateKey{private[:1], private[:2], private[1:2]} {
		s.stop()
		s.keys = signing
		s.start()
		e := envelope()
		for i, key := range public {
			signed := false
			for _, k := range signing {
				signed = signed || k.Equal(private[i])
			}
			if err := e.Verify([]ed25519.PublicKey{key}); signed != (err == nil) || err != nil && !errors.Is(err, bundle.ErrUntrusted) {
				t.Errorf("%d keys sign, key %d: %v", len(signing), i, err)
			}
		}
		if p, err := e.Pointer(); err != nil || p.Version() != version {
			t.Errorf("version %s became %s, %v", version, p.Version(), err)
		}
	}
	s.put("services/web/data/web.json", `{"page": "second"}`)
	s.log.wait(t, "tree published", `"changed":2`)
	if err := envelope().Verify(public[1:2]); err != nil {
		t.Errorf("a new version: %v", err)
	}
}
