// SPDX-License-Identifier: AGPL-3.0-or-later

package repeat

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// site answers with what was asked for. Its answers may be repeated while it is good.
type site struct {
	good  atomic.Bool
	calls atomic.Int64
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.calls.Add(1)
	sent, _ := io.ReadAll(r.Body)
	body := fmt.Appendf(nil, "%s %s with %q\n%s", r.Method, r.RequestURI, sent, strings.Repeat("x", 10_000)) // more than net/http writes at once
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	Allow(r, body, s.good.Load)
	w.Write(body)
}

// pipes is a listener of connections that exist in memory alone, for testing/synctest.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// reader is the other end of a connection, and what it was sent.
type reader struct {
	net.Conn
	mu  sync.Mutex
	got bytes.Buffer
}

func (r *reader) take(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got.Write(b)
}

// connect begins to serve a connection, until the test ends.
func connect(t *testing.T, s *site, serve func(*http.Server, net.Listener) error) *reader {
	t.Helper()
	server, l := &http.Server{Handler: s, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: time.Minute}, make(pipes, 1)
	ours, theirs := net.Pipe()
	l <- theirs
	go serve(server, l)
	r := &reader{Conn: ours}
	go func() {
		for b := make([]byte, 64<<10); ; {
			n, err := ours.Read(b)
			if r.take(b[:n]); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { ours.Close(); server.Close() })
	return r
}

// say sends something, and returns what came in answer.
func (r *reader) say(text string) string {
	io.WriteString(r.Conn, text) // refused: the answers tell
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.got.Reset()
	return r.got.String()
}

const again = "GET /v1/snapshot HTTP/1.1\r\nHost: it\r\n\r\n"

func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{}
		s.good.Store(true)
		r := connect(t, s, Serve)
		first := r.say(again)
		if !strings.HasPrefix(first, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(first, "x") {
			t.Fatalf("answer %.200q", first)
		}
		asked := func(what string, text string, calls int64) {
			t.Helper()
			before := s.calls.Load()
			got := r.say(text)
			if n := s.calls.Load() - before; n != calls {
				t.Errorf("%s: the handler was asked %d times, want %d", what, n, calls)
			}
			if text == again && undated(got) != undated(first) {
				t.Errorf("%s: answer %.200q, want %.200q", what, got, first)
			}
		}
		asked("the same", again, 0)
		asked("the same, a third time", again, 0)
		asked("another", "GET /readyz HTTP/1.1\r\nHost: it\r\n\r\n", 1)
		asked("the first again", again, 1)
		asked("one with a header more", "GET /v1/snapshot HTTP/1.1\r\nHost: it\r\nCookie: a=b\r\n\r\n", 1)
		asked("the first after that", again, 1)
		s.good.Store(false)
		asked("what is not good any more", again, 1)
		s.good.Store(true)
		asked("what was made when it was not good", again, 0)
		time.Sleep(Life)
		asked("after its life", again, 1)
		for range 3 {
			time.Sleep(2 * time.Minute / 5)
			asked("of a reader who comes now and then", again, 1)
		}
	})
}

var date = regexp.MustCompile(`Date: [^\r]*`)

func undated(s string) string { return date.ReplaceAllString(s, "Date: now") }

// TestSlowReader gives up on a reader who asks again and does not read.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := &site{}, make(pipes, 1)
		s.good.Store(true)
		ours, theirs := net.Pipe()
		l <- theirs
		ended := make(chan struct{}, 1)
		server := &http.Server{Handler: s, ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				ended <- struct{}{}
			}
		}}
		go Serve(server, l)
		defer server.Close()
		io.WriteString(ours, again)
		resp, err := http.ReadResponse(bufio.NewReader(ours), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // what comes earlier, net/http reads ahead
		io.WriteString(ours, again)
		start := time.Now()
		<-ended
		if took := time.Since(start); took != writeLimit {
			t.Errorf("the connection ended after %s, want %s", took, writeLimit)
		}
		if n := s.calls.Load(); n != 1 {
			t.Errorf("the handler was asked %d times, want once", n)
		}
	})
}

// pieces are of requests that are whole, broken, or there for somebody to be fooled.
var pieces = []string{
	again, again, again, again,
	"GET /readyz HTTP/1.1\r\nHost: it\r\n\r\n", "HEAD /v1/snapshot HTTP/1.1\r\nHost: it\r\n\r\n",
	again + again, again[:1], again[1:], again[:20], again[20:],
	"POST / HTTP/1.1\r\nHost: it\r\nContent-Length: 5\r\n\r\n", "hello",
	"GET /body HTTP/1.1\r\nHost: it\r\nContent-Length: 5\r\n\r\n", "GET /body HTTP/1.1\r\nHost: it\r\nContent-Length: 40\r\n\r\n",
	"GET /chunks HTTP/1.1\r\nHost: it\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n",
	"GET /lf HTTP/1.1\nHost: it\n\n", "GET /lf HTTP/1.1\nHost: it\n\n" + again, "GET /lf HTTP/1.1\nHost: it\n\r\n" + again, "\r\n", "\r\n" + again,
	"GET /v1/snapshot HTTP/1.1\r\nHost: it\r\nX: ", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	"GET /last HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n", "GET /expects HTTP/1.1\r\nHost: it\r\nExpect: 100-continue\r\n\r\n",
}

// TestSameAsWithout compares what readers are answered with what net/http alone answers, whatever they send.
func TestSameAsWithout(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	asked, alone := int64(0), int64(0)
	for range 500 {
		var sent []string
		for range 1 + random.IntN(8) {
			sent = append(sent, pieces[random.IntN(len(pieces))])
		}
		synctest.Test(t, func(t *testing.T) {
			s, plain := &site{}, &site{}
			s.good.Store(true)
			ours := connect(t, s, Serve)
			theirs := connect(t, plain, (*http.Server).Serve)
			for i, text := range sent {
				if diff := cmp.Diff(theirs.say(text), ours.say(text)); diff != "" {
					t.Fatalf("after %q (-net/http +ours):\n%.2000s", sent[:i+1], diff)
				}
			}
			asked += s.calls.Load()
			alone += plain.calls.Load()
		})
	}
	if asked >= alone {
		t.Errorf("%d of %d answers were made by the handler: none was repeated", asked, alone)
	}
}

// noting is a listener whose connections tell what is written to them.
type noting struct {
	net.Listener
	writes chan string
}

func (l noting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return noted{c, l.writes}, err
}

type noted struct {
	net.Conn
	writes chan string
}

func (c noted) Write(b []byte) (int, error) {
	c.writes <- string(b)
	return c.Conn.Write(b)
}

// TestOneWrite: the head is followed by all of the body, not by what net/http's buffer holds of it.
func TestOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		writes := make(chan string, 100)
		s := &site{}
		r := connect(t, s, func(server *http.Server, l net.Listener) error {
			return Serve(server, noting{l, writes})
		})
		for range 2 {
			answer := r.say(again)
			if len(writes) != 2 {
				t.Fatalf("%d writes, want the two parts of one", len(writes))
			}
			head, body := <-writes, <-writes
			if !strings.HasSuffix(head, "\r\n\r\n") || len(body) < 10_000 || head+body != answer {
				t.Errorf("%d bytes that end with %q, and %d", len(head), head[len(head)-4:], len(body))
			}
		}
	})
}

// TestElsewhere: a handler behind another server answers as ever.
func TestElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{}
		s.good.Store(true)
		r := connect(t, s, (*http.Server).Serve)
		r.say(again)
		r.say(again)
		if n := s.calls.Load(); n != 2 {
			t.Errorf("the handler was asked %d times, want twice", n)
		}
	})
}
