// SPDX-License-Identifier: AGPL-3.0-or-later

package serve_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/backoff"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/spiffe"
)

// crowd is many containers, each with a certificate and connections of its own, that do what confighub does: they wait for
// a version, fetch its bundle, say that they are at it, wait for the next one, and after a while say that it is applied.
type crowd struct {
	address string
	roots   *x509.CertPool
	settle  time.Duration
	members []*member
	ctx     context.Context
	running sync.WaitGroup
	// knocking bounds the handshakes at a time, as all members share the processors of one machine with the server.
	knocking chan struct{}

	// asked counts polls, arrived versions that came, done reports that one is applied, again connections that were made
	// because the one before had ended, and reports that had to be repeated.
	asked, arrived, done, again atomic.Int64
}

// member is one container.
type member struct {
	name        string
	certificate tls.Certificate
	etag        string
	// conn is what it polls on; while it waits it reports on another one.
	conn *wire

	mu sync.Mutex
	at time.Time // when the last version came
}

// wire is one connection of HTTP/1.1.
type wire struct {
	*tls.Conn
	reader *bufio.Reader
}

// places is a tree for n containers of the same service, and who they are.
func places(tb testing.TB, n int) (files map[string]string, ids []spiffe.ID) {
	tb.Helper()
	files = map[string]string{"services/web/data/web.json": `{"page": 0}`}
	const perHost = 100
	for host := 0; host*perHost < n; host++ {
		var stacks []string
		for stack := range min(perHost, n-host*perHost) {
			id, err := spiffe.ForContainer(td, fmt.Sprintf("vm%d", host), fmt.Sprintf("s%d", stack), "web", "")
			if err != nil {
				tb.Fatal(err)
			}
			ids = append(ids, id)
			stacks = append(stacks, fmt.Sprintf(`"s%d": {"services": ["web"]}`, stack))
		}
		files[fmt.Sprintf("hosts/vm%d/host.json", host)] = `{"stacks": {` + strings.Join(stacks, ", ") + `}}`
	}
	return files, ids
}

// gather lets containers with these names poll until the test ends.
func gather(tb testing.TB, ca *identitytest.CA, ids []spiffe.ID, address string, settle time.Duration) *crowd {
	tb.Helper()
	ctx, stop := context.WithCancel(context.Background())
	c := &crowd{address: address, roots: x509.NewCertPool(), settle: settle, ctx: ctx, knocking: make(chan struct{}, 32)}
	for _, root := range ca.Roots() {
		c.roots.AddCert(root)
	}
	for _, id := range ids {
		c.members = append(c.members, &member{name: id.BundleName(), certificate: ca.Certificate(tb, id)})
	}
	tb.Cleanup(func() {
		stop()
		c.running.Wait()
	})
	for _, m := range c.members {
		c.running.Go(func() {
			pause := backoff.Backoff{Min: 250 * time.Millisecond, Max: time.Minute}
			for {
				err := c.live(m)
				if ctx.Err() != nil {
					return
				}
				if status, ok := err.(unexpected); ok {
					tb.Errorf("%s: %v", m.name, status)
					return
				}
				c.again.Add(1)
				if pause.Wait(ctx) != nil {
					return
				}
			}
		})
	}
	return c
}

// live polls on one connection until that ends.
func (c *crowd) live(m *member) (err error) {
	if m.conn, err = c.dial(m); err != nil {
		return err
	}
	for {
		header := ""
		if m.etag != "" {
			header = "If-None-Match: " + m.etag + "\r\nPrefer: wait=50\r\n"
		}
		answer, body, err := c.ask(m.conn, "GET", "/v1/bundles/"+m.name+"/current", header, nil)
		if err != nil {
			return err
		}
		if answer.StatusCode == http.StatusOK {
			first := m.etag == ""
			m.etag = answer.Header.Get("ETag")
			if !first {
				if err := c.take(m, body); err != nil {
					return err
				}
			}
		}
	}
}

// take does what a container does with a version.
func (c *crowd) take(m *member, envelope []byte) error {
	m.mu.Lock()
	m.at = time.Now()
	m.mu.Unlock()
	c.arrived.Add(1)
	parsed, err := bundle.ParseEnvelope(envelope)
	if err != nil {
		return err
	}
	pointer, err := parsed.Pointer()
	if err != nil {
		return err
	}
	if _, _, err := c.ask(m.conn, "GET", "/v1/bundles/"+m.name+"/blobs/"+strings.Replace(pointer.Digest, ":", "/", 1), "", nil); err != nil {
		return err
	}
	if err := c.report(m.conn, pointer, bundle.StatePending); err != nil {
		return err
	}
	c.running.Go(func() {
		select {
		case <-time.After(c.settle):
		case <-c.ctx.Done():
			return
		}
		pause := backoff.Backoff{Min: 500 * time.Millisecond, Max: time.Minute}
		for c.reportLater(m, pointer) != nil {
			c.again.Add(1)
			if pause.Wait(c.ctx) != nil {
				return
			}
		}
		c.done.Add(1)
	})
	return nil
}

// secondTime is how long the connection for reports is kept: one process has no more descriptors for all members.
const secondTime = 2 * time.Second

// reportLater reports while the member waits on its other connection.
func (c *crowd) reportLater(m *member, p bundle.Pointer) error {
	second, err := c.dial(m)
	if err != nil {
		return err
	}
	defer time.AfterFunc(secondTime, func() { second.NetConn().Close() })
	return c.report(second, p, bundle.StateApplied)
}

func (c *crowd) report(on *wire, p bundle.Pointer, state string) error {
	body, err := json.Marshal(bundle.Applied{Version: p.Version(), State: state})
	if err != nil {
		return err
	}
	_, _, err = c.ask(on, "POST", "/v1/applied", "", body)
	return err
}

// dial connects as net/http would, which knows HTTP/2 as well.
func (c *crowd) dial(m *member) (*wire, error) {
	c.knocking <- struct{}{}
	defer func() { <-c.knocking }()
	dialer := tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: c.roots, ServerName: "genesis.internal", Certificates: []tls.Certificate{m.certificate},
		NextProtos: []string{"h2", "http/1.1"},
	}}
	conn, err := dialer.DialContext(c.ctx, "tcp", c.address)
	if err != nil {
		return nil, err
	}
	secure := conn.(*tls.Conn)
	context.AfterFunc(c.ctx, func() { secure.NetConn().Close() })
	if got := secure.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
		return nil, unexpected("the server chose " + got)
	}
	return &wire{secure, bufio.NewReaderSize(conn, 1<<10)}, nil
}

// unexpected is an answer that a container should not get.
type unexpected string

func (u unexpected) Error() string { return string(u) }

// ask sends a request and reads its answer.
func (c *crowd) ask(on *wire, method, path, header string, body []byte) (*http.Response, []byte, error) {
	if len(body) > 0 {
		header += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if _, err := fmt.Fprintf(on, "%s %s HTTP/1.1\r\nHost: genesis.internal\r\n%s\r\n%s", method, path, header, body); err != nil {
		return nil, nil, err
	}
	if strings.Contains(header, "Prefer") {
		c.asked.Add(1)
	}
	response, err := http.ReadResponse(on.reader, nil)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 400 {
		err = unexpected(fmt.Sprintf("%s %s: %s: %s", method, path, response.Status, answer))
	}
	return response, answer, err
}

// since is how long after a moment each member had the last version, shortest first.
func (c *crowd) since(moment time.Time) (took []time.Duration) {
	for _, m := range c.members {
		m.mu.Lock()
		took = append(took, m.at.Sub(moment))
		m.mu.Unlock()
	}
	slices.Sort(took)
	return took
}
