// SPDX-License-Identifier: AGPL-3.0-or-later

// Package repeat answers the reader who asks again: a request that is, byte for byte, the one before it on its connection gets the
// same bytes as that one, from the connection itself, without being parsed, routed and put together anew. It is for
// answers that lie ready anyway (page), where net/http's work is most of what a request costs. Each of them, also the first, is sent
// with one write.
//
//	connection ─ Read ─┬─ another request, a changed answer, a second is over ──▶ net/http ──▶ handler ─ Allow
//	                   └─ the same again: the head that was sent then, and the handler's body, in one write
//
// It is safe by being narrow:
//
//   - Only what a handler allows is repeated, for [Life] at most, and only while the handler's own word (good) holds: the head, its
//     Date, and what let the request through are never older.
//   - Only requests without a body that came whole, alone and in one piece. A connection whose requests come in pieces or several at
//     once is left to net/http for good, so that no byte of one request is ever taken for the beginning of another.
//   - What cannot be matched is net/http's. It hears nothing of what is repeated: for it the connection is idle meanwhile, and
//     Shutdown ends it as such.
//
// Left out: TLS, whose connections net/http must see itself; readers whose permission can be withdrawn (a token), which is to
// work at once; answers that are streamed.
package repeat

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// Life is how long after net/http gave an answer it is repeated: the resolution of its Date (RFC 9110 §5.6.7).
	Life = time.Second

	maxRequest = 2 << 10 // longer requests and heads are not kept: each connection may have one of each
	maxHead    = 2 << 10
	writeLimit = 10 * time.Second // a reader may take for what is repeated to it within Life
)

// Serve has a server answer on a listener of plain HTTP/1.1, with repeated answers. Its ConnState and ConnContext go on being called.
func Serve(server *http.Server, l net.Listener) error {
	state, values := server.ConnState, server.ConnContext
	server.ConnState = func(c net.Conn, s http.ConnState) {
		if c, ok := c.(*conn); ok && s == http.StateIdle {
			c.idle()
		}
		if state != nil {
			state(c, s)
		}
	}
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if values != nil {
			ctx = values(ctx, c)
		}
		return context.WithValue(ctx, key{}, c)
	}
	return server.Serve(listener{l})
}

// key is that of a request's connection in its context.
type key struct{}

// Allow lets the answer to r, of which body is all but the head, be repeated as long as good says so. It is called before the answer is
// written, which is to be body and its Content-Length; body is never changed. Where the server is not one of Serve it does nothing.
func Allow(r *http.Request, body []byte, good func() bool) {
	c, ok := r.Context().Value(key{}).(*conn)
	if !ok || r.ContentLength != 0 || r.Close {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.request) > 0 {
		c.next = &answer{body: body, good: good, until: time.Now().Add(Life)}
	}
}

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, waiting: true}, nil
}

// answer is one that may be repeated.
type answer struct {
	head, body []byte
	sent       int // bytes of both that net/http has written
	early      int // bytes of body that were sent before it wrote them
	good       func() bool
	until      time.Time
	begun      bool // it was repeated
}

// conn is a connection that knows its last request and its answer.
type conn struct {
	net.Conn

	mu      sync.Mutex // net/http reads while the handler writes, to hear of a reader who leaves
	waiting bool       // what comes next begins a request
	ahead   []byte     // of a request, read while the one before it was answered: nothing or its first byte
	lost    bool       // where a request begins is not known any more
	request []byte     // the one that is being answered, or was; empty: not to be repeated
	next    *answer    // to request, being written
	kept    *answer    // to request, written
}

// Read returns what net/http has to answer.
func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if n == 0 || err != nil {
			return n, err
		}
		a := c.take(p[:n], len(p))
		if a == nil {
			return n, nil
		}
		if err := c.send(a); err != nil {
			return 0, err
		}
	}
}

// take notes what was read into a buffer of that size. It returns the answer if that is known.
func (c *conn) take(b []byte, size int) *answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.lost:
		return nil
	case !c.waiting && size == 1 && len(c.ahead) == 0: // net/http's look for a reader who leaves
		c.ahead = append(c.ahead, b[0])
		return nil
	case !c.waiting:
		c.lose()
		return nil
	}
	if a := c.kept; a != nil && len(c.ahead) == 0 && bytes.Equal(b, c.request) && time.Now().Before(a.until) && a.good() {
		return a
	}
	c.waiting, c.kept, c.next = false, nil, nil
	c.request = append(append(c.request[:0], c.ahead...), b...)
	c.ahead = c.ahead[:0]
	switch {
	case !whole(c.request):
		c.lose()
	case len(c.request) > maxRequest || !bytes.HasPrefix(c.request, []byte("GET ")):
		c.request = nil
	}
	return nil
}

var headEnd = []byte("\r\n\r\n")

// whole reports whether b is the head of one request, and nothing else. net/http takes lines that end with LF alone too (RFC 9112
// §2.2): those are not for us.
func whole(b []byte) bool {
	return bytes.Index(b, headEnd) == len(b)-len(headEnd) && !bytes.Contains(b, []byte("\n\n")) && bytes.Index(b, []byte("\n\r\n")) == len(b)-3
}

func (c *conn) lose() {
	c.lost, c.request, c.ahead, c.kept, c.next = true, nil, nil, nil, nil
}

// send repeats an answer. net/http, which is waiting, has taken its own limit away.
func (c *conn) send(a *answer) error {
	if !a.begun {
		a.begun = true
		if err := c.Conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
			return err
		}
	}
	_, err := a.write(c.Conn)
	return err
}

// Write sends what net/http made, and notes its head. net/http writes a large answer in two parts, of which the first has what its
// buffer holds beside the head; here all of it goes at once, and what it writes of the body later has been sent.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	a := c.next
	if a == nil {
		c.mu.Unlock()
		return c.Conn.Write(b)
	}
	first, n := a.sent == 0, min(len(b), a.early)
	if first {
		if end := bytes.Index(b, headEnd); end >= 0 && end < maxHead {
			a.head = bytes.Clone(b[:end+len(headEnd)])
		}
	}
	a.sent += len(b)
	a.early -= n
	rest := len(a.head) + len(a.body) - a.sent
	if first = first && rest > 0 && a.announced(); first {
		a.early = rest
	}
	c.mu.Unlock()
	if first {
		if _, err := a.write(c.Conn); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	if n == len(b) {
		return n, nil
	}
	more, err := c.Conn.Write(b[n:])
	return n + more, err
}

// announced says that the head is that of the body as it is.
func (a *answer) announced() bool {
	return bytes.Contains(a.head, fmt.Appendf(nil, "\r\nContent-Length: %d\r\n", len(a.body)))
}

func (a *answer) write(to io.Writer) (int64, error) {
	parts := net.Buffers{a.head, a.body}
	return parts.WriteTo(to)
}

// idle is told that the answer is written and the next request awaited.
func (c *conn) idle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting {
		c.lose() // net/http had that request already: it came together with another
		return
	}
	c.waiting = true
	if a := c.next; a != nil && len(a.head) > 0 && a.sent == len(a.head)+len(a.body) {
		c.kept = a
	}
	c.next = nil
}
