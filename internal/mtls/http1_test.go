// SPDX-License-Identifier: AGPL-3.0-or-later

package mtls_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
)

// kept is a listener of connections that a handler took over.
type kept struct {
	net.Listener
	conns chan net.Conn
	done  chan struct{}
}

func (k *kept) Accept() (net.Conn, error) {
	select {
	case conn := <-k.conns:
		return conn, nil
	case <-k.done:
		return nil, net.ErrClosed
	}
}

func (k *kept) Close() error { return nil }

// TestHTTP1Server chooses HTTP/1.1 where it can, knows a connection again that a handler gives back, and uses a renewed
// identity at once.
func TestHTTP1Server(t *testing.T) {
	ca := identitytest.New(t)
	dir := ca.Dir(t, genesis)
	files := identity.Open(dir)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	back := &kept{listener, make(chan net.Conn), make(chan struct{})}
	server := mtls.HTTP1Server(files, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := mtls.Peer(r)
		if r.URL.Path != "/kept" {
			fmt.Fprintf(w, "%s %v %s", id, err, r.Proto)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprint(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		back.conns <- conn
	}), func(mtls.Refusal) {})
	ended := make(chan error, 2)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	go func() { ended <- server.Serve(back) }()
	t.Cleanup(func() {
		close(back.done)
		server.Close()
		for range 2 {
			if err := <-ended; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
	})
	conf, err := mtls.ClientConfig(ca.Files(t, web), mtls.Genesis(td, "config"))
	if err != nil {
		t.Fatal(err)
	}
	dial := func(protocols ...string) *tls.Conn {
		t.Helper()
		conf := conf.Clone()
		conf.NextProtos = protocols
		conn, err := (&tls.Dialer{Config: conf}).DialContext(context.Background(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn.(*tls.Conn)
	}
	for want, protocols := range map[string][]string{"http/1.1": {"h2", "http/1.1"}, "h2": {"h2"}, "": nil} {
		if got := dial(protocols...).ConnectionState().NegotiatedProtocol; got != want {
			t.Errorf("with %v it speaks %q, want %q", protocols, got, want)
		}
	}

	conn := dial("http/1.1")
	reader := bufio.NewReader(conn)
	for _, path := range []string{"/kept", "/kept", "/"} {
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, 200)
		n, _ := response.Body.Read(body)
		if want := fmt.Sprintf("%s <nil> HTTP/1.1", web); path == "/" && !strings.Contains(string(body[:n]), want) {
			t.Errorf("after it came back: %q, want %q", body[:n], want)
		}
		response.Body.Close()
	}

	before := conn.ConnectionState().PeerCertificates[0].SerialNumber
	ca.Issue(t, genesis, dir)
	if err := files.Reload(); err != nil {
		t.Fatal(err)
	}
	if after := dial("http/1.1").ConnectionState().PeerCertificates[0].SerialNumber; after.Cmp(before) == 0 {
		t.Error("a new connection shows the old certificate")
	}
}
