// SPDX-License-Identifier: AGPL-3.0-or-later

package serve_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/json"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

const td = "cloud4.internal"

func nopLog() zerolog.Logger { return zerolog.Nop() }

// server is a serve.Run in this process, with its own state and tree.
type server struct {
	t           *testing.T
	ca          *identitytest.CA
	root, state string
	// ref is set when root is a git repository; webhook is the address to take hooks on.
	ref, webhook string
	address      string
	log          *logLines
	stop         func()
	// keys sign what it publishes from its next start on.
	keys []ed25519.PrivateKey
}

// logLines keeps what is logged.
type logLines struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.String()
}

// wait returns the first line that holds all of the words.
func (l *logLines) wait(t *testing.T, words ...string) string {
	t.Helper()
	found := ""
	waitFor(t, 5*time.Second, func() bool {
		for line := range strings.Lines(l.String()) {
			missing := false
			for _, word := range words {
				missing = missing || !strings.Contains(line, word)
			}
			if !missing {
				found = line
				return true
			}
		}
		return false
	}, func() string { return "no line of the log says " + strings.Join(words, " and ") + ":\n" + l.String() })
	return found
}

func waitFor(t testing.TB, d time.Duration, done func() bool, otherwise func() string) {
	t.Helper()
	for end := time.Now().Add(d); !done(); {
		if time.Now().After(end) {
			t.Fatal(otherwise())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// newServer writes the tree; start runs it.
func newServer(t *testing.T, files map[string]string) *server {
	t.Helper()
	s := &server{t: t, ca: identitytest.New(t), root: t.TempDir(), state: filepath.Join(t.TempDir(), "serve")}
	for name, text := range files {
		s.put(name, text)
	}
	s.start()
	return s
}

func (s *server) put(name, text string) {
	s.t.Helper()
	file := filepath.Join(s.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) start() {
	s.t.Helper()
	dir := s.ca.Dir(s.t, s.id(spiffe.ForGenesis(td, spiffe.KindConfig)))
	s.log = &logLines{}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() {
		done <- serve.Run(ctx, serve.Options{
			Root: s.root, State: s.state, Listen: "127.0.0.1:0", IdentityDir: dir,
			Files: identity.Open(dir), Log: zerolog.New(s.log).Level(zerolog.DebugLevel), Keys: s.keys,
			Ref: s.ref, Webhook: s.webhook, WebhookSecret: []byte(hookSecret),
		})
	}()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	})
	s.t.Cleanup(s.stop)
	var line struct{ Address string }
	if err := json.Unmarshal([]byte(s.log.wait(s.t, "serving configuration")), &line); err != nil {
		s.t.Fatal(err)
	}
	s.address = line.Address
	s.log.wait(s.t, "tree") // published, or said to be broken
}

func (s *server) id(id spiffe.ID, err error) spiffe.ID {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

func (s *server) container(host, stack, service, instance string) spiffe.ID {
	s.t.Helper()
	return s.id(spiffe.ForContainer(td, host, stack, service, instance))
}

// client is somebody with an identity and a connection of his own.
type client struct {
	tb testing.TB
	// s is the server in this process; nil for one of another.
	s *server
	*http.Client
}

func (s *server) client(id spiffe.ID) *client {
	s.t.Helper()
	c := clientOf(s.t, s.ca, s.address, id)
	c.s = s
	return c
}

func (s *server) clientWith(conf *tls.Config) *client {
	return clientWith(s.t, s.address, conf)
}

func clientOf(tb testing.TB, ca *identitytest.CA, address string, id spiffe.ID) *client {
	tb.Helper()
	conf, err := mtls.ClientConfig(ca.Files(tb, id), mtls.Genesis(td, spiffe.KindConfig))
	if err != nil {
		tb.Fatal(err)
	}
	return clientWith(tb, address, conf)
}

// clientWith finds genesis.internal at the server's address, as extra_hosts would.
func clientWith(tb testing.TB, address string, conf *tls.Config) *client {
	transport := &http.Transport{
		TLSClientConfig: conf, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	tb.Cleanup(transport.CloseIdleConnections)
	return &client{tb: tb, Client: &http.Client{Transport: transport, Timeout: 20 * time.Second}}
}

// onlyHTTP2 makes it a client that knows no HTTP/1.1.
func (c *client) onlyHTTP2() *client {
	transport := c.Transport.(*http.Transport)
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP2(true)
	return c
}

// answer is a response with its body read.
type answer struct {
	status int
	header http.Header
	body   string
}

func (c *client) ask(method, path string, header map[string]string, body string) (answer, error) {
	request, err := http.NewRequestWithContext(c.tb.Context(), method, "https://genesis.internal"+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for key, value := range header {
		request.Header.Set(key, value)
	}
	response, err := c.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(raw)}, err
}

func (c *client) get(path string) answer {
	c.tb.Helper()
	a, err := c.ask(http.MethodGet, path, nil, "")
	if err != nil {
		c.tb.Fatal(err)
	}
	return a
}

// metric is a number of /metrics, NaN when it is not there.
func (c *client) metric(name string) float64 {
	c.tb.Helper()
	a := c.get("/metrics")
	if a.status != http.StatusOK {
		c.tb.Fatalf("status %d: %s", a.status, a.body)
	}
	for line := range strings.Lines(a.body) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				c.tb.Fatalf("%v in %s", err, a.body)
			}
			return value
		}
	}
	return math.NaN()
}

// pointer asks for the current version.
func (c *client) pointer(name string) bundle.Pointer {
	c.tb.Helper()
	return pointerIn(c.tb, c.get("/v1/bundles/"+name+"/current"))
}

func pointerIn(tb testing.TB, a answer) bundle.Pointer {
	tb.Helper()
	if a.status != http.StatusOK {
		tb.Fatalf("status %d: %s", a.status, a.body)
	}
	envelope, err := bundle.ParseEnvelope([]byte(a.body))
	if err != nil {
		tb.Fatal(err)
	}
	pointer, err := envelope.Pointer()
	if err != nil {
		tb.Fatal(err)
	}
	return pointer
}

// data fetches and unpacks the bundle.
func (c *client) data(name string, p bundle.Pointer) map[string]any {
	c.tb.Helper()
	a := c.get("/v1/bundles/" + name + "/blobs/" + strings.Replace(p.Digest, ":", "/", 1))
	if a.status != http.StatusOK {
		c.tb.Fatalf("status %d: %s", a.status, a.body)
	}
	if got := bundle.Digest([]byte(a.body)); got != p.Digest || int64(len(a.body)) != p.Size {
		c.tb.Fatalf("got %d bytes of digest %s, the pointer says %d and %s", len(a.body), got, p.Size, p.Digest)
	}
	b, err := bundle.Unpack([]byte(a.body))
	if err != nil {
		c.tb.Fatal(err)
	}
	return b.Data
}

// shop places web on two hosts and db on one.
func shop() map[string]string {
	return map[string]string{
		"services/web/data/web.json": `{"page": "first"}`,
		"services/db/data/db.json":   `{"db": 1}`,
		"hosts/vm1/host.json":        `{"stacks": {"shop": {"services": ["web", "db"]}}}`,
		"hosts/vm2/host.json":        `{"stacks": {"shop": {"services": ["web"]}}}`,
	}
}
