// SPDX-License-Identifier: AGPL-3.0-or-later

// Package page answers everybody who wants to know how things are: load balancers, widgets, Prometheus, scripts. It
// serves, of a container, a host or the fleet:
//
//	/livez        200 or 503: is it to be left running? text
//	/readyz       200 or 503: is it to get requests? text
//	/startedz     200 or 503: has it come up, whatever became of it since? text
//	/health       200 or 503: application/health+json (draft-inadarei-api-health-check-06)
//	/v1/summary   200: flat JSON for widgets that show nothing but the body of a 200
//	/v1/snapshot  200: the whole tree
//	/metrics      200: OpenMetrics text, or to who does not ask for that the older text of Prometheus
//	/v1/events    200: what changes, as it does (server-sent events); see events.go
//
// and of a part of it, by its path (health.Node.Find) or the root's name:
//
//	/health/<path>      200 or 503: application/health+json
//	/v1/summary/<path>  200: one flat object
//	/badge/<path>.svg   200: name, state and score as an image
//
// pass and warn are 200; starting, unknown and fail are 503, and so is a warning beside which something has not come up yet: /health and
// /readyz never contradict each other. ?compat=consul makes 429 of warn, where 200 or 503 is.
// What is asked for and not there is 404, and a parameter that nobody knows is 400: a typo is never green.
//
// All of them are made from one snapshot, each at most once per generation, plain and packed, when somebody asks
// first. A request finds bytes and headers ready, so that a hundred dashboards cost what one does, and a container whom
// nobody asks nothing. Documents have an ETag and are never to be taken from a cache without asking; parts of them (Range)
// are not to be had. Who asks for one again while the generation lasts may get it from the connection (repeat). Nothing here looks at
// the things themselves.
//
// Left out: the page for people (dashboard); who may read, which the server in front decides (door).
package page

import (
	"crypto/rand"
	"net/http"
	"strings"
	"sync/atomic"
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

// Page serves what source returns. source is called once a request, also one that is answered by repeat.
type Page struct {
	source func() Snapshot
	boot   string // tells the generations of this process from those before a restart
	drawn  atomic.Pointer[drawing]
	events events
}

// New makes a page.
func New(source func() Snapshot) *Page {
	return &Page{source: source, boot: rand.Text()[:8]}
}

// draw is the drawing of the snapshot of now.
func (p *Page) draw() *drawing {
	s := p.source()
	old := p.drawn.Load()
	if old != nil && old.Generation == s.Generation {
		return old
	}
	d := newDrawing(s, p.boot)
	d.newest = func() bool { return p.source().Generation == s.Generation }
	if !p.drawn.CompareAndSwap(old, d) {
		if other := p.drawn.Load(); other.Generation == s.Generation {
			return other // somebody was faster: what is made of it shall be made once
		}
	}
	return d
}

// Handler serves the page.
func (p *Page) Handler() http.Handler {
	mux := http.NewServeMux()
	verdict := func(path string, of func(d *drawing) health.State) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			if consul, ok := compat(w, r); ok {
				serveVerdict(w, r, of(p.draw()), consul)
			}
		})
	}
	verdict("/livez", func(d *drawing) health.State { return d.live })
	verdict("/readyz", func(d *drawing) health.State { return d.ready })
	verdict("/startedz", func(d *drawing) health.State { return d.started })
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		if consul, ok := compat(w, r); ok {
			d := p.draw()
			d.serve(w, r, d.health, code(d.ready, consul))
		}
	})
	always := func(path string, of func(d *drawing) *document) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			d := p.draw()
			d.serve(w, r, of(d), http.StatusOK)
		})
	}
	always("/v1/summary", func(d *drawing) *document { return d.summary })
	always("/v1/snapshot", func(d *drawing) *document { return d.tree })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		d := p.draw()
		doc := d.plainMetrics
		if openmetrics.Accepted(r.Header.Get("Accept")) {
			doc = d.metrics
		}
		d.serve(w, r, doc, http.StatusOK)
	})
	mux.HandleFunc("GET /v1/events", p.serveEvents)
	mux.HandleFunc("GET /health/{path...}", p.serveHealth)
	mux.HandleFunc("GET /v1/summary/{path...}", p.servePart)
	mux.HandleFunc("GET /badge/{path...}", p.serveBadge)
	return mux
}

// code is the status of an answer about something in that state.
func code(s health.State, consul bool) int {
	switch {
	case s == health.Warn && consul:
		return http.StatusTooManyRequests
	case rollup.Yes(s):
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

// compat reads ?compat=consul, the one parameter of the answers whose status tells; Consul's HTTP checks take 429 for a
// warning. ok false: it was another one, and has been refused.
func compat(w http.ResponseWriter, r *http.Request) (consul, ok bool) {
	switch r.URL.RawQuery {
	case "":
		return false, true
	case "compat=consul":
		return true, true
	}
	http.Error(w, "the only parameter here is compat=consul", http.StatusBadRequest)
	return false, false
}

var verdicts = func() map[health.State][]byte {
	out := map[health.State][]byte{}
	for _, s := range health.States() {
		out[s] = []byte(s.String() + "\n")
	}
	return out
}()

// serveVerdict sends a state in a word. It is not to be kept: whoever asks wants to know now.
func serveVerdict(w http.ResponseWriter, r *http.Request, s health.State, consul bool) {
	h := w.Header()
	h["Content-Type"] = plainText
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	w.WriteHeader(code(s, consul))
	if r.Method != http.MethodHead {
		w.Write(verdicts[s])
	}
}

// matches reports whether an If-None-Match (RFC 9110 §13.1.2, weak comparison) names one of the tags.
func matches(header string, etags ...string) bool {
	if header == "" {
		return false
	}
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		for _, etag := range etags {
			if tag == etag || tag == "*" {
				return true
			}
		}
	}
	return false
}
