// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
)

// town is a host with n containers that are well.
func town(n int) health.Node {
	var containers []health.Node
	for i := range n {
		containers = append(containers, rollup.Container(fmt.Sprintf("c%d.shop.vm1", i), []health.Node{check("a", health.Pass, "fine")}))
	}
	return rollup.Host("vm1", containers)
}

func unpack(t *testing.T, data string) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

// The packed form is another representation: same content, a tag of its own, and either tag is known again.
func TestPacked(t *testing.T) {
	server, _ := show(t, town(100))
	plain, text := get(t, server.URL+"/v1/snapshot", "Accept-Encoding", "gzip;q=0, *;q=0.5")
	if plain.Header.Get("Content-Encoding") != "" {
		t.Fatal("packed for somebody who refuses that")
	}
	packed, data := get(t, server.URL+"/v1/snapshot", "Accept-Encoding", "br, gzip")
	if packed.Header.Get("Content-Encoding") != "gzip" || unpack(t, data) != text || len(data) > len(text)/4 {
		t.Errorf("%d bytes packed of %d", len(data), len(text))
	}
	if plain.Header.Get("ETag") == packed.Header.Get("ETag") || packed.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("tags %s and %s", plain.Header.Get("ETag"), packed.Header.Get("ETag"))
	}
	for _, resp := range []*http.Response{plain, packed} {
		again, body := get(t, server.URL+"/v1/snapshot", "Accept-Encoding", "gzip", "If-None-Match", resp.Header.Get("ETag"))
		if again.StatusCode != 304 || body != "" || again.Header.Get("Content-Encoding") != "" || again.Header.Get("ETag") == "" {
			t.Errorf("%s with %d bytes", again.Status, len(body))
		}
	}
	server, _ = show(t, town(1))
	if resp, _ := get(t, server.URL+"/v1/snapshot", "Accept-Encoding", "gzip"); resp.Header.Get("Content-Encoding") != "" {
		t.Error("packed although it is small")
	}
}

func TestAcceptsGzip(t *testing.T) {
	for header, want := range map[string]bool{
		"": false, "gzip": true, "GZip": true, "deflate, gzip;q=1.0": true, "gzip;q=0": false, "gzip; q=0.000": false, "gzip;q=0.001": true,
		"*": true, "*;q=0": false, "*, gzip;q=0": false, "gzip, *;q=0": true, "identity": false, "xgzip": false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Encoding", header)
		if got := acceptsGzip(r); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}

// HEAD says what GET would; parts are not to be had; other methods are refused.
func TestMethodsAndRanges(t *testing.T) {
	server, _ := show(t, town(3))
	if head, err := http.Head(server.URL + "/v1/events"); err != nil || head.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%v %v", head, err)
	}
	for _, path := range []string{"/livez", "/health", "/v1/summary", "/v1/snapshot", "/metrics"} {
		whole, body := get(t, server.URL+path, "Accept-Encoding", "identity")
		part, partBody := get(t, server.URL+path, "Range", "bytes=0-9")
		if part.StatusCode != whole.StatusCode || partBody != body || part.Header.Get("Accept-Ranges") != "" {
			t.Errorf("%s: a part: %s", path, part.Status)
		}
		head, err := http.Head(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		head.Body.Close()
		if head.StatusCode != whole.StatusCode || head.Header.Get("ETag") != whole.Header.Get("ETag") ||
			path != "/livez" && head.ContentLength != int64(len(body)) {
			t.Errorf("%s: HEAD: %s, %d of %d bytes", path, head.Status, head.ContentLength, len(body))
		}
		post, err := http.Post(server.URL+path, "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		post.Body.Close()
		if post.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: POST: %s", path, post.Status)
		}
	}
}

// A generation is drawn once, however many come at once, and never mixed with another: what is read carries the number
// that its tag has.
func TestManyReaders(t *testing.T) {
	var generation, asked atomic.Uint64
	n := town(60)
	p := New(func() Snapshot {
		asked.Add(1)
		return Snapshot{Node: &n, Generation: generation.Load(), At: time.Unix(0, 0)}
	})
	handler := p.Handler()
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for i := range 200 {
				r := httptest.NewRequest(http.MethodGet, "/v1/snapshot", nil)
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				_, tag, _ := strings.Cut(strings.Trim(w.Header().Get("ETag"), `"`), "-")
				if want := []byte(`"generation":` + tag + ","); !bytes.Contains(w.Body.Bytes(), want) {
					t.Errorf("tag %s, document %.60s", tag, w.Body)
					return
				}
				if i%50 == 0 {
					generation.Add(1)
				}
			}
		})
	}
	readers.Wait()
	if asked.Load() != 1600 {
		t.Errorf("the source was asked %d times", asked.Load())
	}
}

// A tree that cannot be written is a fault of ours, and for no reader an empty 200.
func TestCannotBeDrawn(t *testing.T) {
	n := health.Node{Kind: health.KindCheck, Name: "a", Took: math.NaN()}
	server := httptest.NewUnstartedServer(New(func() Snapshot { return Snapshot{Node: &n, Generation: 1} }).Handler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	defer server.Close()
	for range 2 {
		if resp, err := http.Get(server.URL + "/v1/snapshot"); err == nil && resp.StatusCode < 500 {
			t.Error(resp.Status)
		}
	}
}

func TestDrawnOnce(t *testing.T) {
	n := town(3)
	p := New(func() Snapshot { return Snapshot{Node: &n, Generation: 1} })
	var readers sync.WaitGroup
	var drawn [8]*drawing
	for i := range drawn {
		readers.Go(func() { drawn[i] = p.draw() })
	}
	readers.Wait()
	for _, d := range drawn {
		if d != drawn[0] {
			t.Fatal("two drawings of one generation")
		}
	}
}

// What a request costs once a generation is drawn.
func BenchmarkRequest(b *testing.B) {
	for _, path := range []string{"/readyz", "/v1/snapshot"} {
		b.Run(strings.Trim(path, "/"), func(b *testing.B) {
			n := town(100)
			handler := New(func() Snapshot { return Snapshot{Node: &n, Generation: 1} }).Handler()
			r := httptest.NewRequest(http.MethodGet, path, nil)
			w := sink{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				handler.ServeHTTP(w, r)
			}
		})
	}
}

// What a request costs over a real connection, net/http and the reader's part included, for 20 kB of JSON: as it is, packed, and
// where nothing has changed.
func BenchmarkServed(b *testing.B) {
	n := town(115)
	server := httptest.NewServer(New(func() Snapshot { return Snapshot{Node: &n, Generation: 1} }).Handler())
	b.Cleanup(server.Close)
	for name, header := range map[string]string{"plain": "", "packed": "Accept-Encoding: gzip\r\n", "same": "If-None-Match: *\r\n"} {
		b.Run(name, func(b *testing.B) {
			request := []byte("GET /v1/snapshot HTTP/1.1\r\nHost: it\r\n" + header + "\r\n")
			b.RunParallel(func(pb *testing.PB) {
				conn, err := net.Dial("tcp", server.Listener.Addr().String())
				if err != nil {
					b.Error(err)
					return
				}
				defer conn.Close()
				r := bufio.NewReaderSize(conn, 64<<10)
				for pb.Next() {
					conn.Write(request)
					resp, err := http.ReadResponse(r, nil)
					if err != nil {
						b.Error(err)
						return
					}
					n, err := io.Copy(io.Discard, resp.Body)
					if err != nil || name != "same" && n != resp.ContentLength {
						b.Errorf("%d bytes: %v", n, err)
						return
					}
				}
			})
		})
	}
}

// What a generation costs whose documents are asked for, of a fleet of 100 hosts with 10 containers of 10 checks each.
func BenchmarkDraw(b *testing.B) {
	var hosts []health.Node
	for i := range 100 {
		var containers []health.Node
		for j := range 10 {
			var checks []health.Node
			for k := range 10 {
				checks = append(checks, check(fmt.Sprintf("check%d", k), health.Pass, "200 in 3 ms"))
			}
			containers = append(containers, rollup.Container(fmt.Sprintf("c%d.shop.vm%d", j, i), checks))
		}
		hosts = append(hosts, rollup.Host(fmt.Sprintf("vm%d", i), containers))
	}
	fleet := rollup.Fleet("fleet", hosts)
	for name, draw := range map[string]func(Snapshot) []byte{
		"summary": summaryDocument, "snapshot": treeDocument, "metrics": func(s Snapshot) []byte { return metricsDocument(s, false) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var data []byte
			for b.Loop() {
				data = draw(Snapshot{Node: &fleet, Generation: 1})
			}
			b.ReportMetric(float64(len(data)), "bytes")
			b.ReportMetric(float64(len(compress(data))), "packed-bytes")
		})
	}
}

// sink is a reader who throws away what it reads.
type sink struct{ header http.Header }

func (s sink) Header() http.Header         { return s.header }
func (s sink) Write(b []byte) (int, error) { return len(b), nil }
func (s sink) WriteHeader(int)             {}
