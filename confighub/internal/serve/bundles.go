// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/spiffe"
)

// MaxWait bounds Prefer: wait=N, below the minute after which proxies and address translation forget a connection.
const MaxWait = 50 * time.Second

// current answers with the envelope, or waits for another one than the caller has.
func (s *Server) current(w http.ResponseWriter, r *http.Request, c caller) (answer, error) {
	e, err := s.own(c, r.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	s.ledger.See(c.peer, c.certificate.NotAfter, time.Now())
	q := question{caller: c, has: r.Header.Get("If-None-Match"), wait: preferredWait(r.Header)}
	if q.wait > 0 && matches(q.has, e.etag) {
		if err := s.wait(w, r, q, e); err != nil {
			return answer{}, err
		}
	}
	return s.answer(q)
}

// question is a request for the envelope.
type question struct {
	caller caller
	// has is its If-None-Match.
	has string
	// wait is how long it may wait for another one.
	wait time.Duration
}

// answer decides upon a question, as things are now.
func (s *Server) answer(q question) (answer, error) {
	e, err := s.placed(q.caller.peer)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: http.StatusOK, header: http.Header{"Etag": {e.etag}, "Cache-Control": {"no-cache"}}}
	if q.wait > 0 {
		a.header.Set("Preference-Applied", fmt.Sprintf("wait=%d", q.wait/time.Second))
	}
	if matches(q.has, e.etag) {
		a.status = http.StatusNotModified
		s.allowed(q.caller, a.status).Msg("config request")
		return a, nil
	}
	s.allowed(q.caller, a.status).Uint64("serial", e.pointer.Serial).Msg("config request")
	a.header.Set("Content-Type", "application/json")
	a.body = e.envelope
	return a, nil
}

// blob answers with the packed bundle.
func (s *Server) blob(_ http.ResponseWriter, r *http.Request, c caller) (answer, error) {
	e, err := s.own(c, r.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	s.ledger.See(c.peer, c.certificate.NotAfter, time.Now())
	digest := bundle.DigestPrefix + r.PathValue("hex")
	packed := e.packed(digest)
	if packed == nil {
		return answer{}, refuse(http.StatusNotFound, "%s is not the bundle of %s now, nor the one before: ask for /v1/bundles/%s/current again",
			digest, c.peer.BundleName(), c.peer.BundleName())
	}
	s.allowed(c, http.StatusOK).Uint64("serial", e.pointer.Serial).Int("bytes", len(packed)).Msg("config request")
	return answer{status: http.StatusOK, body: packed, header: http.Header{
		"Content-Type":  {"application/gzip"},
		"Cache-Control": {"private, max-age=31536000, immutable"},
		"Etag":          {`"` + r.PathValue("hex") + `"`},
	}}, nil
}

// own authorises a request for a bundle: it must be the caller's own, and placed.
func (s *Server) own(c caller, name string) (*entry, error) {
	if peer := c.peer; peer.Role != spiffe.Container || peer.BundleName() != name {
		return nil, refuse(http.StatusForbidden, "%s may not read the bundle of %s: %s", peer, name, ownWords(peer))
	}
	return s.placed(c.peer)
}

func ownWords(peer spiffe.ID) string {
	if peer.Role != spiffe.Container {
		return "bundles are for containers, this is the certificate of " + article(peer.Role)
	}
	return fmt.Sprintf("a container reads its own only, /v1/bundles/%s/current", peer.BundleName())
}

func article(role spiffe.Role) string {
	switch role {
	case spiffe.Genesis:
		return "a genesis server"
	case spiffe.Operator:
		return "an operator"
	}
	return "a " + role.String()
}

// placed returns what is published for a container.
func (s *Server) placed(peer spiffe.ID) (*entry, error) {
	e, missing, ok := s.published.entry(peer)
	switch {
	case !ok:
		return nil, refuse(http.StatusServiceUnavailable, "no tree could be read since this server was set up: see its log")
	case e == nil:
		return nil, refuse(http.StatusForbidden, "%s is not placed on the host %s: %s", peer.BundleName(), peer.Host, missing)
	}
	return e, nil
}

// preferredWait reads Prefer: wait=N (RFC 7240 §4.3), among other preferences; 0 when there is none.
func preferredWait(header http.Header) time.Duration {
	for _, value := range header.Values("Prefer") {
		for preference := range strings.SplitSeq(value, ",") {
			preference, _, _ = strings.Cut(preference, ";")
			name, seconds, _ := strings.Cut(preference, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(seconds), `"`), 10, 32)
			if err != nil {
				return 0
			}
			return min(time.Duration(n)*time.Second, MaxWait)
		}
	}
	return 0
}

// matches compares If-None-Match with an entity tag (RFC 9110 §13.1.2, weak comparison).
func matches(ifNoneMatch, etag string) bool {
	for tag := range strings.SplitSeq(ifNoneMatch, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}
