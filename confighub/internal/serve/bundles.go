// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/spiffe"
)

// MaxWait bounds Prefer: wait=N, below the minute after which proxies and address translation forget a connection.
const MaxWait = 50 * time.Second

// current answers with the envelope, or waits for another one than the caller has.
func (s *Server) current(w http.ResponseWriter, r *http.Request, peer spiffe.ID) error {
	e, err := s.own(r, peer)
	if err != nil {
		return err
	}
	s.ledger.See(peer, time.Now())
	wait := preferredWait(r.Header)
	if wait > 0 {
		w.Header().Set("Preference-Applied", fmt.Sprintf("wait=%d", wait/time.Second))
		deadline(w, wait+answerTime)
		if e, err = s.wait(r, peer, e, wait); err != nil {
			return err
		}
	}
	deadline(w, answerTime)
	header := w.Header()
	header.Set("ETag", e.etag)
	header.Set("Cache-Control", "no-cache")
	if matches(r.Header.Get("If-None-Match"), e.etag) {
		s.audit(zerolog.DebugLevel, r, peer).Str("verdict", "allowed").Int("status", http.StatusNotModified).Msg("config request")
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	s.allowed(r, peer, http.StatusOK).Uint64("serial", e.pointer.Serial).Msg("config request")
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(e.envelope)))
	_, _ = w.Write(e.envelope) // a client that went away asks again
	return nil
}

// wait returns the caller's entry as soon as it is another than the one in If-None-Match, at the latest after d.
func (s *Server) wait(r *http.Request, peer spiffe.ID, e *entry, d time.Duration) (*entry, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for matches(r.Header.Get("If-None-Match"), e.etag) {
		select {
		case <-e.replaced:
		case <-timer.C:
			return e, nil
		case <-s.stopping:
			return e, nil
		case <-r.Context().Done():
			return e, nil
		}
		var err error
		if e, err = s.own(r, peer); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// blob answers with the packed bundle.
func (s *Server) blob(w http.ResponseWriter, r *http.Request, peer spiffe.ID) error {
	e, err := s.own(r, peer)
	if err != nil {
		return err
	}
	s.ledger.See(peer, time.Now())
	digest := bundle.DigestPrefix + r.PathValue("hex")
	packed := e.packed(digest)
	if packed == nil {
		return refuse(http.StatusNotFound, "%s is not the bundle of %s now, nor the one before: ask for /v1/bundles/%s/current again",
			digest, peer.BundleName(), peer.BundleName())
	}
	s.allowed(r, peer, http.StatusOK).Uint64("serial", e.pointer.Serial).Int("bytes", len(packed)).Msg("config request")
	deadline(w, answerTime+time.Duration(len(packed))*time.Second/slowest)
	header := w.Header()
	header.Set("Content-Type", "application/gzip")
	header.Set("Content-Length", strconv.Itoa(len(packed)))
	header.Set("Cache-Control", "private, max-age=31536000, immutable")
	header.Set("ETag", `"`+r.PathValue("hex")+`"`)
	_, _ = w.Write(packed) // as above
	return nil
}

// own authorises a request for a bundle: it must be the caller's own, and placed.
func (s *Server) own(r *http.Request, peer spiffe.ID) (*entry, error) {
	if name := r.PathValue("id"); peer.Role != spiffe.Container || peer.BundleName() != name {
		return nil, refuse(http.StatusForbidden, "%s may not read the bundle of %s: %s", peer, name, ownWords(peer))
	}
	return s.placed(peer)
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
