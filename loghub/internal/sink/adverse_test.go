// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"github.com/google/go-cmp/cmp"
)

// raw is a server that does what it likes with a connection, the n-th from 1. It reads nothing by itself.
func raw(t *testing.T, each func(n int, c *net.TCPConn)) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for n := 1; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				each(n, c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { ln.Close(); open.Wait() })
	return "http://" + ln.Addr().String()
}

// answers reads requests from a connection and answers each with the words.
func answers(c net.Conn, words string) {
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		if _, err := io.WriteString(c, words); err != nil {
			return
		}
	}
}

const (
	plainOK   = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	impatient = 500 * time.Millisecond
)

// TestAdverseServers: whatever a server does, records get through as soon as it lets them.
func TestAdverseServers(t *testing.T) {
	// gone returns once the other side has closed the connection, or the test is over.
	gone := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	tests := []struct {
		name string
		each func(n int, c *net.TCPConn)
		says string // in the log, "" for no trouble
	}{
		{"never answers", func(n int, c *net.TCPConn) {
			if n < 3 {
				gone(c)
				return
			}
			answers(c, plainOK)
		}, "no answer in time"},
		{"answers by the byte, then stalls", func(n int, c *net.TCPConn) {
			if n < 2 {
				_, _ = c.Read(make([]byte, 1)) // what comes before the request is another mistake
				for _, b := range []byte("HTTP/1.1 20") {
					if _, err := c.Write([]byte{b}); err != nil {
						return
					}
				}
				gone(c)
				return
			}
			answers(c, plainOK)
		}, "no answer in time"},
		{"success with a body that never ends", func(n int, c *net.TCPConn) {
			answers(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
		}, ""},
		{"success with a body without bounds", func(n int, c *net.TCPConn) {
			req, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
			block := make([]byte, 64<<10)
			for {
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		}, ""},
		{"resets in the middle of a request", func(n int, c *net.TCPConn) {
			if n < 4 {
				_, _ = c.Read(make([]byte, 10))
				_ = c.SetLinger(0)
				return
			}
			answers(c, plainOK)
		}, ""},
		{"hints before the answer", func(n int, c *net.TCPConn) {
			answers(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"+plainOK)
		}, ""},
		{"another protocol", func(n int, c *net.TCPConn) {
			if n < 2 {
				_, _ = c.Read(make([]byte, 1))
				fmt.Fprint(c, "SSH-2.0-OpenSSH_9.2\r\n")
				gone(c)
				return
			}
			answers(c, plainOK)
		}, "malformed HTTP"},
		{"a page for people", func(n int, c *net.TCPConn) {
			answers(c, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>")
		}, "is the path right?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, raw(t, tt.each), nil, 10)
			r.o.Timeout, r.client.HTTPClient.Timeout = impatient, impatient
			r.run(t)
			waitFor(t, 60*time.Second, "empty spool", func() bool { return r.spool.Stats().Backlog == 0 })
			if s := r.State(); s.Sent != 10 || s.Dead != 0 {
				t.Errorf("%+v", s)
			}
			if log := r.log.String(); !strings.Contains(log, tt.says) {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// TestRedirect: nobody but the operator says where logs go.
func TestRedirect(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, code := range []int{301, 302, 307, 308} {
		srv := httptest.NewServer(http.RedirectHandler(other.URL+"/there", code))
		r := newRig(t, srv.URL, nil, 1)
		if left := r.Flush(t.Context()); left != 1 {
			t.Errorf("%d: %d records wait", code, left)
		}
		if s := r.State(); !s.Held || !strings.Contains(s.Error, other.URL+"/there") {
			t.Errorf("%d: %+v", code, s)
		}
		srv.Close()
	}
	if elsewhere.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// TestPartialSuccessIsSaidOnce: the warning is a record in turn, which the receiver may refuse as well.
func TestPartialSuccessIsSaidOnce(t *testing.T) {
	e := &engine{answer: func(_ int, _ string, w http.ResponseWriter) bool {
		_, _ = w.Write(otlp.AppendResponse(nil, otlp.Response{Rejected: 1, Message: "too old"}))
		return true
	}}
	srv := httptest.NewServer(e)
	defer srv.Close()
	r := newRig(t, srv.URL, nil, 0)
	for range 20 {
		r.put(t, 1)
		if left := r.Flush(t.Context()); left != 0 {
			t.Fatal(left)
		}
	}
	if s := r.State(); s.Rejected != 20 || strings.Count(r.log.String(), "too old") != 1 {
		t.Errorf("%+v\n%s", s, r.log)
	}
}

// TestTooLarge: what size a receiver takes is learned once, also from those that answer 400 (the Collector), and one record
// that is too large for it is out of the way.
func TestTooLarge(t *testing.T) {
	const limit = 40 << 10
	for name, status := range map[string]int{"413": 413, "400": 400, "413 cut short": 413} {
		t.Run(name, func(t *testing.T) {
			var refused atomic.Int64
			e := &engine{}
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(unpacked(r))
				if err != nil || len(body) > limit {
					refused.Add(1)
					if strings.HasSuffix(name, "short") {
						w.Header().Set("Content-Length", "100")
					}
					w.WriteHeader(status)
					return
				}
				r.Body, r.Header = io.NopCloser(strings.NewReader(string(body))), http.Header{}
				e.ServeHTTP(w, r)
			}))
			defer srv.Close()
			r := newRig(t, srv.URL, nil, 1)
			var want []string
			for i := range 5000 {
				text := fmt.Sprintf("%d %s", i, strings.Repeat("x", 100))
				if i == 2500 {
					text = strings.Repeat("y", limit+1)
				} else {
					want = append(want, text)
				}
				r.seq++
				r.batch.Record(r.seq, r.seq, &otlp.Record{Body: otlp.String(text)})
			}
			if err := r.spool.Commit(r.batch); err != nil {
				t.Fatal(err)
			}
			if left := r.Flush(t.Context()); left != 0 {
				t.Errorf("%d records wait", left)
			}
			var got []string
			for _, text := range e.texts()[1:] {
				if !strings.HasPrefix(text, "lost ") {
					got = append(got, text)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			// Halvings from 256 KiB down, and those around the giant.
			if n := refused.Load(); n > 30 || r.State().Dead != 1 {
				t.Errorf("%d requests were too large, %+v", n, r.State())
			}
		})
	}
}

// TestConnectionIsReused: one is enough, plain as with TLS.
func TestConnectionIsReused(t *testing.T) {
	var conns atomic.Int64
	srv := httptest.NewUnstartedServer(&engine{})
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	r := newRig(t, srv.URL, nil, 0)
	r.run(t)
	for i := range int64(10) {
		r.put(t, 1)
		waitFor(t, 60*time.Second, "record", func() bool { return r.State().Sent == i+1 })
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestMemoryOfABurst: the compressor and the buffers of a burst go when it is over.
func TestMemoryOfABurst(t *testing.T) {
	srv := httptest.NewServer(&engine{})
	defer srv.Close()
	r := newRig(t, srv.URL, nil, 20000)
	if left := r.Flush(t.Context()); left != 0 {
		t.Fatal(left)
	}
	r.rest()
	d, err := r.spool.Peek(1, packFrom)
	if err != nil {
		t.Fatal(err)
	}
	if r.packer.gz != nil || r.packer.buf.Cap() > 4*packFrom || cap(d.Records) > 4*packFrom {
		t.Errorf("kept: compressor %v, %d and %d bytes", r.packer.gz != nil, r.packer.buf.Cap(), cap(d.Records))
	}
}

// TestSize: batches grow while they are taken full, shrink on a line that is too slow, and keep under what was refused.
func TestSize(t *testing.T) {
	s := newSize()
	s.took(10, 100)
	if s != newSize() {
		t.Errorf("a small batch changed the size: %+v", s)
	}
	for range 10 {
		s.took(s.records, s.bytes)
	}
	if s.records != maxRecords || s.bytes != maxBytes {
		t.Errorf("grown: %+v", s)
	}
	s.refused(700 << 10)
	for range 10 {
		s.took(s.records, s.bytes)
	}
	if s.bytes != 350<<10 {
		t.Errorf("after a refusal of 700 KiB: %+v", s)
	}
	for range 20 {
		s.failed()
	}
	if s.records != minRecords || s.bytes != minBytes {
		t.Errorf("shrunk: %+v", s)
	}
}
