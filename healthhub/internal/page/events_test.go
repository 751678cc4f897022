// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

// site is a page whose tree changes when a test says so.
type site struct {
	*Page
	mu      sync.Mutex // guards what follows
	current Snapshot
	record  *record.Recorder
}

func newSite(kind string) *site {
	s := &site{record: record.New("", record.Size)}
	s.current = Snapshot{Node: &health.Node{Kind: kind, Name: "it", State: health.Pass}, At: time.Now()}
	s.Page = New(func() Snapshot {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.current
	})
	return s
}

// turn makes the root be in another state: the next generation.
func (s *site) turn(state health.State) {
	s.mu.Lock()
	before := s.current
	n := *before.Node
	n.State, n.Text = state, strings.Repeat("words ", 60)
	s.current = Snapshot{Node: &n, Generation: before.Generation + 1, At: time.Now()}
	now := s.current
	s.mu.Unlock()
	s.Tell(now, s.record.Note(before.Node, now.Node, now.At))
}

// flip turns n times.
func (s *site) flip(n int) {
	for range n {
		if s.source().Node.State == health.Fail {
			s.turn(health.Pass)
		} else {
			s.turn(health.Fail)
		}
	}
}

// pipes is a network without buffers: what nobody reads is not written. With it time can be the test's own.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "pipe"} }

// serve answers on pipes with limits as short as a server may have.
func (s *site) serve(t *testing.T) (*pipes, *http.Server) {
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: s.Handler(), ReadTimeout: time.Second, WriteTimeout: time.Second, IdleTimeout: time.Second}
	served := make(chan struct{})
	go func() { defer close(served); server.Serve(p) }()
	t.Cleanup(func() { server.Close(); <-served })
	return p, server
}

// reader reads a stream of events.
type reader struct {
	conn io.Closer
	resp *http.Response
	r    *bufio.Reader
}

func (p *pipes) open(t *testing.T, target, last string) *reader {
	t.Helper()
	client, server := net.Pipe()
	p.conns <- server
	t.Cleanup(func() { client.Close() })
	req, err := http.NewRequest(http.MethodGet, "http://it"+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	if err := req.Write(client); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(client)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		t.Fatal(err)
	}
	return &reader{conn: client, resp: resp, r: bufio.NewReader(resp.Body)}
}

// message is the next one: its fields, and a comment under "".
func (r *reader) message() (map[string]string, error) {
	out := map[string]string{}
	for {
		line, err := r.r.ReadString('\n')
		if err != nil {
			return out, err
		}
		if line == "\n" {
			return out, nil
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		out[name] = strings.TrimPrefix(value, " ")
	}
}

func (r *reader) want(t *testing.T, event, id string) changeDoc {
	t.Helper()
	m, err := r.message()
	if err != nil {
		t.Fatal(err)
	}
	if m["event"] != event || m["id"] != id {
		t.Fatalf("got %v, want event %q with id %q", m, event, id)
	}
	var doc changeDoc
	if event == "" {
		return doc
	}
	if err := json.Unmarshal([]byte(m["data"]), &doc); err != nil {
		t.Fatalf("%v: %s", err, m["data"])
	}
	if event == "reset" && len(doc.Changes) > 0 || event == "change" && len(doc.Changes) == 0 {
		t.Errorf("%s with %d changes", event, len(doc.Changes))
	}
	return doc
}

func (s *site) id(generation int) string { return fmt.Sprintf("%s-%d", s.boot, generation) }

// A reader hears of what changes after it came, as it changes; a server's limits for requests do not end its stream, and
// the stream's own do.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(health.KindHost)
		p, _ := s.serve(t)
		s.turn(health.Warn)
		start := time.Now()
		r := p.open(t, "/v1/events", "")
		if r.resp.StatusCode != 200 || r.resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%s %s", r.resp.Status, r.resp.Header.Get("Content-Type"))
		}
		r.want(t, "", s.id(1))
		for i := 1; i <= 4; i++ {
			if m, err := r.message(); err != nil || len(m) != 1 || time.Since(start) != time.Duration(i)*heartbeat {
				t.Fatalf("after %s: %v %v", time.Since(start), m, err)
			}
		}
		go s.turn(health.Fail)
		doc := r.want(t, "change", s.id(2))
		if doc.State != health.Fail || doc.Generation != 2 || len(doc.Changes) != 1 || *doc.Changes[0].From != health.Warn || *doc.Changes[0].To != health.Fail {
			t.Errorf("%+v", doc)
		}
		if time.Since(start) != 4*heartbeat {
			t.Errorf("told after %s", time.Since(start))
		}
		for err := error(nil); err == nil; _, err = r.message() {
		}
		if life := time.Since(start); life != streamLife {
			t.Errorf("the stream ended after %s", life)
		}
	})
}

// Who comes back is told what it missed, if that is still known, else to begin anew; and so is who comes with
// what was never given out.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(health.KindHost)
		p, _ := s.serve(t)
		s.flip(3)
		open := func(target, last string) *reader { return p.open(t, target, last) }

		r := open("/v1/events", s.id(1))
		r.want(t, "", "") // when to come back
		r.want(t, "change", s.id(2))
		r.want(t, "change", s.id(3))
		r.conn.Close()

		r = open("/v1/events?after="+s.id(2)+"-gzip", "") // the ETag of a page
		r.want(t, "", "")
		r.want(t, "change", s.id(3))
		r.conn.Close()

		r = open("/v1/events?after="+s.id(1), s.id(2)) // the event is newer than the page
		r.want(t, "", "")
		r.want(t, "change", s.id(3))
		r.conn.Close()

		for _, last := range []string{"another-2", s.boot, s.boot + "-x", s.id(4), "x", s.boot + "--1"} {
			r = open("/v1/events", last)
			if doc := r.want(t, "reset", s.id(3)); doc.State != health.Fail {
				t.Errorf("%s: %+v", last, doc)
			}
			r.conn.Close()
		}

		s.flip(maxChanges) // the first three are forgotten
		r = open("/v1/events", s.id(2))
		r.want(t, "reset", s.id(3+maxChanges))
		r.conn.Close()
		r = open("/v1/events", s.id(3))
		r.want(t, "", "")
		for i := range maxChanges {
			r.want(t, "change", s.id(4+i))
		}
		synctest.Wait()
	})
}

func TestEventsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(health.KindContainer)
		p, _ := s.serve(t)
		if r := p.open(t, "/v1/events?since=1", ""); r.resp.StatusCode != http.StatusBadRequest {
			t.Errorf("a parameter nobody knows: %s", r.resp.Status)
		}
		var open []*reader
		for range streams[health.KindContainer] {
			r := p.open(t, "/v1/events", "")
			r.want(t, "", s.id(0))
			open = append(open, r)
		}
		if r := p.open(t, "/v1/events", ""); r.resp.StatusCode != http.StatusServiceUnavailable || r.resp.Header.Get("Retry-After") != "15" {
			t.Errorf("one too many: %s", r.resp.Status)
		}
		if r := p.open(t, "/readyz", ""); r.resp.StatusCode != 200 {
			t.Errorf("others suffer: %s", r.resp.Status)
		}
		open[0].conn.Close()
		synctest.Wait()
		p.open(t, "/v1/events", "").want(t, "", s.id(0))
	})
}

// Who reads nothing is dropped after the limit, delays nobody, and costs one write.
func TestReaderThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(health.KindHost)
		p, _ := s.serve(t)
		p.open(t, "/v1/events", "").want(t, "", s.id(0)) // and then nothing
		other := p.open(t, "/v1/events", "")
		other.want(t, "", s.id(0))
		start := time.Now()
		go s.flip(4)
		for i := range 4 {
			other.want(t, "change", s.id(1+i))
		}
		if time.Since(start) != 0 {
			t.Errorf("others waited %s", time.Since(start))
		}
		time.Sleep(writeLimit + time.Millisecond)
		synctest.Wait()
		s.events.mu.Lock()
		defer s.events.mu.Unlock()
		if s.events.readers != 1 {
			t.Errorf("%d readers", s.events.readers)
		}
	})
}

// Who reads, but more slowly than things change, is dropped when what it has not read yet is forgotten.
func TestReaderThatIsTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(health.KindHost)
		p, _ := s.serve(t)
		r := p.open(t, "/v1/events", "")
		r.want(t, "", s.id(0))
		last := ""
		for {
			s.flip(maxChanges / 2)
			time.Sleep(writeLimit / 2)
			m, err := r.message()
			if err != nil {
				break
			}
			last = m["id"]
		}
		if last == "" {
			t.Fatal("no event at all")
		}
		r = p.open(t, "/v1/events", last)
		if m, err := r.message(); err != nil || m["event"] != "reset" {
			t.Errorf("%v %v", m, err)
		}
	})
}

// The end of a server is the end of its streams, and not of those of another.
func TestEventsEndWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(health.KindHost)
		p, server := s.serve(t)
		elsewhere, _ := s.serve(t)
		r, other := p.open(t, "/v1/events", ""), elsewhere.open(t, "/v1/events", "")
		r.want(t, "", s.id(0))
		other.want(t, "", s.id(0))
		start := time.Now()
		down := make(chan error, 1)
		go func() { down <- server.Shutdown(t.Context()) }()
		if m, err := r.message(); err != io.EOF || time.Since(start) > time.Second {
			t.Errorf("%v %v after %s", m, err, time.Since(start))
		}
		go s.turn(health.Fail)
		other.want(t, "change", s.id(1))
		if err := <-down; err != nil || time.Since(start) > time.Second {
			t.Errorf("the server ended after %s: %v", time.Since(start), err)
		}
	})
}

// What is kept is bounded by the number of transitions too, and encoded once for all.
func TestWhatIsKept(t *testing.T) {
	s := newSite(health.KindFleet)
	many := make([]record.Event, maxTransitions/2)
	for i := range uint64(10) {
		s.Tell(Snapshot{Node: s.current.Node, Generation: i + 1}, many)
		s.Tell(Snapshot{Node: s.current.Node, Generation: i + 1}, nil)
	}
	if n := len(s.events.changes); n != 2 || s.events.kept != maxTransitions {
		t.Errorf("%d changes with %d transitions", n, s.events.kept)
	}
	c := s.events.changes[0]
	if first, again := c.encoded(s.boot), c.encoded(s.boot); &first[0] != &again[0] || bytes.Count(first, []byte("\n")) != 4 {
		t.Error("encoded twice, or in more lines than three and an empty one")
	}
}

// Over real TLS, with HTTP/2 and HTTP/1.1.
func TestEventsOverTLS(t *testing.T) {
	ca := identitytest.New(t)
	id := func(uri string) spiffe.ID {
		id, err := spiffe.Parse("spiffe://cloud4.internal" + uri)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	s := newSite(health.KindHost)
	server := mtls.Server(ca.Files(t, id("/host/vm1")), s.Handler(), func(r mtls.Refusal) { t.Errorf("refused: %+v", r) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); server.ServeTLS(l, "", "") }()
	defer func() { server.Shutdown(context.WithoutCancel(t.Context())); <-served }()

	for i, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		conf, err := mtls.ClientConfig(ca.Files(t, id("/operator/ops")), mtls.Host("cloud4.internal", "vm1"))
		if err != nil {
			t.Fatal(err)
		}
		conf.ServerName = "vm1.internal"
		transport := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: protocol == "HTTP/2.0"}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get("https://" + l.Addr().String() + "/v1/events")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.Proto != protocol {
			t.Errorf("%s instead of %s", resp.Proto, protocol)
		}
		r := &reader{conn: resp.Body, resp: resp, r: bufio.NewReader(resp.Body)}
		r.want(t, "", s.id(i))
		s.turn([]health.State{health.Fail, health.Warn}[i])
		r.want(t, "change", s.id(i+1))
	}
}

// What a reader of a fleet's events costs the sum: nothing until somebody reads, then one encoding.
func BenchmarkTell(b *testing.B) {
	n := rollup.Fleet("fleet", nil)
	p := New(func() Snapshot { return Snapshot{Node: &n} })
	from, to := health.Pass, health.Fail
	transitions := []record.Event{{Path: "vm1/web.shop.vm1/page", Kind: health.KindCheck, From: &from, To: &to, Text: "connection refused"}}
	b.ReportAllocs()
	for i := uint64(1); b.Loop(); i++ {
		p.Tell(Snapshot{Node: &n, Generation: i}, transitions)
	}
}
