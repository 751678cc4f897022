// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

const td = identity.DefaultTrustDomain

func id(t testing.TB) func(spiffe.ID, error) spiffe.ID {
	return func(id spiffe.ID, err error) spiffe.ID {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
}

// publication is what a server has for web.shop.vm1, as files.
type publication struct {
	t   *testing.T
	dir string
}

func (p publication) put(serial uint64, value string, change func(*bundle.Pointer), keys ...ed25519.PrivateKey) bundle.Pointer {
	p.t.Helper()
	b, err := bundle.Read(fstest.MapFS{
		"bundle.json": {Data: []byte(`{"targets": {"/etc/a": {"template": "a"}}}`)}, "templates/a": {Data: []byte("{{v}}")},
		"data/a.json": {Data: []byte(`{"v": "` + value + `"}`)},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	packed, err := bundle.Pack(b)
	if err != nil {
		p.t.Fatal(err)
	}
	pointer := bundle.Pointer{Schema: 1, Identity: "web.shop.vm1", Serial: serial, Created: time.Now(), Digest: bundle.Digest(packed), Size: int64(len(packed))}
	p.file("blobs/sha256/"+strings.TrimPrefix(pointer.Digest, bundle.DigestPrefix), packed)
	if change != nil {
		change(&pointer)
	}
	e, err := bundle.Seal(pointer, keys...)
	if err != nil {
		p.t.Fatal(err)
	}
	raw, err := e.Marshal()
	if err != nil {
		p.t.Fatal(err)
	}
	p.file("current", raw)
	return pointer
}

func (p publication) file(name string, raw []byte) {
	p.t.Helper()
	full := filepath.Join(p.dir, "v1/bundles/web.shop.vm1", name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(full, raw, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func (p publication) read(name string) []byte {
	p.t.Helper()
	raw, err := os.ReadFile(filepath.Join(p.dir, "v1/bundles/web.shop.vm1", name))
	if err != nil {
		p.t.Fatal(err)
	}
	return raw
}

// serveTLS serves with a certificate of the authority, wanting one from clients.
func serveTLS(t *testing.T, ca *identitytest.CA, own x509.Certificate, handler http.Handler) string {
	t.Helper()
	pem := filepath.Join(ca.DirOf(t, own), "id.pem")
	certificate, err := tls.LoadX509KeyPair(pem, pem)
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert, Certificates: []tls.Certificate{certificate}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(tls.NewListener(listener, conf))
	t.Cleanup(func() { server.Close() })
	return "https://" + listener.Addr().String()
}

func client(t *testing.T, ca *identitytest.CA, address string, store *Store, change func(*RemoteOptions)) *Remote {
	t.Helper()
	who := id(t)(spiffe.ForContainer(td, "vm1", "shop", "web", ""))
	o := RemoteOptions{
		URL: address, ID: who, Files: ca.Files(t, who), Poll: 10 * time.Millisecond,
		Accept: func(p bundle.Pointer) error { return store.Accept(p, 0, time.Now()) },
	}
	if change != nil {
		change(&o)
	}
	r, err := NewRemote(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// listen runs the source until the test ends.
func listen(t *testing.T, s Source) <-chan Event {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events, done := make(chan Event), make(chan error, 1)
	go func() { done <- s.Run(ctx, events) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return events
}

func next(t *testing.T, events <-chan Event) Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(15 * time.Second):
		t.Fatal("the source says nothing")
		return Event{}
	}
}

func take(t *testing.T, store *Store, e Event) Offer {
	t.Helper()
	if e.Err != nil || e.Offer == nil || e.Offer.Err != nil {
		t.Fatalf("no offer: %+v", e)
	}
	if err := store.Propose(*e.Offer); err != nil {
		t.Fatal(err)
	}
	if err := store.Adopt(e.Offer.Version(), true); err != nil {
		t.Fatal(err)
	}
	return *e.Offer
}

// A static server: files, no identity of its own, an ETag that does not tell two pointers apart.
func TestStaticServer(t *testing.T) {
	ca := identitytest.New(t)
	p := publication{t, t.TempDir()}
	p.put(1, "one", nil)
	files := http.FileServer(http.Dir(p.dir))
	var hints atomic.Int32
	address := serveTLS(t, ca, x509.Certificate{DNSNames: []string{"static.example"}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", `"always-the-same"`)
		if r.Header.Get("If-None-Match") != "" {
			hints.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		r.Header.Del("If-Modified-Since")
		files.ServeHTTP(w, r)
	}))
	store := newStore(t)
	r := client(t, ca, address, store, nil)
	events := listen(t, r)
	if got := take(t, store, next(t, events)); got.Bundle.Data["v"] != "one" {
		t.Errorf("got %v", got.Bundle.Data)
	}
	p.put(2, "two", nil)
	if e := next(t, events); e.Offer == nil { // reached, nothing new
		e = next(t, events)
		take(t, store, e)
	} else {
		take(t, store, e)
	}
	if p, _ := store.Current(); p.Serial != 2 || hints.Load() == 0 {
		t.Errorf("version %d after %d hints", p.Serial, hints.Load())
	}
	if err := r.Applied(t.Context(), bundle.Applied{Version: bundle.Version{Serial: 2, Digest: "d"}, State: bundle.StateApplied}); err != nil {
		t.Errorf("a server without reports: %v", err)
	}
}

// After a restart the first answer is nothing new: a server that waits is asked again at once all the same, however
// long the pause between polls.
func TestFirstPollAsksToWait(t *testing.T) {
	ca := identitytest.New(t)
	p := publication{t, t.TempDir()}
	p.put(1, "one", nil)
	files := http.FileServer(http.Dir(p.dir))
	address := serveTLS(t, ca, x509.Certificate{DNSNames: []string{"static.example"}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Preference-Applied", r.Header.Get("Prefer"))
		r.Header.Del("If-Modified-Since")
		files.ServeHTTP(w, r)
	}))
	store := newStore(t)
	take(t, store, next(t, listen(t, client(t, ca, address, store, nil))))

	events := listen(t, client(t, ca, address, store, func(o *RemoteOptions) { o.Poll = time.Hour }))
	if e := next(t, events); e.Offer != nil || e.Err != nil {
		t.Errorf("got %+v, want nothing new", e)
	}
	p.put(2, "two", nil)
	if got := take(t, store, next(t, events)); got.Pointer.Serial != 2 {
		t.Errorf("got version %d", got.Pointer.Serial)
	}
}

// A bundle that is whole and makes no sense is offered with its error, so that it can be refused for good.
func TestBrokenBundle(t *testing.T) {
	ca := identitytest.New(t)
	p := publication{t, t.TempDir()}
	packed := []byte("this is no tar.gz")
	p.file("blobs/sha256/"+strings.TrimPrefix(bundle.Digest(packed), bundle.DigestPrefix), packed)
	p.put(1, "x", func(p *bundle.Pointer) { p.Digest, p.Size = bundle.Digest(packed), int64(len(packed)) })
	genesis := id(t)(spiffe.ForGenesis(td, spiffe.KindConfig))
	address := serveTLS(t, ca, x509.Certificate{URIs: []*url.URL{genesis.URI()}}, http.FileServer(http.Dir(p.dir)))
	e := next(t, listen(t, client(t, ca, address, newStore(t), nil)))
	if e.Offer == nil || e.Offer.Err == nil || !strings.Contains(e.Offer.Err.Error(), "gzip: invalid header") {
		t.Errorf("got %+v", e)
	}
}

// A busy server is asked again when it says, reports and waits are understood.
func TestServer(t *testing.T) {
	ca := identitytest.New(t)
	p := publication{t, t.TempDir()}
	p.put(1, "one", nil)
	var asked, waits atomic.Int32
	reports := make(chan bundle.Applied, 1)
	files := http.FileServer(http.Dir(p.dir))
	genesis := id(t)(spiffe.ForGenesis(td, spiffe.KindConfig))
	address := serveTLS(t, ca, x509.Certificate{URIs: []*url.URL{genesis.URI()}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case asked.Add(1) == 1:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "busy", http.StatusServiceUnavailable)
		case r.Method == http.MethodPost:
			var report bundle.Applied
			if err := json.NewDecoder(r.Body).Decode(&report); err != nil {
				t.Error(err)
			}
			reports <- report
			w.WriteHeader(http.StatusNoContent)
		case r.Header.Get("If-None-Match") != "" && r.Header.Get("Prefer") == "wait=50":
			waits.Add(1)
			w.Header().Set("Preference-Applied", "wait=50")
			select {
			case <-time.After(50 * time.Millisecond):
			case <-r.Context().Done():
			}
			w.WriteHeader(http.StatusNotModified)
		default:
			w.Header().Set("ETag", `"e"`)
			files.ServeHTTP(w, r)
		}
	}))
	store := newStore(t)
	r := client(t, ca, address, store, func(o *RemoteOptions) { o.Poll = time.Hour })
	begin := time.Now()
	events := listen(t, r)
	take(t, store, next(t, events))
	if took := time.Since(begin); took < time.Second {
		t.Errorf("Retry-After was not honoured: %s", took)
	}
	for end := time.Now().Add(10 * time.Second); waits.Load() < 3; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a server that waits is not asked again at once")
		}
	}
	want := bundle.Applied{Version: bundle.Version{Serial: 1, Digest: "d"}, State: bundle.StateRejected, Errors: []string{"e"}, Instance: "2"}
	if err := r.Applied(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got := <-reports; got.Version != want.Version || got.State != want.State || got.Errors[0] != "e" || got.Instance != "2" {
		t.Errorf("got %+v", got)
	}
}

// An error is told once; without an identity it says so.
func TestTrouble(t *testing.T) {
	who := id(t)(spiffe.ForContainer(td, "vm1", "shop", "web", ""))
	store := newStore(t)
	r, err := NewRemote(RemoteOptions{URL: "https://127.0.0.1:1", ID: who, Files: identity.Open(t.TempDir()), Poll: time.Second, Accept: func(p bundle.Pointer) error { return store.Accept(p, 0, time.Now()) }})
	if err != nil {
		t.Fatal(err)
	}
	events := listen(t, r)
	if e := next(t, events); e.Err == nil || e.Err.Error() != "127.0.0.1:1: "+mtls.Explain(identity.ErrNone) {
		t.Errorf("got %v", e.Err)
	}
	select {
	case e := <-events:
		t.Errorf("said twice: %+v", e)
	case <-time.After(time.Second):
	}
	for _, bad := range []string{"http://x", "https://", "https://u:p@x", "https://x?y", "://"} {
		if _, err := NewRemote(RemoteOptions{URL: bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
