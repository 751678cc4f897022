// SPDX-License-Identifier: AGPL-3.0-or-later

package mtls_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/mtls"
)

func TestExplain(t *testing.T) {
	get := func(url string) error {
		tr := mtls.NewTransport(&tls.Config{})
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr, Timeout: 5 * time.Second}).Get(url)
		if err == nil {
			resp.Body.Close()
			t.Fatalf("%s answered", url)
		}
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	listener.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	dns := func(e net.DNSError) error {
		return &url.Error{Op: "Get", URL: "https://genesis.internal:8443/x", Err: &net.OpError{Op: "dial", Net: "tcp", Err: &e}}
	}
	timed, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-timed.Done()
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"nothing", nil, ""},
		{"unknown", errors.New("so it is"), "so it is"},
		{"refused", get("https://" + closed), closed + ": connection refused: nothing listens there; is the server running and the port right?"},
		{"not TLS", get("https" + strings.TrimPrefix(plain.URL, "http")), strings.TrimPrefix(plain.URL, "http://") + ": the server does not speak TLS: is the port right?"},
		{"no such host", dns(net.DNSError{Name: "genesis.internal", IsNotFound: true}),
			`genesis.internal:8443: no such host: add extra_hosts: "genesis.internal:<address>" to the service in the compose file, or name it in your DNS`},
		{"name server silent", dns(net.DNSError{Name: "genesis.internal", IsTimeout: true}), "genesis.internal:8443: looking up genesis.internal: the name server does not answer"},
		{"deadline", timed.Err(), "no answer in time: is the machine up, and no firewall between?"},
		{"no route", &net.OpError{Op: "dial", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}, Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)},
			"10.0.0.1:1: no route to it: is the address right, and the machine on this network?"},
		{"reset", fmt.Errorf("reading: %w", syscall.ECONNRESET), "the connection was cut; if it happens at every try, the server refuses our certificate: its log says why"},
		{"hung up", &url.Error{Op: "Get", URL: "https://x:1/", Err: io.EOF}, "x:1: the server closed the connection without an answer: is it just starting, or the port another program's?"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, mtls.Explain(test.err)); diff != "" {
				t.Errorf("words (-want +got):\n%s", diff)
			}
		})
	}
}
