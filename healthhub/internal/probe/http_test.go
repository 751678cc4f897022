// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// serve starts a web server that ends with the test, and keeps what it logs to itself.
func serve(t testing.TB, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// speak listens and answers each connection with these bytes, once it has read something.
func speak(t testing.TB, answer string) (address string) {
	t.Helper()
	return listen(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, answer)
	})
}

// listen starts a server that ends with the test, and its connections with it.
func listen(t testing.TB, network, address string, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				serve(conn)
			}()
		}
	}()
	t.Cleanup(func() {
		cancel()
		l.Close()
		<-done
	})
	return l.Addr().String()
}

func site() http.Handler {
	handler := http.NewServeMux()
	handler.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("X-Backend", "one")
		w.Header().Add("X-Backend", "two")
		fmt.Fprint(w, "hello, world")
	})
	handler.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		fmt.Fprintf(w, "%s host=%s probe=%s auth=%s:%s agent=%s close=%t", r.Method, r.Host, r.Header.Get("X-Probe"), user, password, r.UserAgent(), r.Close)
	})
	handler.HandleFunc("/broken", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", 500) })
	handler.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/broken", http.StatusFound) })
	handler.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	handler.HandleFunc("/stalls", func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, 1000))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	handler.HandleFunc("/hints", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, "after hints")
	})
	handler.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(strings.Repeat("x", maxBodyBytes) + "end"))
	})
	return handler
}

func TestHTTP(t *testing.T) {
	server := serve(t, site())
	dead := httptest.NewServer(nil)
	dead.Close()
	said := func(answer string) string { return "http://" + speak(t, answer) }
	busy := listen(t, "tcp", "127.0.0.1:0", func(conn net.Conn) { // answers and closes, whatever it was going to be asked
		io.WriteString(conn, "HTTP/1.1 503 Too busy\r\nContent-Length: 0\r\n\r\n")
	})
	const endless = "HTTP/1.1 200 OK\r\nX: "

	for name, test := range map[string]struct {
		check  setting.Check
		state  health.State
		text   string
		action string
	}{
		"passes":          {setting.Check{URL: server.URL + "/ok"}, health.Pass, "200 OK in ", ""},
		"body":            {setting.Check{URL: server.URL + "/ok", Body: "^hello"}, health.Pass, "200 OK", ""},
		"other body":      {setting.Check{URL: server.URL + "/ok", Body: "^world"}, health.Fail, "does not match", "body"},
		"body too late":   {setting.Check{URL: server.URL + "/large", Body: "end"}, health.Fail, "does not match", "body"},
		"large":           {setting.Check{URL: server.URL + "/large", Body: "^x"}, health.Pass, "200 OK", ""},
		"header":          {setting.Check{URL: server.URL + "/ok", Header: map[string]string{"x-backend": "^two$"}}, health.Pass, "200 OK", ""},
		"other header":    {setting.Check{URL: server.URL + "/ok", Header: map[string]string{"x-backend": "^three$"}}, health.Fail, `header X-Backend is "one", which does not match "^three$"`, "header"},
		"no header":       {setting.Check{URL: server.URL + "/ok", Header: map[string]string{"X-None": "."}}, health.Fail, "header X-None is missing", "header"},
		"head":            {setting.Check{URL: server.URL + "/large", Method: "HEAD"}, health.Pass, "200 OK", ""},
		"headers":         {setting.Check{URL: server.URL + "/echo", Headers: map[string]string{"x-probe": "7"}, Body: "^GET host=127.* probe=7 auth=: agent=healthhub close=true$"}, health.Pass, "200 OK", ""},
		"own host, agent": {setting.Check{URL: server.URL + "/echo", Headers: map[string]string{"Host": "shop.test", "user-agent": "me"}, Body: "host=shop.test .* agent=me "}, health.Pass, "200 OK", ""},
		"user":            {setting.Check{URL: strings.Replace(server.URL, "//", "//ops:secret@", 1) + "/echo", Body: "auth=ops:secret"}, health.Pass, "200 OK", ""},
		"early hints":     {setting.Check{URL: server.URL + "/hints", Body: "^after"}, health.Pass, "200 OK", ""},
		"status":          {setting.Check{URL: server.URL + "/broken"}, health.Fail, "500 Internal Server Error", "log of the service"},
		"not found":       {setting.Check{URL: server.URL + "/none"}, health.Fail, "404 Not Found", "url"},
		"wanted status":   {setting.Check{URL: server.URL + "/broken", Status: "200,500-503"}, health.Pass, "500", ""},
		"not followed":    {setting.Check{URL: server.URL + "/moved"}, health.Pass, "302 Found", ""},
		"not listening":   {setting.Check{URL: dead.URL + "/ok"}, health.Fail, "connection refused", "start it"},
		"takes too long":  {setting.Check{URL: server.URL + "/slow"}, health.Fail, "no answer in time", "timeout"},
		"stalls":          {setting.Check{URL: server.URL + "/stalls"}, health.Fail, "200 OK, then no answer in time", "timeout"},
		"no such host":    {setting.Check{URL: "http://nowhere.invalid/"}, health.Fail, "nowhere.invalid", ""},
		"no http":         {setting.Check{URL: said("220 smtp ready\r\n\r\n")}, health.Fail, "malformed HTTP", "log"},
		"says nothing":    {setting.Check{URL: said("")}, health.Fail, "closed without a whole answer", "log"},
		"does not listen": {setting.Check{URL: "http://" + busy}, health.Fail, "503 Too busy", "log"},
		"half a head":     {setting.Check{URL: said("HTTP/1.1 200 OK\r\nX: y")}, health.Fail, "closed without a whole answer", "log"},
		"half a body":     {setting.Check{URL: said("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")}, health.Fail, "200 OK, then the connection was closed", "log"},
		"endless head":    {setting.Check{URL: said(endless + strings.Repeat("y", 2*maxHeadBytes))}, health.Fail, "longer than 65536 bytes", ""},
		"endless interim": {setting.Check{URL: said(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100))}, health.Fail, "interim", ""},
		"hostile status":  {setting.Check{URL: said("HTTP/1.1 500 \x1b[2J" + strings.Repeat("z", 5000) + "\r\n\r\n")}, health.Fail, "500 zzz", ""},
	} {
		t.Run(name, func(t *testing.T) {
			test.check.Kind = setting.KindHTTP
			within := 20 * time.Second
			if strings.Contains(test.text, "in time") {
				within = 300 * time.Millisecond
			}
			got := look(t, test.check, within)
			expect(t, got, test.state, test.text)
			if !strings.Contains(got.Action, test.action) || (got.State == health.Pass) != (got.Action == "") {
				t.Errorf("action %q, want one with %q", got.Action, test.action)
			}
			if len(got.Text) > 300 {
				t.Errorf("%d bytes of text", len(got.Text))
			}
		})
	}
}

func TestHTTPValues(t *testing.T) {
	server := serve(t, site())
	got := look(t, setting.Check{Kind: setting.KindHTTP, URL: server.URL + "/broken"}, 5*time.Second)
	acceptable(t, got)
	if v := measured(t, got, "status"); v.Value != 500 {
		t.Errorf("status %+v", v)
	}
	if v := measured(t, got, "size"); v.Value != float64(len("no\n")) || v.Unit != "By" {
		t.Errorf("size %+v", v)
	}
	connect, first := measured(t, got, "connect"), measured(t, got, "first_byte")
	if connect.Unit != "s" || connect.Value <= 0 || first.Value <= connect.Value {
		t.Errorf("connect %+v, first byte %+v", connect, first)
	}
}

func TestHTTPOverUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: site()}
	go server.Serve(l)
	check := setting.Check{Kind: setting.KindHTTP, URL: "http://api/echo", Path: path, Body: "host=api "}
	expect(t, look(t, check, time.Second), health.Pass, "200 OK")
	server.Close()
	got := look(t, check, time.Second)
	expect(t, got, health.Fail, path+": no such socket")
}

// A look that is told to end does so though its time is not over.
func TestHTTPIsCancelled(t *testing.T) {
	server := serve(t, site())
	f, err := New(setting.Check{Kind: setting.KindHTTP, URL: server.URL + "/slow"}, Place{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	done := make(chan Result, 1)
	go func() { done <- f(ctx) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the look goes on")
	}
}

func TestHTTPS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	off := false
	check := setting.Check{Kind: setting.KindHTTP, URL: server.URL}
	got := look(t, check, 5*time.Second)
	expect(t, got, health.Fail, "certificate not trusted")
	if !strings.Contains(got.Action, "ca") {
		t.Errorf("action %q", got.Action)
	}
	check.CA = ca
	f, err := New(check, Place{})
	if err != nil {
		t.Fatal(err)
	}
	// The file may be one that is rendered later.
	if got := f(t.Context()); !got.Blind || !strings.Contains(got.Text, "no such file") {
		t.Errorf("without its roots: %+v", got)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	got = f(t.Context())
	expect(t, got, health.Pass, "200")
	if tls, left := measured(t, got, "tls"), measured(t, got, "cert_left"); tls.Value <= 0 || left.Value <= 0 {
		t.Errorf("tls %+v, cert_left %+v", tls, left)
	}
	check.ServerName = "elsewhere.test"
	expect(t, look(t, check, 5*time.Second), health.Fail, "the certificate is for example.com, *.example.com, 127.0.0.1, ::1, not for elsewhere.test")
	expect(t, look(t, setting.Check{Kind: setting.KindHTTP, URL: server.URL, Verify: &off}, 5*time.Second), health.Pass, "200")
	plain := serve(t, site())
	got = look(t, setting.Check{Kind: setting.KindHTTP, URL: strings.Replace(plain.URL, "http:", "https:", 1)}, 5*time.Second)
	expect(t, got, health.Fail, "does not speak TLS")
}

func BenchmarkHTTP(b *testing.B) {
	server := serve(b, site())
	f, err := New(setting.Check{Kind: setting.KindHTTP, URL: server.URL + "/ok", Body: "hello"}, Place{})
	if err != nil {
		b.Fatal(err)
	}
	benchmark(b, f)
}

// benchmark takes looks that pass.
func benchmark(b *testing.B, f Func) {
	b.ReportAllocs()
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
		if r := f(ctx); r.State != health.Pass {
			b.Fatalf("%v: %s", r.State, r.Text)
		}
		cancel()
	}
}
