// SPDX-License-Identifier: AGPL-3.0-or-later

package receive

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/internal/spiffe"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/rs/zerolog"
)

// world is a receiver behind real TLS.
type world struct {
	t   *testing.T
	ca  *identitytest.CA
	rc  *Receiver
	dir string
	url string
	log *bytes.Buffer
}

func id(t *testing.T) func(spiffe.ID, error) spiffe.ID {
	return func(id spiffe.ID, err error) spiffe.ID {
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	w := &world{t: t, ca: identitytest.New(t), dir: o.Dir, log: &bytes.Buffer{}}
	if w.dir == "" {
		w.dir = t.TempDir()
	}
	files := w.ca.Files(t, id(t)(spiffe.ForGenesis("cloud4.internal", "log")))
	o.Dir, o.Own, o.Log = w.dir, files.ID, zerolog.New(w.log)
	var err error
	if w.rc, err = New(o); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.url = "https://" + ln.Addr().String() + "/v1/logs"
	srv := mtls.Server(files, w.rc, w.rc.Refused)
	LimitConnections(srv)
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(ln, "", "") }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return w
}

func (w *world) client(who spiffe.ID) *http.Client {
	return &http.Client{Transport: mtls.Transport(w.ca.Files(w.t, who), mtls.Genesis("cloud4.internal", "log")), Timeout: 10 * time.Second}
}

// request builds a body of records "<uid>" of one instance.
func request(instance string, uids ...string) []byte {
	var frames []byte
	for _, uid := range uids {
		frames = otlp.AppendRecord(frames, &otlp.Record{Time: 1, Body: otlp.String(uid), Attributes: []otlp.KeyValue{
			{Key: "log.record.uid", Value: otlp.String(uid)}, {Key: "cloud4.peer", Value: otlp.String("forged")}}})
	}
	res := []otlp.KeyValue{{Key: "service.instance.id", Value: otlp.String(instance)}, {Key: "cloud4.peer", Value: otlp.String("forged too")}}
	return append(otlp.AppendRequest(nil, res, otlp.Scope{}, len(frames)), frames...)
}

func (w *world) post(c *http.Client, body []byte, header ...string) (*http.Response, string) {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", otlp.ContentType)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		w.t.Fatal(err)
	}
	st, err := otlp.DecodeStatus(b.Bytes())
	if err != nil {
		w.t.Fatalf("answer %d is no Status: %q", resp.StatusCode, b.String())
	}
	return resp, st.Message
}

func (w *world) messages(name string) []string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		var rec struct {
			Message string
			Peer    string `json:"cloud4.peer"`
		}
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			w.t.Fatalf("%q: %v", line, err)
		}
		if !strings.HasPrefix(rec.Peer, "spiffe://") || strings.Count(line, "forged") != 0 {
			w.t.Errorf("peer of %s", line)
		}
		out = append(out, rec.Message)
	}
	return out
}

func TestPeers(t *testing.T) {
	w := newWorld(t, Options{})
	id := id(t)
	for _, tt := range []struct {
		who  spiffe.ID
		file string
	}{
		{id(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", "")), "web.shop.vm1.jsonl"},
		{id(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", "2")), "web.shop.vm1.jsonl"},
		{id(spiffe.ForHost("cloud4.internal", "vm1")), "host.vm1.jsonl"},
		{id(spiffe.ForGenesis("cloud4.internal", "config")), "genesis.config.jsonl"},
	} {
		resp, words := w.post(w.client(tt.who), request("0", "u1"))
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != otlp.ContentType {
			t.Errorf("%s: %s %s", tt.who, resp.Status, words)
		}
		if got := w.messages(tt.file); got[len(got)-1] != "u1" {
			t.Errorf("%s: %q", tt.file, got)
		}
	}
	if got := w.messages("web.shop.vm1.jsonl"); len(got) != 2 {
		t.Errorf("two replicas have %q", got)
	}
	resp, words := w.post(w.client(id(spiffe.ForOperator("cloud4.internal", "ops"))), request("0", "u1"))
	if resp.StatusCode != 403 || !strings.Contains(words, "may not send logs here") {
		t.Errorf("operator: %s %q", resp.Status, words)
	}
	if !strings.Contains(w.log.String(), "operator/ops") {
		t.Errorf("the refusal is not logged: %s", w.log)
	}
	bare := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	if _, err := bare.Post(w.url, otlp.ContentType, nil); err == nil {
		t.Error("a client without a certificate was answered")
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, Options{BodyBytes: 1 << 20})
	c := w.client(id(t)(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", "")))
	var bomb bytes.Buffer
	gz := gzip.NewWriter(&bomb)
	if _, err := gz.Write(make([]byte, 8<<20)); err != nil {
		t.Fatal(err)
	}
	gz.Close()
	tests := []struct {
		name   string
		body   []byte
		header []string
		status int
		words  string
	}{
		{"garbage", []byte("hello, I am no protobuf"), nil, 400, "malformed protobuf"},
		{"garbage in gzip", []byte("hello"), []string{"Content-Encoding", "gzip"}, 400, "reading the request"},
		{"JSON", []byte("{}"), []string{"Content-Type", "application/json"}, 415, "application/x-protobuf"},
		{"zstd", nil, []string{"Content-Encoding", "zstd"}, 415, "gzip"},
		{"large", make([]byte, 2<<20), nil, 413, "send smaller batches"},
		{"large unpacked", bomb.Bytes(), []string{"Content-Encoding", "gzip"}, 413, "send smaller batches"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp, words := w.post(c, tt.body, tt.header...)
			if resp.StatusCode != tt.status || !strings.Contains(words, tt.words) {
				t.Errorf("%s %q", resp.Status, words)
			}
		})
	}
	if resp, _ := w.post(c, nil); resp.StatusCode != 200 {
		t.Errorf("an empty request: %s", resp.Status)
	}
	if entries, err := os.ReadDir(w.dir); err != nil || len(entries) != 0 {
		t.Errorf("refused requests left %v", entries)
	}
}

func TestDuplicates(t *testing.T) {
	web := id(t)(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", ""))
	w := newWorld(t, Options{})
	c := w.client(web)
	w.post(c, request("0", "a.1", "a.2", "a.2"))
	w.post(c, request("0", "a.2", "a.3"))
	w.post(c, request("1", "a.3")) // another instance
	w.post(c, request("0", "", ""))
	want := []string{"a.1", "a.2", "a.3", "a.3", "", ""}
	if diff := cmp.Diff(want, w.messages("web.shop.vm1.jsonl")); diff != "" {
		t.Error(diff)
	}
	// After a restart, and a crash that cut a line short.
	path := filepath.Join(w.dir, "web.shop.vm1.jsonl")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, `{"message":"cut sho`)
	f.Close()
	w2 := newWorld(t, Options{Dir: w.dir})
	w2.post(w2.client(web), request("0", "a.3", "a.4"))
	if diff := cmp.Diff(append(want, "a.4"), w2.messages("web.shop.vm1.jsonl")); diff != "" {
		t.Error(diff)
	}
}

func TestRotation(t *testing.T) {
	w := newWorld(t, Options{FileBytes: 2000, Keep: 2})
	c := w.client(id(t)(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", "")))
	for i := range 100 {
		w.post(c, request("0", fmt.Sprintf("e.%d", i)))
	}
	var all []string
	for _, name := range []string{".2", ".1", ""} {
		info, err := os.Stat(filepath.Join(w.dir, "web.shop.vm1.jsonl"+name))
		if err != nil || info.Size() > 2000 {
			t.Fatal(info, err)
		}
		all = append(all, w.messages("web.shop.vm1.jsonl"+name)...)
	}
	for i, m := range all {
		if want := fmt.Sprintf("e.%d", 100-len(all)+i); m != want {
			t.Fatalf("record %d is %s, want %s", i, m, want)
		}
	}
	if _, err := os.Stat(filepath.Join(w.dir, "web.shop.vm1.jsonl.3")); err == nil {
		t.Error("a file too many")
	}
	if used, err := w.rc.store.measure(); err != nil || used != w.rc.store.used {
		t.Errorf("%d bytes are accounted, %d are there", w.rc.store.used, used)
	}
}

func TestQuotas(t *testing.T) {
	web := id(t)(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", ""))
	big := strings.Repeat("x", 60<<10)
	t.Run("peer", func(t *testing.T) {
		w := newWorld(t, Options{PeerQuota: 300 << 10})
		c := w.client(web)
		if resp, _ := w.post(c, request("0", big+"1")); resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
		w.post(c, request("0", big+"2"))
		resp, words := w.post(c, request("0", big+"3"))
		if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" || !strings.Contains(words, "in a minute") {
			t.Errorf("%s %q", resp.Status, words)
		}
		if resp, _ := w.post(w.client(id(t)(spiffe.ForHost("cloud4.internal", "vm1"))), request("0", big)); resp.StatusCode != 200 {
			t.Errorf("another peer: %s", resp.Status)
		}
		w.rc.now = func() time.Time { return time.Now().Add(time.Minute) }
		if resp, _ := w.post(c, request("0", big+"3")); resp.StatusCode != 200 {
			t.Errorf("a minute later: %s", resp.Status)
		}
	})
	t.Run("total", func(t *testing.T) {
		w := newWorld(t, Options{TotalBytes: 200 << 10})
		c := w.client(web)
		w.post(c, request("0", big))
		resp, words := w.post(c, request("0", big+big))
		if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "60" || !strings.Contains(words, "remove files") {
			t.Errorf("%s %q", resp.Status, words)
		}
		if err := os.Remove(filepath.Join(w.dir, "web.shop.vm1.jsonl")); err != nil {
			t.Fatal(err)
		}
		if resp, _ := w.post(c, request("0", big+"z")); resp.StatusCode != 200 {
			t.Errorf("after tidying up: %s", resp.Status)
		}
	})
}

func TestWindowIsBounded(t *testing.T) {
	var w window
	for k := uint64(1); k <= 3*windowRecords; k++ {
		w.add(k)
	}
	if len(w.set) != windowRecords || w.has(windowRecords) || !w.has(3*windowRecords) || !w.has(2*windowRecords+1) {
		t.Errorf("%d keys", len(w.set))
	}
}
