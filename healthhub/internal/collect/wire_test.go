// SPDX-License-Identifier: AGPL-3.0-or-later

package collect_test

import (
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
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/collect"
	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

const td = "cloud4.internal"

func id(t *testing.T, uri string) spiffe.ID {
	t.Helper()
	id, err := spiffe.Parse("spiffe://" + td + uri)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// server is a collector behind real TLS.
type server struct {
	*collect.Collector
	url   string
	files *identity.Files

	mu       sync.Mutex
	refusals []mtls.Refusal
	http     *http.Server
	stop     func() // ends it before the test does
}

// serve starts a collector on address ("127.0.0.1:0" for any), until the test ends or stop is called.
func serve(t *testing.T, files *identity.Files, address, state string) *server {
	t.Helper()
	self, err := files.ID()
	if err != nil {
		t.Fatal(err)
	}
	c, err := collect.New(collect.Config{Self: self, StateDir: state, Log: zerolog.New(t.Output())})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Collector: c, files: files}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s.url = "https://" + l.Addr().String()
	mux := http.NewServeMux()
	mux.Handle("POST "+report.Path, c.Handler(s.refused))
	c.Reads(mux)
	c.Operate(mux, s.refused)
	s.http = mtls.Server(files, mux, s.refused)
	ctx, cancel := context.WithCancel(t.Context())
	var parts sync.WaitGroup
	parts.Go(func() { s.http.ServeTLS(l, "", "") })
	parts.Go(func() { c.Run(ctx) })
	s.stop = sync.OnceFunc(func() { s.http.Close(); cancel(); parts.Wait() })
	t.Cleanup(s.stop)
	return s
}

func (s *server) refused(r mtls.Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals = append(s.refusals, r)
}

// waitRefusal waits for a refusal that says who and why.
func (s *server) waitRefusal(t *testing.T, who, why string) {
	t.Helper()
	waitFor(t, 20*time.Second, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, r := range s.refusals {
			if strings.Contains(r.Who, who) && strings.Contains(r.Why, why) {
				return true
			}
		}
		return false
	})
}

func waitFor(t *testing.T, within time.Duration, done func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s", within)
		}
	}
}

// post sends a report's body with an identity.
func post(t *testing.T, files *identity.Files, url, body string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: mtls.Transport(files, nil), Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Post(url+report.Path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func body(name string, seq int) string {
	return fmt.Sprintf(`{"schema":1,"instance":"abcdefgh","seq":%d,"valid_for":90,"node":{"kind":"container","name":%q,"state":"pass"}}`, seq, name)
}

func TestRefusalsOverTLS(t *testing.T) {
	ca := identitytest.New(t)
	host := serve(t, ca.Files(t, id(t, "/host/vm1")), "127.0.0.1:0", "")
	web := ca.Files(t, id(t, "/host/vm1/stack/shop/service/web"))
	db := ca.Files(t, id(t, "/host/vm1/stack/shop/service/db"))
	far := ca.Files(t, id(t, "/host/vm2/stack/shop/service/web"))
	for name, test := range map[string]struct {
		files  *identity.Files
		body   string
		status int
		words  string
	}{
		"its own":              {web, body("web.shop.vm1", 1), 204, ""},
		"again":                {web, body("web.shop.vm1", 1), 204, ""},
		"another container's":  {web, body("db.shop.vm1", 1), 403, "speaks for container web.shop.vm1 alone"},
		"of another host":      {far, body("web.shop.vm2", 1), 403, "is a container of host vm2; this is host vm1"},
		"playing the host":     {web, strings.Replace(body("vm1", 1), `"container"`, `"host"`, 1), 403, "not for host vm1"},
		"a host":               {ca.Files(t, id(t, "/host/vm2")), body("web.shop.vm1", 1), 403, "only containers report to a host"},
		"no JSON":              {web, "hello", 400, "reading the report"},
		"bad name":             {web, body("WEB", 1), 400, "must consist"},
		"no instance":          {web, strings.Replace(body("web.shop.vm1", 2), "abcdefgh", "", 1), 400, "instance"},
		"no sequence":          {web, body("web.shop.vm1", 0), 400, "seq"},
		"no validity":          {web, strings.Replace(body("web.shop.vm1", 2), "90", "-1", 1), 400, "valid_for"},
		"old schema":           {web, strings.Replace(body("web.shop.vm1", 2), `"schema":1`, `"schema":0`, 1), 400, "schema"},
		"too large":            {web, strings.Replace(body("web.shop.vm1", 2), `"pass"`, `"pass","text":"`+strings.Repeat("x", 1<<20)+`"`, 1), 413, "too large"},
		"unknown keys are new": {db, strings.Replace(body("db.shop.vm1", 1), `"seq"`, `"colour":"red","seq"`, 1), 204, ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, words := post(t, test.files, host.url, test.body)
			if status != test.status || !strings.Contains(words, test.words) {
				t.Errorf("%d %s, want %d with %q", status, words, test.status, test.words)
			}
			if status != 204 {
				host.waitRefusal(t, "spiffe://"+td, test.words)
			}
		})
	}
}

func TestNoCertificateNoReport(t *testing.T) {
	ca, other := identitytest.New(t), identitytest.New(t)
	host := serve(t, ca.Files(t, id(t, "/host/vm1")), "127.0.0.1:0", "")
	stranger := other.Files(t, id(t, "/host/vm1/stack/shop/service/web"))
	client := &http.Client{Transport: mtls.Transport(stranger, nil), Timeout: 20 * time.Second}
	if resp, err := client.Post(host.url+report.Path, "application/json", strings.NewReader(body("web.shop.vm1", 1))); err == nil {
		resp.Body.Close()
		t.Errorf("a certificate of another authority got %s", resp.Status)
	}
	naked := ca.Files(t, id(t, "/host/vm2"))
	conf, err := mtls.ClientConfig(naked, nil)
	if err != nil {
		t.Fatal(err)
	}
	conf.GetClientCertificate = nil
	client = &http.Client{Transport: &http.Transport{TLSClientConfig: conf}, Timeout: 20 * time.Second}
	if resp, err := client.Post(host.url+report.Path, "application/json", strings.NewReader(body("web.shop.vm1", 1))); err == nil {
		resp.Body.Close()
		t.Errorf("no certificate got %s", resp.Status)
	}
	host.waitRefusal(t, "", "no client certificate")
	if n := len(host.Node().Children); n > 0 {
		t.Errorf("%d containers were taken", n)
	}
}

// state is what the server holds of its only child.
func (s *server) state() string {
	n := s.Node()
	if len(n.Children) != 1 {
		return fmt.Sprintf("%d children", len(n.Children))
	}
	c := n.Children[0]
	return fmt.Sprint(c.Name, " ", c.State, " ", c.Flags)
}

// A container reports on change, goes on when its host is away, and says goodbye.
func TestSender(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	hostFiles := ca.Files(t, id(t, "/host/vm1"))
	state := t.TempDir()
	host := serve(t, hostFiles, "127.0.0.1:0", state)
	address := strings.TrimPrefix(host.url, "https://")

	var mu sync.Mutex
	now := health.Pass
	node := func() health.Node {
		mu.Lock()
		defer mu.Unlock()
		return health.Node{Kind: health.KindContainer, Name: "web.shop.vm1", State: now}
	}
	set := func(s health.State) { mu.Lock(); defer mu.Unlock(); now = s }
	var log bytes.Buffer
	sender := report.NewSender(host.url, ca.Files(t, id(t, "/host/vm1/stack/shop/service/web")), node, zerolog.New(zerolog.SyncWriter(&log)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sender.Run(ctx) }()

	waitFor(t, 10*time.Second, func() bool { return host.state() == "web.shop.vm1 pass []" })
	set(health.Fail)
	changed := time.Now()
	sender.Changed()
	waitFor(t, 20*time.Second, func() bool { return host.state() == "web.shop.vm1 fail []" })
	if d := time.Since(changed); d > 10*time.Second { // far from the 30 s between reports of nothing new
		t.Errorf("a change took %s", d)
	}

	host.http.Close()
	set(health.Warn)
	sender.Changed()
	waitFor(t, 15*time.Second, func() bool { return sender.Status().Error != "" })
	if words := sender.Status().Error; !strings.Contains(words, "connection refused") {
		t.Errorf("in words: %q", words)
	}
	back := serve(t, hostFiles, address, "")
	waitFor(t, 40*time.Second, func() bool { return back.state() == "web.shop.vm1 warn []" })
	waitFor(t, 20*time.Second, func() bool { return sender.Status().Error == "" })

	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	waitFor(t, 20*time.Second, func() bool { return back.state() == "web.shop.vm1 warn [stopping]" })
	if n := strings.Count(log.String(), "do not arrive"); n != 1 {
		t.Errorf("said %d times that reports do not arrive:\n%s", n, &log)
	}
}

// A fresh container is at its host as soon as it has its identity, and before that it is no trouble.
func TestFreshContainer(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	host := serve(t, ca.Files(t, id(t, "/host/vm1")), "127.0.0.1:0", "")
	dir := t.TempDir()
	var log bytes.Buffer
	sender := report.NewSender(host.url, identity.Open(dir), func() health.Node {
		return health.Node{Kind: health.KindContainer, Name: "web.shop.vm1", State: health.Pass}
	}, zerolog.New(zerolog.SyncWriter(&log)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sender.Run(ctx) }()
	time.Sleep(300 * time.Millisecond) // a new container is being enrolled
	ca.Issue(t, id(t, "/host/vm1/stack/shop/service/web"), dir)
	issued := time.Now()
	waitFor(t, 10*time.Second, func() bool { return host.state() == "web.shop.vm1 pass []" })
	if d := time.Since(issued); d > 4*time.Second { // it is looked for all the time, not at the end of the 5 s that it is waited for
		t.Errorf("the first report came %s after the identity", d)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if strings.Contains(log.String(), "do not arrive") {
		t.Errorf("an enrolment is told as trouble:\n%s", &log)
	}
}

// A sender does not tell anybody but its host, or the fleet, how it is.
func TestSenderKnowsItsReceiver(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	for name, test := range map[string]struct {
		server, sender, words string
	}{
		"container and another container": {"/host/vm1/stack/shop/service/db", "/host/vm1/stack/shop/service/web", "wrong role"},
		"container and another host":      {"/host/vm2", "/host/vm1/stack/shop/service/web", "wrong role"},
		"container and genesis/config":    {"/genesis/config", "/host/vm1/stack/shop/service/web", "wrong role"},
		"host and another host":           {"/host/vm2", "/host/vm1", "wrong role"},
	} {
		t.Run(name, func(t *testing.T) {
			reached := make(chan struct{}, 10)
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { reached <- struct{}{} })
			s := mtls.Server(ca.Files(t, id(t, test.server)), handler, func(mtls.Refusal) {})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan struct{})
			go func() { defer close(served); s.ServeTLS(l, "", "") }()
			defer func() { s.Close(); <-served }()
			sender := report.NewSender("https://"+l.Addr().String(), ca.Files(t, id(t, test.sender)),
				func() health.Node { return health.Node{Kind: health.KindContainer, Name: "x"} }, zerolog.Nop())
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); sender.Run(ctx) }()
			waitFor(t, 10*time.Second, func() bool { return strings.Contains(sender.Status().Error, test.words) })
			cancel()
			<-done
			if len(reached) > 0 {
				t.Error("the report was sent")
			}
		})
	}
}

// From container over host to fleet.
func TestUpTheTree(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	fleet := serve(t, ca.Files(t, id(t, "/genesis/health")), "127.0.0.1:0", "")
	hostFiles := ca.Files(t, id(t, "/host/vm1"))
	host := serve(t, hostFiles, "127.0.0.1:0", "")
	web := ca.Files(t, id(t, "/host/vm1/stack/shop/service/web"))
	if status, words := post(t, web, host.url, body("web.shop.vm1", 1)); status != 204 {
		t.Fatalf("%d %s", status, words)
	}
	waitFor(t, 20*time.Second, func() bool { return host.state() == "web.shop.vm1 pass []" })
	sender := report.NewSender(fleet.url, hostFiles, host.Node, zerolog.New(t.Output()))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); sender.Run(ctx) }()
	defer func() { cancel(); <-done }()
	waitFor(t, 10*time.Second, func() bool { return fleet.state() == "vm1 pass []" })
	data, err := json.Marshal(fleet.Node())
	if err != nil || !strings.Contains(string(data), `"name":"web.shop.vm1"`) {
		t.Errorf("the fleet does not know the container: %s, %v", data, err)
	}
	// A container cannot go past its host.
	if status, words := post(t, web, fleet.url, body("web.shop.vm1", 2)); status != 403 || !strings.Contains(words, "only hosts report to the fleet") {
		t.Errorf("%d %s", status, words)
	}
}
