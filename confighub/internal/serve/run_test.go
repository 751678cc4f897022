// SPDX-License-Identifier: AGPL-3.0-or-later

package serve_test

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/spiffe"
)

// One state directory has one server. An identity that nobody renews is told of.
func TestStateOfAnother(t *testing.T) {
	ca := identitytest.New(t)
	own, err := spiffe.ForGenesis(td, "config")
	if err != nil {
		t.Fatal(err)
	}
	dir := ca.DirOf(t, x509.Certificate{URIs: []*url.URL{own.URI()}, DNSNames: own.DNSNames(), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(-time.Minute)})
	options := serve.Options{Root: t.TempDir(), State: filepath.Join(t.TempDir(), "serve"), Listen: "127.0.0.1:0", IdentityDir: dir, Files: identity.Open(dir)}
	log := &logLines{}
	options.Log = zerolog.New(log)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve.Run(ctx, options) }()
	log.wait(t, "the certificate has expired, and no container connects", dir)
	log.wait(t, "serving configuration")
	if err := serve.Run(t.Context(), options); err == nil || !strings.Contains(err.Error(), "another confighub serve works with the state directory "+options.State) {
		t.Errorf("a second one: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if err := serve.Run(ctx, options); err != nil {
		t.Errorf("after the end of the first: %v", err)
	}
}

func TestWaitsForItsIdentity(t *testing.T) {
	tests := []struct {
		name string
		id   func() (spiffe.ID, error)
		// says is in the log, or in the error that ends it.
		says string
	}{
		{"the right one", func() (spiffe.ID, error) { return spiffe.ForGenesis(td, "config") }, "serving configuration"},
		{
			"another one", func() (spiffe.ID, error) { return spiffe.ForHost(td, "vm1") },
			"is spiffe://cloud4.internal/host/vm1, but clients accept genesis/config only",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ca := identitytest.New(t)
			id, err := test.id()
			if err != nil {
				t.Fatal(err)
			}
			dir, log := filepath.Join(t.TempDir(), "identity"), &logLines{}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				done <- serve.Run(ctx, serve.Options{
					Root: t.TempDir(), State: filepath.Join(t.TempDir(), "serve"), Listen: "127.0.0.1:0",
					IdentityDir: dir, Files: identity.Open(dir), Log: zerolog.New(log),
				})
			}()
			log.wait(t, "waiting for an identity: confighub enrols genesis/config there", dir)
			ca.Issue(t, id, dir)
			var ended error
			waitFor(t, 5*time.Second, func() bool {
				select {
				case ended = <-done:
					return true
				default:
					return strings.Contains(log.String(), "serving configuration")
				}
			}, log.String)
			cancel()
			if ended == nil {
				ended = <-done
			}
			said := log.String()
			if ended != nil {
				said += ended.Error()
			}
			if !strings.Contains(said, test.says) {
				t.Errorf("nothing says %q:\n%s", test.says, said)
			}
		})
	}
}

func TestTooManyRequests(t *testing.T) {
	s := newServer(t, shop())
	c := s.client(s.container("vm1", "shop", "web", ""))
	etag := c.get("/v1/bundles/web.shop.vm1/current").header.Get("ETag")
	const asked = 70 // the limit is 64
	statuses := make(chan int, asked)
	var waiting sync.WaitGroup
	for range asked {
		waiting.Go(func() {
			a, err := c.ask(http.MethodGet, "/v1/bundles/web.shop.vm1/current", map[string]string{"If-None-Match": etag, "Prefer": "wait=15"}, "")
			if err != nil {
				t.Error(err)
			}
			statuses <- a.status
		})
	}
	for range asked - 64 {
		if got := <-statuses; got != http.StatusTooManyRequests {
			t.Errorf("one more than allowed got %d", got)
		}
	}
	// Others are not affected, and the waiting ones are answered by a change.
	s.client(s.container("vm2", "shop", "web", "")).pointer("web.shop.vm2")
	s.put("services/web/data/web.json", `{"page": "second"}`)
	waiting.Wait()
	close(statuses)
	for got := range statuses {
		if got != http.StatusOK {
			t.Errorf("a waiting request got %d", got)
		}
	}
}
