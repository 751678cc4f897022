// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"cloud4.internal/hub/internal/daemon"
)

// A request under way when the end comes is answered within the grace, and cut off after it.
func TestServe(t *testing.T) {
	for _, test := range []struct {
		name     string
		grace    time.Duration
		answered bool
	}{
		{"in time", 10 * time.Second, true},
		{"too slow", 20 * time.Millisecond, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			begun, release := make(chan struct{}), make(chan struct{})
			server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(begun)
				select {
				case <-release:
				case <-r.Context().Done():
				}
			})}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- daemon.Serve(ctx, server, test.grace, func() error { return server.Serve(l) }) }()
			answer := make(chan error, 1)
			go func() {
				resp, err := http.Get("http://" + l.Addr().String())
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				answer <- err
			}()
			<-begun
			cancel()
			if test.answered {
				select {
				case err := <-ended:
					t.Fatalf("ended with a request under way: %v", err)
				case <-time.After(50 * time.Millisecond):
				}
				close(release)
			}
			if err := <-answer; (err == nil) != test.answered {
				t.Errorf("the request: %v", err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestServeTellsWhyItCannot(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	server := &http.Server{ReadHeaderTimeout: time.Second}
	if err := daemon.Serve(t.Context(), server, time.Second, func() error { return server.Serve(l) }); err == nil {
		t.Error("a closed listener is no trouble")
	}
}
