// SPDX-License-Identifier: AGPL-3.0-or-later

package serve_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

// wire connects with HTTP/1.1 and nothing between the test and the connection.
func (s *server) wire(files *identity.Files) *wire {
	s.t.Helper()
	conf, err := mtls.ClientConfig(files, mtls.Genesis(td, spiffe.KindConfig))
	if err != nil {
		s.t.Fatal(err)
	}
	conf.ServerName = "genesis.internal"
	conn, err := tls.Dial("tcp", s.address, conf)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.NetConn().Close() })
	return &wire{conn, bufio.NewReader(conn)}
}

// send writes requests, with all their lines in words.
func (w *wire) send(t *testing.T, requests ...string) {
	t.Helper()
	if _, err := io.WriteString(w, strings.Join(requests, "")); err != nil {
		t.Fatal(err)
	}
}

// read reads an answer.
func (w *wire) read(t *testing.T) (*http.Response, string) {
	t.Helper()
	if err := w.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(w.reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// ended waits for the server to close the connection.
func (w *wire) ended(t *testing.T) {
	t.Helper()
	if err := w.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(w.reader); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || len(got) > 0 {
		t.Errorf("the connection goes on: %q, %v", got, err)
	}
}

// poll is a request that waits unless the version is another one than etag names.
func poll(etag string, seconds int, more ...string) string {
	return fmt.Sprintf("GET /v1/bundles/web.shop.vm1/current HTTP/1.1\r\nHost: genesis.internal\r\nIf-None-Match: %s\r\nPrefer: wait=%d\r\n%s\r\n",
		etag, seconds, strings.Join(more, ""))
}

// waiters waits until so many requests wait.
func (s *server) waiters(n float64) {
	s.t.Helper()
	operator := s.client(s.id(spiffe.ForOperator(td, "desk")))
	waitFor(s.t, 20*time.Second, func() bool { return operator.metric("confighub_waiters") == n }, func() string {
		return fmt.Sprintf("not %v requests wait:\n%s", n, operator.get("/metrics").body)
	})
}

func TestParked(t *testing.T) {
	s := newServer(t, shop())
	files := s.ca.Files(t, s.container("vm1", "shop", "web", ""))
	etag := s.client(s.container("vm1", "shop", "web", "")).get("/v1/bundles/web.shop.vm1/current").header.Get("ETag")

	t.Run("requests follow each other on one connection", func(t *testing.T) {
		w := s.wire(files)
		for range 3 {
			w.send(t, poll(etag, 1))
			if answer, body := w.read(t); answer.StatusCode != http.StatusNotModified || answer.Header.Get("ETag") != etag ||
				answer.Header.Get("Preference-Applied") != "wait=1" || answer.Header.Get("Date") == "" || body != "" || answer.Close {
				t.Fatalf("%v %v %q", answer.Status, answer.Header, body)
			}
		}
		w.send(t, "GET /v1/bundles/web.shop.vm1/current HTTP/1.1\r\nHost: x\r\n\r\n")
		if answer, body := w.read(t); answer.StatusCode != http.StatusOK || pointerIn(t, answerOf(answer, body)).Identity != "web.shop.vm1" {
			t.Errorf("%v %q", answer.Status, body)
		}
	})
	t.Run("the client hangs up", func(t *testing.T) {
		w := s.wire(files)
		w.send(t, poll(etag, 50))
		s.waiters(1)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		s.waiters(0)
	})
	t.Run("the client is lost", func(t *testing.T) {
		w := s.wire(files)
		w.send(t, poll(etag, 50))
		s.waiters(1)
		if err := w.NetConn().Close(); err != nil {
			t.Fatal(err)
		}
		s.waiters(0)
	})
	t.Run("the next request comes too early", func(t *testing.T) {
		w := s.wire(files)
		w.send(t, poll(etag, 50))
		s.waiters(1)
		w.send(t, poll(etag, 50))
		if answer, _ := w.read(t); answer.StatusCode != http.StatusNotModified || !answer.Close {
			t.Errorf("%v, goes on: %v", answer.Status, !answer.Close)
		}
		w.ended(t)
		s.waiters(0)
	})
	t.Run("two requests at once", func(t *testing.T) {
		w := s.wire(files)
		w.send(t, poll(etag, 50), poll(etag, 50))
		if answer, _ := w.read(t); answer.StatusCode != http.StatusNotModified || !answer.Close {
			t.Errorf("%v, goes on: %v", answer.Status, !answer.Close)
		}
		w.ended(t)
		s.waiters(0)
	})
	// These wait in a goroutine of net/http, and get the same.
	for name, request := range map[string]string{
		"connection to be closed": poll(etag, 1, "Connection: close\r\n"),
		"HTTP/1.0":                strings.Replace(poll(etag, 1), "HTTP/1.1", "HTTP/1.0", 1),
		"long If-None-Match":      poll(`"`+strings.Repeat("x", 300)+`", `+etag, 1),
		"with a body":             poll(etag, 1, "Content-Length: 2\r\n") + "{}",
		"HEAD":                    strings.Replace(poll(etag, 1), "GET", "HEAD", 1),
	} {
		t.Run(name, func(t *testing.T) {
			w := s.wire(files)
			w.send(t, request)
			if answer, body := w.read(t); answer.StatusCode != http.StatusNotModified || answer.Header.Get("ETag") != etag || body != "" {
				t.Errorf("%v %v %q", answer.Status, answer.Header, body)
			}
		})
	}
	t.Run("the certificate expires", func(t *testing.T) {
		web := s.container("vm1", "shop", "web", "")
		w := s.wire(identity.Open(s.ca.DirOf(t, x509.Certificate{URIs: []*url.URL{web.URI()}, NotAfter: time.Now().Add(3 * time.Second)})))
		w.send(t, poll(etag, 5))
		if answer, body := w.read(t); answer.StatusCode != http.StatusUnauthorized || !answer.Close || !strings.Contains(body, "has expired") {
			t.Errorf("%v %q", answer.Status, body)
		}
		w.ended(t)
		s.log.wait(t, `"verdict":"refused"`, "has expired", `"path":"/v1/bundles/web.shop.vm1/current"`)
	})
	t.Run("a change", func(t *testing.T) {
		w := s.wire(files)
		w.send(t, poll(etag, 50))
		s.waiters(1)
		s.put("services/web/data/web.json", `{"page": "second"}`)
		answer, body := w.read(t)
		if p := pointerIn(t, answerOf(answer, body)); answer.Header.Get("ETag") == etag || answer.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%v %v", p, answer.Header)
		}
		s.log.wait(t, `"verdict":"allowed"`, `"status":200`, `"address":"`+w.LocalAddr().String()+`"`, `"certificate":"`)
	})
	t.Run("the server stops", func(t *testing.T) {
		resting, waiting := s.wire(files), s.wire(files)
		resting.send(t, poll(`"another"`, 50))
		answer, _ := resting.read(t)
		waiting.send(t, poll(answer.Header.Get("ETag"), 50))
		s.waiters(1)
		s.stop()
		if answer, _ := waiting.read(t); answer.StatusCode != http.StatusNotModified || !answer.Close {
			t.Errorf("%v, goes on: %v", answer.Status, !answer.Close)
		}
		waiting.ended(t)
		resting.ended(t)
	})
}

func answerOf(r *http.Response, body string) answer { return answer{r.StatusCode, r.Header, body} }
