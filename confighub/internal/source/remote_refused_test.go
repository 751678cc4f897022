// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/spiffe"
)

// signer is a key pair.
type signer struct {
	public  ed25519.PublicKey
	private ed25519.PrivateKey
}

func newSigner(t *testing.T) signer {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return signer{public, private}
}

// rewrite changes the published envelope after it was signed.
func (p publication) rewrite(change func(*bundle.Envelope)) {
	p.t.Helper()
	e, err := bundle.ParseEnvelope(p.read("current"))
	if err != nil {
		p.t.Fatal(err)
	}
	change(e)
	raw, err := json.Marshal(e)
	if err != nil {
		p.t.Fatal(err)
	}
	p.file("current", raw)
}

func blobFile(p bundle.Pointer) string {
	return "blobs/sha256/" + strings.TrimPrefix(p.Digest, bundle.DigestPrefix)
}

// Whatever a server hands out that is not the next version of this container, signed as the settings want it, is
// refused, and the words say what to do.
func TestRefused(t *testing.T) {
	ours, old, stranger := newSigner(t), newSigner(t), newSigner(t)
	trusting := func(keys ...signer) func(*RemoteOptions) {
		return func(o *RemoteOptions) {
			for _, k := range keys {
				o.TrustedKeys = append(o.TrustedKeys, k.public)
			}
		}
	}
	signed := trusting(ours)
	genesis := id(t)(spiffe.ForGenesis(td, spiffe.KindConfig))
	container := id(t)(spiffe.ForContainer(td, "vm1", "shop", "db", ""))
	good := func(p publication) { p.put(11, "x", nil, ours.private) }
	with := func(change func(*bundle.Pointer)) func(publication) {
		return func(p publication) { p.put(11, "x", change, ours.private) }
	}
	changed := func(change func(*bundle.Envelope)) func(publication) {
		return func(p publication) { good(p); p.rewrite(change) }
	}
	tests := []struct {
		name   string
		own    spiffe.ID
		put    func(publication)
		change func(*RemoteOptions)
		want   string // "" when it is taken
	}{
		{"good", genesis, good, signed, ""},
		{"good, without trusted keys", genesis, good, nil, ""},
		{"unsigned, without trusted keys", genesis, func(p publication) { p.put(11, "x", nil) }, nil, ""},
		{"expires later", genesis, with(func(p *bundle.Pointer) { p.Expires = time.Now().Add(time.Minute) }), signed, ""},
		{"the publisher's clock is an hour ahead", genesis, with(func(p *bundle.Pointer) { p.Created = time.Now().Add(time.Hour) }), signed, ""},
		// Keys change by signing with both, then trusting both or the new one, then signing with the new one.
		{"two keys sign, the old one is trusted", genesis, func(p publication) { p.put(11, "x", nil, old.private, ours.private) }, trusting(old), ""},
		{"two keys sign, the new one is trusted", genesis, func(p publication) { p.put(11, "x", nil, old.private, ours.private) }, trusting(ours), ""},
		{"the new key signs, both are trusted", genesis, good, trusting(old, ours), ""},
		{"the old key signs, both are trusted", genesis, func(p publication) { p.put(11, "x", nil, old.private) }, trusting(old, ours), ""},
		{"the old key signs, the new one is trusted", genesis, func(p publication) { p.put(11, "x", nil, old.private) }, trusting(ours),
			"no signature of a trusted key: it is signed by \"" + bundle.KeyID(old.public) + "\", trusted is " + bundle.KeyID(ours.public) +
				": if that key is yours add it to config.trusted_keys, else find out who published it"},

		{"container as genesis", container, good, nil, "wrong role: the other side is " + container.String()},
		{"unsigned", genesis, func(p publication) { p.put(11, "x", nil) }, signed, "no signature of a trusted key: it is not signed: publish it with --sign KEY"},
		{"signed by another", genesis, func(p publication) { p.put(11, "x", nil, stranger.private) }, signed, "find out who published it"},
		{"signed by another under our name", genesis, func(p publication) {
			p.put(11, "x", nil, stranger.private)
			p.rewrite(func(e *bundle.Envelope) { e.Signatures[0].KeyID = bundle.KeyID(ours.public) })
		}, signed, "the signature of " + bundle.KeyID(ours.public) + " does not fit: it was changed after it was signed; publish it again"},
		{"another payload", genesis, changed(func(e *bundle.Envelope) {
			e.Payload = []byte(strings.Replace(string(e.Payload), `"serial":11`, `"serial":12`, 1))
		}), signed, "it was changed after it was signed"},
		{"a space in the payload", genesis, changed(func(e *bundle.Envelope) { e.Payload = append(e.Payload, ' ') }), signed, "it was changed after it was signed"},
		{"a payload that is none, unsigned", genesis, changed(func(e *bundle.Envelope) { e.Payload, e.Signatures = []byte("{"), nil }), signed, "it is not signed"},
		{"a cut signature", genesis, changed(func(e *bundle.Envelope) { e.Signatures[0].Sig = e.Signatures[0].Sig[:63] }), signed, "it was changed after it was signed"},
		{"the same signature twice", genesis, changed(func(e *bundle.Envelope) { e.Signatures = append(e.Signatures, e.Signatures[0]) }), signed,
			"has the same signature twice (of \"" + bundle.KeyID(ours.public) + "\"): sign once with each key"},
		{"many signatures", genesis, changed(func(e *bundle.Envelope) {
			for n := range bundle.MaxSignatures {
				e.Signatures = append(e.Signatures, bundle.Signature{Sig: []byte{byte(n)}})
			}
		}), signed, "has 17 signatures, more than 16: sign with fewer keys"},
		{"another payload type", genesis, changed(func(e *bundle.Envelope) { e.PayloadType = "application/vnd.in-toto+json" }), signed,
			"payloadType must be application/vnd.cloud4.bundle+json, got \"application/vnd.in-toto+json\": it is made for something else"},
		{"a large envelope", genesis, changed(func(e *bundle.Envelope) { e.Signatures[0].KeyID = strings.Repeat("k", bundle.MaxEnvelope) }), signed,
			"/v1/bundles/web.shop.vm1/current: the answer is larger than 65536 bytes"},
		{"no envelope", genesis, func(p publication) { p.file("current", []byte("<html>")) }, signed, "is this what confighub publish or serve hands out?"},

		{"of another", genesis, with(func(p *bundle.Pointer) { p.Identity = "db.shop.vm1" }), signed,
			`the pointer is for "db.shop.vm1", this is web.shop.vm1: the server mixes up its paths`},
		{"older", genesis, func(p publication) { p.put(9, "x", nil, ours.private) }, signed, "genesis offers 9, older than 10 applied here: restored from a backup? `confighub accept --serial 9` takes it"},
		{"another of the same serial", genesis, func(p publication) { p.put(10, "x", nil, ours.private) }, signed, "genesis offers another 10 than the 10 applied here"},
		{"below min_serial", genesis, good, func(o *RemoteOptions) { signed(o); o.Accept = nil }, "its serial is below config.min_serial, 12"},
		{"expired", genesis, with(func(p *bundle.Pointer) { p.Expires = time.Now().Add(-time.Minute) }), signed, ": publish it again"},
		{"of the future", genesis, with(func(p *bundle.Pointer) { p.Created = time.Now().AddDate(10, 0, 0) }), signed, ": set the clock that is wrong, then publish it again"},
		{"of a newer schema", genesis, func(p publication) {
			p.file("current", seal(t, `{"schema":2,"identity":"web.shop.vm1","serial":11}`, ours.private))
		}, signed, "schema: must be 1, got 2 (a newer genesis?)"},

		{"other size", genesis, with(func(p *bundle.Pointer) { p.Size++ }), signed, "is damaged: it has "},
		{"larger", genesis, with(func(p *bundle.Pointer) { p.Size -= 5 }), signed, "the answer is larger than "},
		{"damaged", genesis, func(p publication) {
			pointer := p.put(11, "x", nil, ours.private)
			p.file(blobFile(pointer), make([]byte, pointer.Size))
		}, signed, "or another digest: publish it again"},
		{"not there", genesis, func(publication) {}, signed, "404 Not Found"},
	}
	ca := identitytest.New(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := publication{t, t.TempDir()}
			tt.put(p)
			address := serveTLS(t, ca, x509.Certificate{URIs: []*url.URL{tt.own.URI()}}, http.FileServer(http.Dir(p.dir)))
			store := newStore(t)
			ten := offer(t, 10, "ten")
			must(t, store.Propose(ten))
			must(t, store.Adopt(ten.Version(), true))
			r := client(t, ca, address, store, tt.change)
			if r.opts.Accept == nil {
				r.opts.Accept = func(p bundle.Pointer) error { return store.Accept(p, 12, time.Now()) }
			}
			e := next(t, listen(t, r))
			switch {
			case tt.want == "" && (e.Offer == nil || e.Offer.Pointer.Serial != 11):
				t.Errorf("got %v", e.Err)
			case tt.want != "" && (e.Offer != nil || !strings.Contains(fmt.Sprint(e.Err), tt.want)):
				t.Errorf("got %+v, %v, want %s", e.Offer, e.Err, tt.want)
			}
		})
	}
}

// seal signs any payload as DSSE does.
func seal(t *testing.T, payload string, key ed25519.PrivateKey) []byte {
	t.Helper()
	message := fmt.Sprintf("DSSEv1 %d %s %d %s", len(bundle.PayloadType), bundle.PayloadType, len(payload), payload)
	e := bundle.Envelope{PayloadType: bundle.PayloadType, Payload: []byte(payload), Signatures: []bundle.Signature{{Sig: ed25519.Sign(key, []byte(message))}}}
	raw, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The pages of a static server say little: what they mostly mean is said in their place.
func TestPages(t *testing.T) {
	ca := identitytest.New(t)
	good := publication{t, t.TempDir()}
	envelope := func() []byte { good.put(1, "x", nil); return good.read("current") }()
	tests := []struct {
		status int
		page   string
		blob   bool // the envelope is there, the page stands for the bundle
		want   string
	}{
		{404, "<html>\r\n<head><title>404 Not Found</title></head>", false, "404 Not Found: nothing is published for web.shop.vm1: place it in hosts/vm1/host.json of the tree, and publish"},
		{404, "<html>\r\n<head><title>404 Not Found</title></head>", true, "404 Not Found: the bundle that the pointer names is not there: copy bundles before the pointers to them"},
		{403, "<title>403 Forbidden</title>", false, "403 Forbidden: the server does not let the holder of the certificate of web.shop.vm1 read this"},
		{400, "<title>400 The SSL certificate error</title>", false, "400 Bad Request: 400 The SSL certificate error"},
		{403, "not placed: add the service", false, "403 Forbidden: not placed: add the service"},
	}
	for _, tt := range tests {
		address := serveTLS(t, ca, x509.Certificate{DNSNames: []string{"static.example"}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if tt.blob && strings.HasSuffix(r.URL.Path, "/current") {
				w.Write(envelope)
				return
			}
			w.WriteHeader(tt.status)
			fmt.Fprint(w, tt.page)
		}))
		e := next(t, listen(t, client(t, ca, address, newStore(t), nil)))
		if !strings.HasSuffix(fmt.Sprint(e.Err), tt.want) || slices.Contains([]byte(fmt.Sprint(e.Err)), '<') {
			t.Errorf("%s: got %v, want %s", tt.page, e.Err, tt.want)
		}
	}
}
