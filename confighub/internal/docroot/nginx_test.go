// SPDX-License-Identifier: AGPL-3.0-or-later

package docroot

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/nginxtest"
	"cloud4.internal/hub/confighub/internal/source"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

const td = "cloud4.internal"

func id(t testing.TB) func(spiffe.ID, error) spiffe.ID {
	return func(id spiffe.ID, err error) spiffe.ID {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
}

// visitor asks a server with a certificate of its own.
type visitor struct {
	t    *testing.T
	http *http.Client
	url  string
}

func newVisitor(t *testing.T, ca *identitytest.CA, s *nginxtest.Server, who spiffe.ID, change func(*tls.Config)) visitor {
	t.Helper()
	conf, err := mtls.ClientConfig(ca.Files(t, who), nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(conf)
	}
	transport := &http.Transport{TLSClientConfig: conf}
	t.Cleanup(transport.CloseIdleConnections)
	return visitor{t, &http.Client{Transport: transport, Timeout: 20 * time.Second}, s.URL}
}

func (v visitor) ask(method, path, etag string) (*http.Response, string, error) {
	request, err := http.NewRequestWithContext(v.t.Context(), method, v.url+path, nil)
	if err != nil {
		return nil, "", err
	}
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	response, err := v.http.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, string(body), err
}

// The nginx of docs/publish.md shows each container its own files and nothing else, and nobody else anything.
func TestNginxLetsIn(t *testing.T) {
	ca, other := identitytest.New(t), identitytest.New(t)
	s := nginxtest.Start(t, ca)
	r := root{t, s.Root}
	r.publish(bundles(t, "web.shop.vm1=one", "db.shop.vm1=two"), Options{})
	_, web := r.envelope("web.shop.vm1")
	_, db := r.envelope("db.shop.vm1")
	blob := func(name string, p bundle.Pointer) string {
		return "/v1/bundles/" + name + "/blobs/" + strings.Replace(p.Digest, ":", "/", 1)
	}
	container := func(service, instance string) spiffe.ID {
		return id(t)(spiffe.ForContainer(td, "vm1", "shop", service, instance))
	}
	if err := os.WriteFile(r.path("web.shop.vm1/.current.1.tmp"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	const current = "/v1/bundles/web.shop.vm1/current"
	nobody := func(c *tls.Config) { c.GetClientCertificate = nil }
	tests := []struct {
		name         string
		who          spiffe.ID
		change       func(*tls.Config)
		method, path string
		want         string // a status, and what the answer says, or the error
	}{
		{"its own", container("web", ""), nil, "GET", current, "200 "},
		{"its own bundle", container("web", ""), nil, "GET", blob("web.shop.vm1", web), "200 "},
		{"a replica", container("web", "2"), nil, "GET", current, "200 "},
		{"another container", container("db", ""), nil, "GET", current, "403 "},
		{"another's bundle", container("db", ""), nil, "GET", blob("web.shop.vm1", web), "403 "},
		{"another's bundle below its own name", container("db", ""), nil, "GET", blob("db.shop.vm1", web), "404 "},
		{"up and down again", container("db", ""), nil, "GET", "/v1/bundles/db.shop.vm1/../web.shop.vm1/current", "403 "},
		{"up and down again, coded", container("db", ""), nil, "GET", "/v1/bundles/db.shop.vm1/%2e%2e/web.shop.vm1/current", "403 "},
		{"a name of the same beginning", container("we", ""), nil, "GET", current, "403 "},
		{"not published", container("job", ""), nil, "GET", "/v1/bundles/job.shop.vm1/current", "404 "},
		{"what a killed run left", container("web", ""), nil, "GET", "/v1/bundles/web.shop.vm1/.current.1.tmp", "404 "},
		{"the directory", container("web", ""), nil, "GET", "/v1/bundles/web.shop.vm1/", "404 "},
		{"the state", container("web", ""), nil, "GET", "/.publish.json", "404 "},
		{"a report", container("web", ""), nil, "POST", "/v1/applied", "404 "},
		{"writing", container("web", ""), nil, "PUT", current, "405 "},
		{"the host", id(t)(spiffe.ForHost(td, "vm1")), nil, "GET", current, "403 "},
		{"genesis", id(t)(spiffe.ForGenesis(td, spiffe.KindHealth)), nil, "GET", current, "403 "},
		{"an operator", id(t)(spiffe.ForOperator(td, "web")), nil, "GET", current, "403 "},
		{"nobody", container("web", ""), nobody, "GET", current, "400 No required SSL certificate was sent"},
		{"of another fleet", container("web", ""), func(c *tls.Config) {
			files := other.Files(t, container("web", ""))
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return files.Certificate() }
		}, "GET", current, "400 The SSL certificate error"},
		{"TLS 1.2", container("web", ""), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, "GET", current, "protocol version not supported"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			response, body, err := newVisitor(t, ca, s, tt.who, tt.change).ask(tt.method, tt.path, "")
			if err != nil {
				got = err.Error()
			} else {
				got = fmt.Sprint(response.StatusCode, " ", body)
			}
			status, said, _ := strings.Cut(tt.want, " ")
			if err == nil && !strings.HasPrefix(got, status+" ") || !strings.Contains(got, said) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	if db.Digest == web.Digest {
		t.Error("both have the same bundle")
	}
}

// A certificate whose common name only contains a container's is not that container's.
func TestNginxReadsTheWholeName(t *testing.T) {
	ca := identitytest.New(t)
	s := nginxtest.Start(t, ca)
	root{t, s.Root}.publish(bundles(t, "web.shop.vm1=one"), Options{})
	for _, name := range []string{"x,CN=web.shop.vm1", "web.shop.vm1,CN=x", "xweb.shop.vm1", "web.shop.vm1.x", "WEB.shop.vm1", "web.shop.vm1\n", "web.shop"} {
		template := x509.Certificate{}
		template.Subject.CommonName = name
		pem := filepath.Join(ca.DirOf(t, template), "id.pem")
		certificate, err := tls.LoadX509KeyPair(pem, pem)
		if err != nil {
			t.Fatal(err)
		}
		v := newVisitor(t, ca, s, id(t)(spiffe.ForHost(td, "vm1")), func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
		})
		response, _, err := v.ask("GET", "/v1/bundles/web.shop.vm1/current", "")
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusForbidden {
			t.Errorf("%q: %s", name, response.Status)
		}
	}
}

// nginx makes its entity tag of a file's size and of its time in whole seconds. Our own publications differ in it, those
// of another program may not: nginx then answers that a changed file has not changed, and our client gets it all the same.
func TestNginxEntityTag(t *testing.T) {
	ca := identitytest.New(t)
	s := nginxtest.Start(t, ca)
	r := root{t, s.Root}
	public, key := newKey(t)
	web := id(t)(spiffe.ForContainer(td, "vm1", "shop", "web", ""))
	v := newVisitor(t, ca, s, web, nil)
	const path = "/v1/bundles/web.shop.vm1/current"
	file := r.path("web.shop.vm1/current")
	// publish returns the tag that nginx had given before.
	at := now.Add(time.Millisecond)
	publish := func(value string) (before string) {
		t.Helper()
		if response, _, err := v.ask("HEAD", path, ""); err == nil {
			before = response.Header.Get("ETag")
		}
		at = at.Add(time.Millisecond)
		r.publish(bundles(t, "web.shop.vm1="+value), Options{Keys: []ed25519.PrivateKey{key}, Now: at})
		return before
	}
	publish("one")

	store, err := source.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	accept := func(p bundle.Pointer) error { return store.Accept(p, 0, now) }
	var log bytes.Buffer
	remote, err := source.NewRemote(source.RemoteOptions{
		URL: s.URL, ID: web, Files: ca.Files(t, web), TrustedKeys: []ed25519.PublicKey{public}, Poll: 20 * time.Millisecond,
		Accept: accept, Log: zerolog.New(&log),
	})
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan source.Event)
	go remote.Run(t.Context(), events)
	take := func(want string) {
		t.Helper()
		for deadline := time.After(20 * time.Second); ; {
			select {
			case e := <-events:
				if e.Err != nil {
					t.Fatal(e.Err)
				}
				if e.Offer == nil || errors.Is(accept(e.Offer.Pointer), source.ErrNotNew) {
					continue // the second may come of a poll while the first was being kept
				}
				if err := store.Propose(*e.Offer); err != nil {
					t.Fatal(err)
				}
				if err := store.Adopt(e.Offer.Version(), true); err != nil {
					t.Fatal(err)
				}
				if got := e.Offer.Bundle.Data["v"]; got != want {
					t.Fatalf("got %v, want %s", got, want)
				}
				return
			case <-deadline:
				t.Fatalf("the client does not get %s", want)
			}
		}
	}
	take("one")

	// Ours: twice within a second, and nginx sees it.
	etag := publish("two")
	if response, _, err := v.ask("GET", path, etag); err != nil {
		t.Fatal(err)
	} else if response.StatusCode != http.StatusOK {
		t.Errorf("a publication of ours was not seen: %s", response.Status)
	}
	take("two")

	// Another program's: the file has another content and the same size and second.
	for _, value := range []string{"six", "ten", "sun", "sea"} {
		before, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		etag := publish(value)
		if err := os.Chtimes(file, time.Time{}, before.ModTime().Truncate(time.Second)); err != nil {
			t.Fatal(err)
		}
		if after, err := os.Stat(file); err != nil || after.Size() != before.Size() {
			t.Fatalf("the pointers differ in size: %d and %d, %v", before.Size(), after.Size(), err)
		}
		if response, _, err := v.ask("GET", path, etag); err != nil {
			t.Fatal(err)
		} else if response.StatusCode != http.StatusNotModified {
			t.Fatalf("nginx sees the change, so nothing is shown here: %s", response.Status)
		}
		take(value)
	}
	if n := strings.Count(s.Log(t), "304 GET "+path+" confighub\n"); n == 0 {
		t.Error("the client was never told that nothing had changed")
	}
	for range 3 {
		if err := remote.Applied(t.Context(), bundle.Applied{State: bundle.StateApplied}); err != nil {
			t.Errorf("a server that takes no reports: %v", err)
		}
	}
	if said := strings.Count(log.String(), `"level":"debug"`); said != 1 || strings.Count(s.Log(t), "POST /v1/applied ") != 1 {
		t.Errorf("said %d times: %s\n%s", said, &log, s.Log(t))
	}
}

// The commands of docs/publish.md copy each publication, and in an order in which each pointer that is there names a bundle
// that is there.
func TestRsync(t *testing.T) {
	here := newRoot(t)
	there := root{t, filepath.Join(t.TempDir(), "srv", "docroot")}
	if err := os.MkdirAll(there.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	copying := nginxtest.Block(t, "console")
	var commands []string
	for line := range strings.Lines(copying) {
		if command, ok := strings.CutPrefix(line, "$ rsync "); ok {
			command = strings.NewReplacer("genesis:/srv/docroot", there.dir, "docroot/v1", here.dir+"/v1").Replace(command)
			commands = append(commands, "rsync "+strings.TrimSpace(command))
		}
	}
	if len(commands) != 2 {
		t.Fatalf("the page copies with %q", commands)
	}
	names := []string{"web.shop.vm1", "db.shop.vm1"}
	for i, values := range [][]string{{"one", "one"}, {"two", "one"}, {"six", "ten"}, {"sun"}} {
		var want []string
		for n, value := range values {
			want = append(want, names[n]+"="+value)
		}
		here.publish(bundles(t, want...), Options{Now: now.Add(time.Duration(i) * time.Millisecond)})
		pointers := func() (list []string) {
			for _, name := range names {
				raw, _ := os.ReadFile(there.path(name + "/current")) // none is a state too
				list = append(list, string(raw))
			}
			return list
		}
		before := pointers()
		for step, command := range commands {
			if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", command, err, out)
			}
			if step == 0 && !slices.Equal(before, pointers()) {
				t.Errorf("publication %d: pointers come with the bundles", i)
			}
			for n := range values {
				if step == 1 || i > 0 { // the first time there is no pointer before the second step
					there.envelope(names[n])
				}
			}
		}
		for n := range values {
			if _, p := there.envelope(names[n]); p.Digest != bundles(t, want...)[names[n]].Digest {
				t.Errorf("publication %d: %s has version %s", i, names[n], p.Version())
			}
		}
	}
	if _, err := os.Stat(there.path("db.shop.vm1/current")); err == nil {
		t.Error("a container that is gone is still handed out")
	}
}
