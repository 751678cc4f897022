// SPDX-License-Identifier: AGPL-3.0-or-later

package collect_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
)

// A host that comes up with a thousand containers hears all of them, each over TLS of its own. How fast is the machine's affair:
// what must not be is that it goes on for a minute and hears nobody new.
func TestThousandAtOnce(t *testing.T) {
	ca := identitytest.New(t)
	host := serve(t, ca.Files(t, id(t, "/host/vm1")), "127.0.0.1:0", "")
	dir := t.TempDir()
	senders := make([]*report.Sender, crowd)
	for i := range senders {
		name := fmt.Sprintf("s%d", i)
		own := filepath.Join(dir, name)
		ca.Issue(t, id(t, "/host/vm1/stack/shop/service/"+name), own)
		senders[i] = report.NewSender(host.url, identity.Open(own), func() health.Node {
			return health.Node{Kind: health.KindContainer, Name: name + ".shop.vm1", State: health.Pass}
		}, zerolog.Nop())
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, s := range senders {
		running.Go(func() { s.Run(ctx) })
	}
	for had, since := 0, time.Now(); ; time.Sleep(20 * time.Millisecond) {
		n := host.Node()
		if len(n.Children) == crowd && n.State == health.Pass {
			break
		}
		if len(n.Children) > had {
			had, since = len(n.Children), time.Now()
		}
		if time.Since(since) > time.Minute {
			t.Fatalf("%d of %d were heard, state %s, and nobody new for a minute", had, crowd, n.State)
		}
	}
	host.mu.Lock()
	defer host.mu.Unlock()
	for _, r := range host.refusals {
		if r.Who != "" { // else a connection whose sender had no time to begin on it, and came again
			t.Errorf("turned away: %+v", r)
		}
	}
}

// A report that its sender gave up in a crowd, and that is read after the next one, is no replay; one that somebody waits for is.
func TestGivenUpAndOvertaken(t *testing.T) {
	ca := identitytest.New(t)
	host := serve(t, ca.Files(t, id(t, "/host/vm1")), "127.0.0.1:0", "")
	leaf := ca.Certificate(t, id(t, "/host/vm1/stack/shop/service/web")).Leaf
	send := func(ctx context.Context, seq int) {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, report.Path, strings.NewReader(body("web.shop.vm1", seq)))
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
		host.Handler(host.refused).ServeHTTP(httptest.NewRecorder(), r)
	}
	gone, give := context.WithCancel(t.Context())
	give()
	send(t.Context(), 2)
	send(gone, 1)
	if len(host.refusals) > 0 {
		t.Errorf("turned away: %+v", host.refusals)
	}
	send(t.Context(), 1)
	if len(host.refusals) != 1 {
		t.Errorf("a replay: %+v", host.refusals)
	}
}
