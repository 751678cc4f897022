// SPDX-License-Identifier: AGPL-3.0-or-later

// Package door decides who may read health with a browser or a widget, without a certificate. Health tells what runs where, which
// version answers and what is broken: a map for who means harm. Readers with a certificate come over mutual TLS, past this
// door, see healthhub serve.
//
// A door stands before the pages (dashboard) and the documents (page). It is open, for a loopback address that only
// this machine reaches, or asks for the read token:
//
//	POST /login                      the form's token for a cookie, good for sessionTime
//	Authorization: Bearer <token>    for widgets, scripts, Prometheus
//
// Threat by threat:
//
//   - Guessing. A token has 130 bits of the system's randomness. Who gives a wrong one more than triesAtOnce times waits
//     triesEvery for each further one, by address (an IPv6 network of 64 bits counts as one), so that nobody locks
//     others out; behind a proxy all are one address. Who is logged in is not asked. Hashes are compared, in constant
//     time.
//   - A stolen state directory. Only the token's SHA-256 is there; for a random token of that length that is as good
//     as a slow hash. The key of the cookies is there too: it opens this door until the next token is made, and no
//     other.
//   - A token that leaks. It is taken from the form's body or the header alone; in the address of a page, where
//     histories, logs and proxies keep it, it is refused with the advice to make another. It is never logged, and
//     shown once, by who made it. A new token ends the old one, all its cookies and the streams they opened, at once.
//   - Somebody who listens. Over TLS the cookie is Secure and named __Host-, so that no other name and no plain page
//     can set it. Asking for the token over plain HTTP is for loopback and proxies that end TLS.
//   - Other servers of the same host name. Cookies know no ports: a browser shows ours to them too. Who does not
//     trust what else is served from localhost gives the dashboard a name of its own (--dashboard-name).
//   - Scripts of other sites. The cookie is SameSite=Strict and HttpOnly, and the door lets nothing through that
//     changes something: GET and HEAD alone. Logging in is refused to requests that other origins make
//     (Sec-Fetch-Site, Origin). Other sites can neither frame the pages nor read or embed them (CORP), except badges,
//     which are made to be embedded.
//   - DNS rebinding: a page elsewhere lets its own name point here, and reads with the reader's browser what is open
//     on loopback. Requests for a host that is not ours are refused: ours are loopback names, addresses as numbers,
//     the identity's names, and those that were configured.
//   - Who may connect, but means harm: sizes and times are the server's to bound; what this package keeps is bounded too.
//
// Left out: roles (whoever reads, reads everything), accounts, logging out (a new token does that for everybody), TLS
// (the server in front).
package door

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/internal/mtls"
)

const (
	sessionTime  = 30 * 24 * time.Hour // a cookie is good for
	lookAgain    = time.Second         // between looks at whether who reads a stream still may
	maxFormBytes = 4 << 10
	plainCookie  = "healthhub"
	secureCookie = "__Host-healthhub" // RFC 6265bis §4.1.3.2
)

// Config says whom a door lets through.
type Config struct {
	Next    http.Handler
	Tokens  *Tokens            // nil: an open door
	Names   func() []string    // under which this is reached, besides loopback names and addresses as numbers; nil: none
	Refused func(mtls.Refusal) // hears of who is turned away; nil: nobody
}

// Door is the handler in front.
type Door struct {
	Config
	trying sync.Mutex // one token is compared at a time: right ones that come together are not many tries
	tries  tries
	forged *http.CrossOriginProtection
}

// New makes a door.
func New(c Config) *Door {
	if c.Refused == nil {
		c.Refused = func(mtls.Refusal) {}
	}
	return &Door{Config: c, forged: http.NewCrossOriginProtection()}
}

// Values of headers, shared by all answers: a header set this way is not allocated anew for each. Nobody changes them.
var (
	noSniff    = []string{"nosniff"}
	sameOrigin = []string{"same-origin"}
	deny       = []string{"DENY"}
	nothing    = []string{"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
)

// ServeHTTP lets a request through, or turns it away.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["X-Content-Type-Options"] = noSniff
	h["Referrer-Policy"] = sameOrigin
	h["X-Frame-Options"] = deny
	h["Content-Security-Policy"] = nothing // a page has its own
	if r.TLS != nil {                      // elsewhere browsers complain that it is of no use
		h["Cross-Origin-Opener-Policy"] = sameOrigin
	}
	if !strings.HasPrefix(r.URL.Path, "/badge/") {
		h["Cross-Origin-Resource-Policy"] = sameOrigin
	}
	if !d.ours(r.Host) {
		d.refuse(w, r, http.StatusMisdirectedRequest,
			fmt.Sprintf("this is not served under the name %.100q: if it should be, give it to healthhub serve with --dashboard-name", r.Host))
		return
	}
	login := d.Tokens != nil && r.URL.Path == "/login"
	switch {
	case login && r.Method == http.MethodPost:
		d.login(w, r)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		d.refuse(w, r, http.StatusMethodNotAllowed, "one only reads here")
		return
	case d.Tokens == nil:
		d.Next.ServeHTTP(w, r)
		return
	case slices.ContainsFunc([]string{"token", "access_token"}, r.URL.Query().Has):
		d.refuse(w, r, http.StatusBadRequest,
			"a token does not belong into an address, where histories and logs keep it: make another with healthhub token")
		return
	case login:
		d.ask(w, r, http.StatusOK, "")
		return
	}
	if still := d.known(w, r); still != nil {
		d.through(w, r, still)
	}
}

// through lets a reader in, to a stream for as long as it still may.
func (d *Door) through(w http.ResponseWriter, r *http.Request, still func() bool) {
	if r.URL.Path != "/v1/events" {
		d.Next.ServeHTTP(w, r)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		ticker := time.NewTicker(lookAgain)
		defer ticker.Stop()
		for still() {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
		cancel()
	})
	d.Next.ServeHTTP(w, r.WithContext(ctx))
}

// known finds the token or a cookie in a request, and gives what says whether that still opens; nil: it has answered.
func (d *Door) known(w http.ResponseWriter, r *http.Request) (still func() bool) {
	if token, ok := bearer(r); ok {
		if status, why := d.try(r, token); status != http.StatusOK {
			w.Header().Set("WWW-Authenticate", `Bearer realm="health", error="invalid_token"`)
			d.refuse(w, r, status, why)
			return nil
		}
		return func() bool { return d.Tokens.Check(token) }
	}
	if cookie, err := r.Cookie(cookieName(r)); err == nil && d.Tokens.Opens(cookie.Value, time.Now()) {
		return func() bool { return d.Tokens.Opens(cookie.Value, time.Now()) }
	}
	if r.URL.Path != "/" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="health"`)
		http.Error(w, "who reads this shows the read token: Authorization: Bearer <token>, or the cookie of /login",
			http.StatusUnauthorized)
		return nil
	}
	// A link on another site leads here without the cookie, which is SameSite=Strict. Asked for by our own page it comes along.
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Dest") == "document" &&
		!r.URL.Query().Has("again") {
		d.draw(w, http.StatusOK, form{Again: "./?" + query(r.URL.Query().Get("at")) + "again=1"})
		return nil
	}
	d.ask(w, r, http.StatusUnauthorized, "")
	return nil
}

// bearer is the token of the header (RFC 6750 §2.1).
func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}

// try compares a token, unless its sender has tried too often.
func (d *Door) try(r *http.Request, token string) (status int, why string) {
	from := source(r.RemoteAddr)
	d.trying.Lock()
	defer d.trying.Unlock()
	if !d.tries.take(from, time.Now()) {
		return http.StatusTooManyRequests, fmt.Sprintf("too many wrong tokens: one in %s is looked at", triesEvery)
	}
	if d.Tokens.Check(token) {
		d.tries.forgive(from)
		return http.StatusOK, ""
	}
	return http.StatusUnauthorized, "that is not the read token"
}

func (d *Door) login(w http.ResponseWriter, r *http.Request) {
	if err := d.forged.Check(r); err != nil {
		d.refuse(w, r, http.StatusForbidden, "logging in is not for other sites: "+err.Error())
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	if err := r.ParseForm(); err != nil {
		d.refuse(w, r, http.StatusBadRequest, "reading the form: "+err.Error())
		return
	}
	status, why := d.try(r, strings.TrimSpace(r.PostForm.Get("token")))
	if status != http.StatusOK {
		d.Refused(mtls.Refusal{Remote: r.RemoteAddr, What: "POST /login", Why: why})
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", fmt.Sprint(int(triesEvery/time.Second)))
		}
		d.ask(w, r, status, why)
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(r), Value: d.Tokens.Session(time.Now().Add(sessionTime)), Path: "/", MaxAge: int(sessionTime / time.Second),
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", "./?"+query(r.PostForm.Get("at"))) // relative: it leads nowhere else
	w.WriteHeader(http.StatusSeeOther)
}

// query keeps the part of the fleet that was asked for.
func query(at string) string {
	if at == "" {
		return ""
	}
	return "at=" + url.QueryEscape(at) + "&"
}

func cookieName(r *http.Request) string {
	if r.TLS != nil {
		return secureCookie
	}
	return plainCookie
}

func (d *Door) refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	d.Refused(mtls.Refusal{Remote: r.RemoteAddr, What: r.Method + " " + r.URL.Path, Why: why})
	http.Error(w, why, status)
}

// ours reports whether a Host header (RFC 9110 §7.2) names this machine. Only a name can be pointed somewhere else by
// who owns it. HTTP/1.0 has no such header, and no browser speaks it.
func (d *Door) ours(host string) bool {
	if host == "" {
		return true
	}
	if u, err := url.Parse("//" + host); err == nil {
		host = u.Hostname()
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") { // RFC 6761 §6.3
		return true
	}
	return d.Names != nil && slices.ContainsFunc(d.Names(), func(n string) bool { return strings.EqualFold(n, name) })
}

// source is what tries are counted by.
func source(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	bits := 32
	addr := at.Addr().Unmap()
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.Prefix(bits) // the number of bits fits
	return prefix
}

//go:embed login.html
var loginSource string

var loginPage = sync.OnceValue(func() *template.Template { return template.Must(template.New("login").Parse(loginSource)) })

// form is what login.html shows.
type form struct {
	Nonce, At, Why string
	None           bool   // no token was ever made
	Again          string // the page asks for this instead
}

// ask shows the form.
func (d *Door) ask(w http.ResponseWriter, r *http.Request, status int, why string) {
	at := r.URL.Query().Get("at")
	if r.Method == http.MethodPost {
		at = r.PostForm.Get("at")
	}
	d.draw(w, status, form{At: at, Why: why, None: !d.Tokens.Made()})
}

func (d *Door) draw(w http.ResponseWriter, status int, f form) {
	f.Nonce = rand.Text()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy",
		"default-src 'none'; style-src 'nonce-"+f.Nonce+"'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	w.WriteHeader(status)
	// What is left to go wrong is the connection.
	_ = loginPage().Execute(w, f)
}
