// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/spool"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/rs/zerolog"
)

// engine is an OTLP receiver that answers as it is told.
type engine struct {
	mu     sync.Mutex
	got    []string                                             // bodies of accepted records
	counts []int                                                // records of each request
	at     []time.Time                                          // when each came
	path   string                                               // of the last request
	header http.Header                                          // of the last request
	answer func(n int, body string, w http.ResponseWriter) bool // of the n-th request; false: 200
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(unpacked(r))
	if err != nil {
		http.Error(w, err.Error(), 400)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var texts []string
	if err := otlp.DecodeRequest(body, otlp.Limits{}, func(_ *otlp.Source, rec *otlp.Record) error {
		texts = append(texts, string(rec.Body.Bytes))
		return nil
	}); err != nil {
		http.Error(w, err.Error(), 400)
		return
	}
	e.counts, e.at, e.path, e.header = append(e.counts, len(texts)), append(e.at, time.Now()), r.URL.Path, r.Header
	if e.answer != nil && e.answer(len(e.counts), strings.Join(texts, " "), w) {
		return
	}
	e.got = append(e.got, texts...)
}

// unpacked is the body of a request; what cannot be unpacked ends at once.
func unpacked(r *http.Request) io.Reader {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return r.Body
	}
	gz, err := gzip.NewReader(r.Body)
	if err != nil {
		return iotest.ErrReader(err)
	}
	return gz
}

func (e *engine) texts() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.got...)
}

func waitFor(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(d)
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("after %s: no %s", d, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// rig is a sender with a spool of n records "r1"… in memory.
type rig struct {
	*Sender
	spool *spool.Spool
	batch *spool.Batch
	seq   uint64
	log   *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *syncBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *syncBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newRig(t *testing.T, url string, files *identity.Files, n int) *rig {
	t.Helper()
	sp, err := spool.Open(spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sp.Close() })
	src, err := sp.Register("a", spool.State{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{spool: sp, batch: spool.NewBatch(src), log: &syncBuffer{}}
	r.put(t, n)
	r.Sender = New(Options{
		URL: url, Files: files, Headers: map[string]string{"X-Scope-OrgID": "shop"},
		Resource: func() []otlp.KeyValue { return []otlp.KeyValue{{Key: "service.name", Value: otlp.String("web")}} },
		Scope:    otlp.Scope{Name: "loghub"}, Spool: sp, Dead: NewDeadLetters(t.TempDir()),
		Log: zerolog.New(r.log), Changed: func() {},
	})
	return r
}

func (r *rig) put(t *testing.T, n int) {
	t.Helper()
	for range n {
		r.seq++
		r.batch.Record(r.seq, r.seq, &otlp.Record{Body: otlp.String(fmt.Sprintf("r%d", r.seq))})
	}
	if err := r.spool.Commit(r.batch); err != nil {
		t.Fatal(err)
	}
}

// run runs the sender until the test ends.
func (r *rig) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx, ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func numbers(from, to int) []string {
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprintf("r%d", i))
	}
	return out
}

func status(code int, header ...string) func(int, string, http.ResponseWriter) bool {
	return func(_ int, _ string, w http.ResponseWriter) bool {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		return true
	}
}

// first answers the first request so and takes the others.
func first(f func(int, string, http.ResponseWriter) bool) func(int, string, http.ResponseWriter) bool {
	return func(n int, body string, w http.ResponseWriter) bool { return n == 1 && f(n, body, w) }
}

// TestSays: what a receiver says of a refusal is quoted, if it is for people.
func TestSays(t *testing.T) {
	proto := string(otlp.AppendStatus(nil, otlp.Status{Code: 3, Message: "it is bad"}))
	for _, tt := range []struct{ media, answer, want string }{
		{"text/plain; charset=utf-8", "field user is a number\nmore\n", ": field user is a number"},
		{"application/problem+json", `{"title":"too large"}`, `: {"title":"too large"}`},
		{"", "field user is a number\r\n", ": field user is a number"},
		{"", "<html>no</html>", ""},
		{"", "\x00\xff", ""},
		{"", proto, ""},
		{"", "", ""},
		{"text/html", "<html>no</html>", ""},
		{otlp.ContentType, proto, ": it is bad"},
	} {
		resp := &http.Response{Header: http.Header{}}
		if tt.media != "" {
			resp.Header.Set("Content-Type", tt.media)
		}
		if got := says(resp, []byte(tt.answer)); got != tt.want {
			t.Errorf("%s %q: %q, want %q", tt.media, tt.answer, got, tt.want)
		}
	}
}

func TestAnswers(t *testing.T) {
	tests := []struct {
		name     string
		answer   func(int, string, http.ResponseWriter) bool
		accepted int // records the engine must have in the end
		wait     time.Duration
		check    func(t *testing.T, s State, e *engine)
	}{
		{"200 without a body", status(200), 0, 0, nil},
		{"204", status(204), 0, 0, nil},
		{"202 with JSON", func(_ int, _ string, w http.ResponseWriter) bool {
			w.WriteHeader(202)
			fmt.Fprint(w, `{"partialSuccess":{}}`)
			return true
		}, 0, 0, nil},
		{"partial success", func(_ int, _ string, w http.ResponseWriter) bool {
			_, _ = w.Write(otlp.AppendResponse(nil, otlp.Response{Rejected: 2, Message: "too old"}))
			return true
		}, 0, 0, func(t *testing.T, s State, e *engine) {
			if s.Rejected != 2 || len(e.counts) != 1 {
				t.Errorf("%+v, %d requests", s, len(e.counts))
			}
		}},
		{"503 once", first(status(503)), 10, 0, nil},
		{"500 once", first(status(500)), 10, 0, nil},
		{"429 with Retry-After", first(status(429, "Retry-After", "2")), 10, 2 * time.Second, nil},
		{"429 as Loki says it", func(n int, _ string, w http.ResponseWriter) bool {
			if n > 1 {
				return status(204)(n, "", w)
			}
			w.Header().Set("Content-Type", "application/octet-stream")
			w.WriteHeader(429)
			_, _ = w.Write(otlp.AppendStatus(nil, otlp.Status{Code: 8, Message: "ingestion rate limit exceeded"}))
			return true
		}, 0, 0, nil},
		{"connection cut once", first(func(_ int, _ string, w http.ResponseWriter) bool {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				c.Close()
			}
			return true
		}), 10, 0, nil},
		{"413 for more than 3", func(_ int, body string, w http.ResponseWriter) bool {
			if strings.Count(body, " ") < 3 {
				return false
			}
			w.WriteHeader(413)
			return true
		}, 10, 0, nil},
		{"400 for one", func(_ int, body string, w http.ResponseWriter) bool {
			if !strings.Contains(" "+body+" ", " r3 ") {
				return false
			}
			w.Header().Set("Content-Type", otlp.ContentType)
			w.WriteHeader(400)
			_, _ = w.Write(otlp.AppendStatus(nil, otlp.Status{Code: 3, Message: "it is bad"}))
			return true
		}, 10, 0, func(t *testing.T, s State, e *engine) {
			if s.Dead != 1 || s.DeadLost != 0 {
				t.Errorf("%+v", s)
			}
			if want := "lost 1 record, refused by the receiver: "; !strings.HasPrefix(e.got[2], want) || !strings.HasSuffix(e.got[2], "400 Bad Request: it is bad") {
				t.Errorf("in the place of r3: %q", e.got)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := &engine{answer: tt.answer}
			srv := httptest.NewServer(e)
			defer srv.Close()
			r := newRig(t, srv.URL+"/otlp/v1/logs", nil, 10)
			r.run(t)
			waitFor(t, 15*time.Second, "empty spool", func() bool { return r.spool.Stats().Backlog == 0 })
			if got := unique(e.texts()); len(got) != tt.accepted {
				t.Errorf("accepted %v", got)
			}
			if tt.wait > 0 && e.at[1].Sub(e.at[0]) < tt.wait {
				t.Errorf("came back after %s", e.at[1].Sub(e.at[0]))
			}
			if e.path != "/otlp/v1/logs" || e.header.Get("X-Scope-OrgID") != "shop" || e.header.Get("Content-Type") != otlp.ContentType {
				t.Errorf("request to %s with %v", e.path, e.header)
			}
			if tt.check != nil {
				tt.check(t, r.State(), e)
			}
			if strings.Contains(tt.name, "Loki") && !strings.Contains(r.log.String(), "429 Too Many Requests: ingestion rate limit exceeded") {
				t.Errorf("what it says is not told: %s", r.log)
			}
		})
	}
}

func unique(in []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

func TestHeld(t *testing.T) {
	for _, code := range []int{400, 401, 403, 404, 405, 415} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			e := &engine{answer: status(code)}
			srv := httptest.NewServer(e)
			defer srv.Close()
			r := newRig(t, srv.URL, nil, 3)
			r.run(t)
			waitFor(t, 10*time.Second, "held", func() bool { return r.State().Held })
			if s := r.State(); s.Dead != 0 || r.spool.Stats().Backlog != 3 || !strings.Contains(s.Error, fmt.Sprint(code)) {
				t.Errorf("%+v, backlog %d", s, r.spool.Stats().Backlog)
			}
		})
	}
}

// TestOrderAndBatches: a backlog goes in full batches, in order, the next lines
// after a quiet time at once.
func TestOrderAndBatches(t *testing.T) {
	e := &engine{}
	srv := httptest.NewServer(e)
	defer srv.Close()
	r := newRig(t, srv.URL, nil, 1200)
	r.run(t)
	waitFor(t, 10*time.Second, "all", func() bool { return len(e.texts()) == 1200 })
	if diff := cmp.Diff(numbers(1, 1200), e.texts()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int{512, 688}, e.counts); diff != "" {
		t.Error(diff)
	}
	waitFor(t, 3*time.Second, "quiet", func() bool { return time.Since(e.at[1]) > 1100*time.Millisecond })
	start := time.Now()
	r.put(t, 1)
	waitFor(t, 5*time.Second, "one more", func() bool { return len(e.texts()) == 1201 })
	if d := time.Since(start); d > 500*time.Millisecond {
		t.Errorf("the first line after quiet took %s", d)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	for h, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-3": 0, "999999": retryAfterMax, "soon": 0,
		"Sat, 21 Nov 2026 08:00:30 GMT": 30 * time.Second, "Sat, 21 Nov 2026 07:00:00 GMT": 0,
	} {
		if got := retryAfter(h, now); got != want {
			t.Errorf("%q: %s, want %s", h, got, want)
		}
	}
}
