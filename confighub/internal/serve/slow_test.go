// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/tree"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

// Who does not read what it asked for loses the connection, over either protocol, and others do not notice.
func TestSlowReaderIsCut(t *testing.T) {
	id := func(id spiffe.ID, err error) spiffe.ID {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	ca := identitytest.New(t)
	web := id(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", ""))
	// More than the buffers on the way hold.
	blob := &tree.Blob{Digest: bundle.DigestPrefix + strings.Repeat("a", 64), Packed: make([]byte, 32<<20)}
	s := New(web.TrustDomain, &Publication{entries: map[string]*entry{"web.shop.vm1": {blob: blob}}}, OpenLedger(t.TempDir(), zerolog.Nop()), zerolog.Nop())
	s.patience = patience{first: 200 * time.Millisecond, speed: 128 << 20}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	files := ca.Files(t, id(spiffe.ForGenesis(web.TrustDomain, spiffe.KindConfig)))
	go func() { ended <- s.listen(ctx, listener, files) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	conf, err := mtls.ClientConfig(ca.Files(t, web), mtls.Genesis(web.TrustDomain, spiffe.KindConfig))
	if err != nil {
		t.Fatal(err)
	}
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 is %v", http2), func(t *testing.T) {
			transport := &http.Transport{TLSClientConfig: conf.Clone(), Protocols: new(http.Protocols), DialContext: smallBuffer}
			transport.Protocols.SetHTTP2(http2)
			transport.Protocols.SetHTTP1(!http2)
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
			response, err := client.Get("https://" + listener.Addr().String() + "/v1/bundles/web.shop.vm1/blobs/sha256/" + strings.Repeat("a", 64))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK || response.ContentLength != int64(len(blob.Packed)) || (response.ProtoMajor == 2) != http2 {
				t.Fatalf("%s %s, %d bytes", response.Proto, response.Status, response.ContentLength)
			}
			time.Sleep(1500 * time.Millisecond) // not reading is the test
			if n, err := io.Copy(io.Discard, response.Body); err == nil {
				t.Errorf("all %d bytes came", n)
			}
		})
	}
}

// smallBuffer connects with little room for what is not read.
func smallBuffer(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if failed := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16<<10) }); failed != nil {
			return failed
		}
		return err
	}}
	return dialer.DialContext(ctx, network, address)
}
