// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/identity/identitytest"
)

// What somebody allowed is fetched at once, from a server that would wait for long before it says anything.
func TestRefreshRemote(t *testing.T) {
	ca := identitytest.New(t)
	p := publication{t, t.TempDir()}
	_, other, _ := ed25519.GenerateKey(nil)
	public, key, _ := ed25519.GenerateKey(nil)
	last := p.put(23, "last", nil, key)
	files := http.FileServer(http.Dir(p.dir))
	waiting := make(chan struct{}, 1)
	address := serveTLS(t, ca, x509.Certificate{DNSNames: []string{"static.example"}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Preference-Applied", r.Header.Get("Prefer"))
		w.Header().Set("ETag", `"e"`)
		r.Header.Del("If-Modified-Since")
		if r.Header.Get("If-None-Match") != "" {
			waiting <- struct{}{}
			<-r.Context().Done()
			return
		}
		files.ServeHTTP(w, r)
	}))
	store := newStore(t)
	r := client(t, ca, address, store, func(o *RemoteOptions) {
		o.TrustedKeys = []ed25519.PublicKey{other.Public().(ed25519.PublicKey), public}
	})
	if r.Signer() != "" {
		t.Errorf("signed by %s before anything was said", r.Signer())
	}
	events := listen(t, r)
	take(t, store, next(t, events))
	if r.Signer() != bundle.KeyID(public) {
		t.Errorf("signed by %s", r.Signer())
	}
	<-waiting
	must(t, store.MarkBad(Bad{Version: bundle.Version{Serial: 24, Digest: p.put(24, "bad", nil, key).Digest}, State: bundle.StateRolledBack}))
	r.Refresh()
	<-waiting // it was asked for and is nothing new
	_, err := store.Allow(24, 0, time.Now())
	must(t, err)
	r.Refresh()
	take(t, store, next(t, events))

	<-waiting
	p.put(17, "old", nil, key)
	r.Refresh()
	e := next(t, events)
	if refused, ok := errors.AsType[*Refused](e.Err); !ok || refused.Version.Serial != 17 || !strings.Contains(refused.Words, "genesis offers 17, older than 24 applied here") {
		t.Errorf("after %s: %+v", last.Version(), e)
	}
	_, err = store.Allow(17, 0, time.Now())
	must(t, err)
	r.Refresh()
	if o := take(t, store, next(t, events)); o.Pointer.Serial != 17 {
		t.Errorf("got version %d", o.Pointer.Serial)
	}
}

func TestRefreshDir(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "templates"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "bundle.json"), []byte(`{"targets": {"/etc/a": {"template": "a"}}}`), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "templates/a"), []byte("one"), 0o644))
	store := newStore(t)
	d := NewDir(dir, "local", func(digest string) uint64 { return store.DirSerial(digest, time.Now()) },
		func(p bundle.Pointer) error { return store.Accept(p, 0, time.Now()) }, zerolog.New(zerolog.NewTestWriter(t)))
	events := listen(t, d)
	e := next(t, events)
	must(t, store.MarkBad(Bad{Version: e.Offer.Version(), State: bundle.StateRejected}))
	_, err := store.Allow(e.Offer.Pointer.Serial, 0, time.Now())
	must(t, err)
	d.Refresh()
	if o := take(t, store, next(t, events)); o.Version() != e.Offer.Version() {
		t.Errorf("got version %s", o.Version())
	}
}

// A report that the server will never take is none to send again; one that it may take later is.
func TestReportRefused(t *testing.T) {
	ca := identitytest.New(t)
	var status atomic.Int32
	address := serveTLS(t, ca, x509.Certificate{DNSNames: []string{"static.example"}}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "because", int(status.Load()))
	}))
	r := client(t, ca, address, newStore(t), nil)
	for code, unwanted := range map[int]bool{400: true, 401: true, 413: true, 422: true, 403: false, 408: false, 429: false, 500: false, 503: false} {
		status.Store(int32(code))
		err := r.Applied(t.Context(), bundle.Applied{State: bundle.StateApplied})
		if err == nil || !strings.Contains(err.Error(), "because") {
			t.Errorf("%d: got %v", code, err)
		}
		if _, ok := errors.AsType[*Unwanted](err); ok != unwanted {
			t.Errorf("%d: got %T", code, err)
		}
	}
}
