// SPDX-License-Identifier: AGPL-3.0-or-later

package mtls

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Who opens connections and says nothing loses them, and shuts nobody out.
func TestKnocking(t *testing.T) {
	const limit, silent = 4, 20
	k := &knocking{max: limit, open: map[net.Conn]struct{}{}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState, server.Config.ErrorLog = k.note, log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	closed := make(chan struct{}, silent)
	for range silent {
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		go func() {
			c.Read(make([]byte, 1))
			closed <- struct{}{}
		}()
	}
	for i := range silent - limit {
		select {
		case <-closed:
		case <-time.After(5 * time.Second):
			t.Fatalf("%d of %d silent connections were closed, want %d", i, silent, silent-limit)
		}
	}
	for range 3 { // others are let in, and do not count once they have asked
		resp, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.open) > limit {
		t.Errorf("%d are knocking, at most %d may", len(k.open), limit)
	}
}

// The servers of this package are bounded.
func TestServerBoundsKnocking(t *testing.T) {
	server := Server(nil, nil, nil)
	var all []net.Conn
	for range maxKnocking + 1 {
		c, _ := net.Pipe()
		c.SetDeadline(time.Now())
		server.ConnState(c, http.StateNew)
		all = append(all, c)
	}
	closed := 0
	for _, c := range all {
		if _, err := c.Read(make([]byte, 1)); err == io.ErrClosedPipe {
			closed++
		}
	}
	if closed != 1 {
		t.Errorf("%d were closed, want 1", closed)
	}
}
