// SPDX-License-Identifier: AGPL-3.0-or-later

// Package page answers everybody who wants to know how things are: people, load balancers, widgets, Prometheus. It
// serves, of a container, a host or the fleet:
//
//	/livez        200 or 503: is it to be left running? text
//	/readyz       200 or 503: is it to get requests? text
//	/health       200 or 503: application/health+json (draft-inadarei-api-health-check-06)
//	/v1/summary   200: flat JSON for widgets that show nothing but the body of a 200
//	/v1/snapshot  200: the whole tree
//	/metrics      200: OpenMetrics text
//	/             200: the dashboard; ?all=1 opens everything
//
// All of them are made from one snapshot, each at most once per generation (the dashboard, which shows ages, at
// most once a second), when somebody asks first, so that many readers cost what one does. Documents have an ETag
// and are never to be cached without asking; nothing here looks at the things themselves.
//
// pass and warn are 200; starting, unknown and fail are 503.
//
// Left out: who may read, which the server in front decides.
package page

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/openmetrics"
)

// Snapshot is the health of everything at one moment.
type Snapshot struct {
	Node       *health.Node // never changed
	Generation uint64       // another one for another Node
	At         time.Time    // when Node was made
}

// Page serves what source returns. source is called once a request.
type Page struct {
	source func() Snapshot
	boot   string // tells the generations of this process from those before a restart

	mu    sync.Mutex // guards drawn
	drawn *drawing
}

// New makes a page.
func New(source func() Snapshot) *Page {
	return &Page{source: source, boot: rand.Text()[:8]}
}

// drawing is a snapshot and what was made of it so far.
type drawing struct {
	Snapshot
	etag                           string
	health, summary, tree, metrics func() []byte
	html                           [2]htmlCache // [1]: with everything open
}

func (p *Page) draw() *drawing {
	s := p.source()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn == nil || p.drawn.Generation != s.Generation {
		d := &drawing{Snapshot: s, etag: fmt.Sprintf(`"%s-%d"`, p.boot, s.Generation)}
		d.health = sync.OnceValue(func() []byte { return healthDocument(s) })
		d.summary = sync.OnceValue(func() []byte { return summaryDocument(s) })
		d.tree = sync.OnceValue(func() []byte { return treeDocument(s) })
		d.metrics = sync.OnceValue(func() []byte { return metricsDocument(s) })
		p.drawn = d
	}
	return p.drawn
}

// Handler serves the page. Anything else is 404, so that a typo is never green.
func (p *Page) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) { verdict(w, live(p.draw().Node)) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { verdict(w, p.draw().Node.State) })
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		d := p.draw()
		d.serve(w, r, "application/health+json", status(d.Node.State), d.health())
	})
	mux.HandleFunc("GET /v1/summary", func(w http.ResponseWriter, r *http.Request) {
		d := p.draw()
		d.serve(w, r, "application/json", http.StatusOK, d.summary())
	})
	mux.HandleFunc("GET /v1/snapshot", func(w http.ResponseWriter, r *http.Request) {
		d := p.draw()
		d.serve(w, r, "application/json", http.StatusOK, d.tree())
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		d := p.draw()
		d.serve(w, r, openmetrics.ContentType, http.StatusOK, d.metrics())
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { p.draw().serveHTML(w, r) })
	return mux
}

// live answers for a container's checks of class live; a host or a fleet is live when it answers.
func live(n *health.Node) health.State {
	if n.Kind == health.KindContainer {
		return rollup.Judge(n, rollup.Live)
	}
	return health.Pass
}

func status(s health.State) int {
	if s == health.Pass || s == health.Warn {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

func verdict(w http.ResponseWriter, s health.State) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status(s))
	fmt.Fprintln(w, s)
}

// serve sends a document, or 304 if the reader has it. A 503 is always sent whole: its readers look at the status.
func (d *drawing) serve(w http.ResponseWriter, r *http.Request, contentType string, code int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", d.etag)
	h.Set("X-Content-Type-Options", "nosniff")
	if code == http.StatusOK && matches(r.Header.Get("If-None-Match"), d.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	send(w, r, code, body)
}

// matches reports whether an If-None-Match (RFC 9110 §13.1.2, weak comparison) names the tag.
func matches(header, etag string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == etag || tag == "*" {
			return true
		}
	}
	return false
}

// compressFrom is the size from which compressing pays over a local network.
const compressFrom = 16 << 10

func send(w http.ResponseWriter, r *http.Request, code int, body []byte) {
	w.Header().Set("Vary", "Accept-Encoding")
	if len(body) >= compressFrom && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		var packed bytes.Buffer
		// The level is a constant, and a buffer takes everything: neither can go wrong.
		z, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
		z.Write(body)
		z.Close()
		body = packed.Bytes()
		w.Header().Set("Content-Encoding", "gzip")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	w.Write(body)
}
