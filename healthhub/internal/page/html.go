// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
)

const (
	refreshSeconds = 10          // the page asks for itself again
	htmlFresh      = time.Second // ages on it are at most this much older
	maxReasons     = 5           // at the top; all of them stand below
)

//go:embed dashboard.html
var dashboardSource string

// dashboard is parsed once, when the first reader comes: containers have none.
var dashboard = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("dashboard").Parse(dashboardSource))
})

// htmlCache is the dashboard as it was drawn last.
type htmlCache struct {
	mu    sync.Mutex // guards all
	at    time.Time
	nonce string
	body  []byte
}

// view is what the template shows.
type view struct {
	Nonce   string
	Refresh int
	Now     string
	All     bool
	Root    item
	Reasons []item // the leaves that are to blame, worst first; Name is the path
	Counts  []count
	Groups  []group
}

// count is a part of the bar: how many containers are in a state.
type count struct {
	State string
	N     int
}

// group is a host with its containers; on a host or in a container there is one without a head.
type group struct {
	Head  *item
	Items []item
}

// item is a node.
type item struct {
	Kind, Name, State, Glyph, Text, Action string
	Score                                  int
	Since, Seen                            string // ages
	SinceAt, SeenAt                        string // RFC 3339
	Flags                                  []string
	Open                                   bool
	Checks                                 []item
}

func (d *drawing) serveHTML(w http.ResponseWriter, r *http.Request) {
	all := r.URL.Query().Has("all")
	cache := &d.html[0]
	if all {
		cache = &d.html[1]
	}
	cache.mu.Lock()
	if now := time.Now(); cache.body == nil || now.Sub(cache.at) >= htmlFresh {
		cache.nonce = rand.Text()
		cache.at, cache.body = now, d.drawHTML(now, cache.nonce, all)
	}
	nonce, body := cache.nonce, cache.body
	cache.mu.Unlock()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+nonce+"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	send(w, r, http.StatusOK, body)
}

func (d *drawing) drawHTML(now time.Time, nonce string, all bool) []byte {
	root := d.Node
	v := view{
		Nonce: nonce, Refresh: refreshSeconds, All: all, Root: newItem(root, now, all),
		Now: d.At.UTC().Format("2006-01-02 15:04:05 UTC"),
	}
	for _, r := range rollup.Reasons(root, maxReasons) {
		v.Reasons = append(v.Reasons, item{
			Name: strings.Join(r.Path, " › "), State: r.State.String(), Glyph: glyphs[r.State], Text: r.Text, Action: r.Action,
		})
	}
	switch root.Kind {
	case health.KindFleet:
		for _, host := range worstFirst(root.Children) {
			head := newItem(host, now, all)
			v.Groups = append(v.Groups, group{Head: &head, Items: items(host.Children, now, all)})
		}
	case health.KindHost:
		v.Groups = []group{{Items: items(root.Children, now, all)}}
	default:
		one := newItem(root, now, true)
		v.Groups = []group{{Items: []item{one}}}
	}
	v.Counts = counts(v.Groups)
	var b bytes.Buffer
	if err := dashboard().Execute(&b, v); err != nil {
		panic(fmt.Sprintf("drawing the dashboard: %v", err)) // a mistake in the template, which tests draw
	}
	return b.Bytes()
}

func items(nodes []health.Node, now time.Time, all bool) []item {
	var out []item
	for _, n := range worstFirst(nodes) {
		out = append(out, newItem(n, now, all))
	}
	return out
}

// worstFirst sorts by state, what nobody expects last, then by name.
func worstFirst(nodes []health.Node) []*health.Node {
	out := make([]*health.Node, len(nodes))
	for i := range nodes {
		out[i] = &nodes[i]
	}
	slices.SortFunc(out, func(a, b *health.Node) int {
		if ua, ub := a.HasFlag(health.FlagUnexpected), b.HasFlag(health.FlagUnexpected); ua != ub {
			return bit(ua) - bit(ub)
		}
		if a.State != b.State {
			return int(b.State) - int(a.State)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

var glyphs = map[health.State]string{
	health.Pass: "✓", health.Starting: "…", health.Warn: "!", health.Unknown: "?", health.Fail: "✕",
}

func newItem(n *health.Node, now time.Time, open bool) item {
	it := item{
		Kind: n.Kind, Name: n.Name, State: n.State.String(), Glyph: glyphs[n.State], Text: n.Text, Action: n.Action,
		Score: score(n), Open: open || n.State != health.Pass && !n.HasFlag(health.FlagUnexpected),
		Since: Age(now, n.Since), Seen: Age(now, n.ObservedAt), SinceAt: stamp(n.Since), SeenAt: stamp(n.ObservedAt),
	}
	for _, flag := range n.Flags {
		if flag != health.FlagCritical && flag != health.FlagLive || n.Kind != health.KindCheck {
			it.Flags = append(it.Flags, strings.ReplaceAll(flag, "suppressed_by=", "because of "))
		}
	}
	if n.Kind == health.KindContainer {
		it.Checks = items(n.Children, now, true)
	}
	return it
}

func counts(groups []group) []count {
	by := map[string]int{}
	for _, g := range groups {
		for _, it := range g.Items {
			by[it.State]++
		}
	}
	var out []count
	for _, s := range slices.Backward(health.States()) {
		if n := by[s.String()]; n > 0 {
			out = append(out, count{s.String(), n})
		}
	}
	return out
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// Age is how long ago t was, to the digits people read: "12 s", "4 min", "3 h", "2 d".
func Age(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := now.Sub(t)
	switch {
	case d < 0:
		return "0 s" // another machine's clock is ahead
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d d", d/(24*time.Hour))
}
