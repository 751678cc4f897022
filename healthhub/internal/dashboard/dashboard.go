// SPDX-License-Identifier: AGPL-3.0-or-later

// Package dashboard draws health for people: who runs a fleet at home, in the morning, on the phone. One answer of
// HTML is a whole page, style, script and signs included; it fetches nothing from elsewhere.
//
// What a page says, in the order in which it is wanted: is all well; if not, what is wrong, since when, why,
// and what to do; what somebody muted; what changed lately; then all there is, worst first. Every value has its age.
//
//	/                  the root: the fleet, the host or the container that this program sums up
//	/?at=vm1/db.shop   a node below it, by its path; the same page one level down. Unknown paths are 404
//	…&all=1            opens what is folded away: hundreds of things that are well
//	…&part=1           without style and script: what the script fetches to bring the page up to date
//
// All links are relative, so that the pages work below any path of a reverse proxy.
//
// With JavaScript the page follows v1/events, ticks its ages, and shows itself frozen when it hears nothing for frozenAfter,
// or when what it shows is older than its validity. Without, it asks for itself again every refreshSeconds, and says of
// when it is; a snapshot too old is told by the server too. The pages never change anything.
//
// What stands in the tree came from checks, that is, from strangers. It enters the page through html/template
// alone, as text; the only links are to paths made here; and the policy (CSP) lets no script and no style run but those with
// the nonce of this one answer.
//
// Where many ask, a page is drawn once a second at most. Pages are bounded by the max constants, whatever the tree holds.
//
// Left out: who may read (door), documents for machines (page), what happened when (Config.Events).
package dashboard

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/healthhub/internal/mute"
	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/internal/health"
)

const (
	refreshSeconds = 15               // the page asks for itself again
	frozenAfter    = 30 * time.Second // without a sign of life
	drawnFor       = time.Second      // ages on a page are at most this much older
	maxDrawn       = 64               // pages that are kept for drawnFor
)

//go:embed page.html
var pageSource string

//go:embed style.css
var styleSource string

//go:embed script.js
var scriptSource string

// parsed is the template, read when the first reader comes: containers have none.
var parsed = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{"plural": plural}).Parse(pageSource))
})

// Config says what is shown. Beside the page stand the documents of package page, v1/events among them.
type Config struct {
	Source func() page.Snapshot
	Events func() []record.Event // what changed, oldest first; nil: nobody notes it
	Mutes  func() []mute.Mute    // who muted what; nil: nobody can
}

// Dashboard serves the pages.
type Dashboard struct {
	Config
	hole string // stands for the nonce in what is kept

	mu         sync.Mutex // guards what follows
	drawn      map[request]answer
	diary      *diary // of the events of at; nil: not read yet, or there are none
	generation uint64
	at         time.Time
}

type request struct {
	path      string
	all, part bool
}

type answer struct {
	status int
	body   []byte
}

// New makes a dashboard.
func New(c Config) *Dashboard { return &Dashboard{Config: c, hole: rand.Text()} }

// ServeHTTP sends a page.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	ask := request{path: strings.Trim(query.Get("at"), "/"), all: query.Has("all"), part: query.Has("part")}
	if len(ask.path) > health.MaxPath {
		http.Error(w, "no path is that long", http.StatusNotFound)
		return
	}
	a := d.answer(ask)
	nonce := rand.Text()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", policy(nonce))
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	page.Send(w, r, a.status, bytes.ReplaceAll(a.body, []byte(d.hole), []byte(nonce)))
}

// policy allows this page its own style and script, its icon, and to ask where it came from for news.
func policy(nonce string) string {
	return fmt.Sprintf("default-src 'none'; style-src 'nonce-%[1]s'; script-src 'nonce-%[1]s'; connect-src 'self'; img-src data:; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'", nonce)
}

func (d *Dashboard) answer(ask request) answer {
	s, now := d.Source(), time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.drawn == nil || d.generation != s.Generation || now.Sub(d.at) >= drawnFor || len(d.drawn) >= maxDrawn {
		d.drawn, d.diary, d.generation, d.at = map[request]answer{}, nil, s.Generation, now
	}
	a, ok := d.drawn[ask]
	if !ok {
		a = d.draw(s, now, ask)
		d.drawn[ask] = a
	}
	return a
}

func (d *Dashboard) draw(s page.Snapshot, now time.Time, ask request) answer {
	status := http.StatusOK
	v, found := d.view(s, now, ask)
	if !found {
		status = http.StatusNotFound
	}
	var b bytes.Buffer
	if err := parsed().Execute(&b, v); err != nil {
		panic(fmt.Sprintf("drawing the dashboard: %v", err)) // a mistake in the template, which tests draw
	}
	return answer{status, b.Bytes()}
}

// link is where the page of a path is.
func link(path string) string {
	if path == "" {
		return "./"
	}
	return "./?at=" + strings.ReplaceAll(url.QueryEscape(path), "%2F", "/")
}
