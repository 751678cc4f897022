// SPDX-License-Identifier: AGPL-3.0-or-later

// Package webhook owns hearing from a git server that something was pushed.
//
//	POST /webhook   X-Hub-Signature-256: sha256=<hex>   as GitHub, Gitea and Forgejo send it
//	                X-Gitea-Signature: <hex>            Gitea's own, or
//	                X-Forgejo-Signature: <hex>          Forgejo's
//
// The signature is the HMAC-SHA256 of the body under a shared secret, and compared in constant time. Nothing of the body is
// looked at: a hook carries nothing, it makes its receiver look at the repository a little sooner. That is why plain HTTP
// does, on loopback or a network of the genesis machine alone: who overhears a hook can repeat it, and gets another look.
//
// Answers: 204 taken, 401 not signed with the secret, 404 another path, 405 another method, 413 more than 64 KiB, 429 more than
// 16 at once. Looks are at least 200 ms apart, however many hooks come, and the last hook always leads to one.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/mtls"
)

const (
	path    = "/webhook"
	maxBody = 64 << 10
	// maxAtOnce is how many hooks are read at the same time, maxConnections how many callers may be connected.
	maxAtOnce      = 16
	maxConnections = 64
	// between is the time from one look to the next.
	between = 200 * time.Millisecond
	// patience is how long a caller may take for each of sending and reading.
	patience = 10 * time.Second
	stopTime = time.Second
)

// Bounds of a secret's file, in bytes. A short secret can be guessed by anyone who overheard one hook.
const (
	minSecret = 16
	maxSecret = 4 << 10
)

// ReadSecret reads the secret from a file, without the white space around it.
func ReadSecret(file string) ([]byte, error) {
	raw, err := hubfile.ReadFile(file, maxSecret)
	if err != nil {
		return nil, fmt.Errorf("the webhook's secret: %w", err)
	}
	secret := bytes.TrimSpace(raw)
	if len(secret) < minSecret {
		return nil, fmt.Errorf("the webhook's secret: %s holds %d bytes: it must be %d to %d, for example of openssl rand -hex 32",
			file, len(secret), minSecret, maxSecret)
	}
	return secret, nil
}

// Receiver takes hooks. Make it with New.
type Receiver struct {
	secret []byte
	log    zerolog.Logger
	// heard holds one hook that nobody looked for yet.
	heard chan struct{}
	look  chan struct{}
	open  chan struct{}
	// refusals keeps a stranger from filling the log.
	refusals mtls.Refusals
}

// New makes a receiver of hooks that are signed with the secret.
func New(secret []byte, log zerolog.Logger) *Receiver {
	return &Receiver{
		secret: secret, log: log, heard: make(chan struct{}, 1), look: make(chan struct{}), open: make(chan struct{}, maxAtOnce),
	}
}

// Look is sent something when it is time to look.
func (h *Receiver) Look() <-chan struct{} { return h.look }

// Run answers on the listener until ctx ends.
func (h *Receiver) Run(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: patience,
		MaxHeaderBytes: 16 << 10, ConnState: daemon.Bound(maxConnections),
	}
	return daemon.Run(ctx,
		daemon.Task{Name: "passing hooks on", Run: h.passOn},
		daemon.Task{Name: "serving", Run: func(ctx context.Context) error {
			return daemon.Serve(ctx, server, stopTime, func() error { return server.Serve(listener) })
		}},
	)
}

// passOn turns what was heard into looks with pauses between them.
func (h *Receiver) passOn(ctx context.Context) error {
	for {
		select {
		case <-h.heard:
		case <-ctx.Done():
			return nil
		}
		select {
		case h.look <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-time.After(between):
		case <-ctx.Done():
			return nil
		}
	}
}

// ServeHTTP answers one hook.
func (h *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, words := h.take(r)
	switch status {
	case http.StatusNoContent:
		h.log.Info().Str("address", r.RemoteAddr).Str("event", eventOf(r)).Msg("webhook")
		w.WriteHeader(status)
		return
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
	}
	if say, unsaid := h.refusals.Worth(mtls.Refusal{Remote: r.RemoteAddr, What: "webhook", Why: words}); say {
		h.log.Warn().Str("address", r.RemoteAddr).Int("status", status).Str("reason", words).Int("unsaid", unsaid).Msg("webhook refused")
	}
	http.Error(w, words, status)
}

// take judges a hook, and notes a good one.
func (h *Receiver) take(r *http.Request) (status int, words string) {
	switch {
	case r.URL.Path != path:
		return http.StatusNotFound, "there is POST " + path
	case r.Method != http.MethodPost:
		return http.StatusMethodNotAllowed, "a webhook is a POST"
	}
	select {
	case h.open <- struct{}{}:
		defer func() { <-h.open }()
	default:
		return http.StatusTooManyRequests, "too many hooks at once"
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge, fmt.Sprintf("a webhook has at most %d bytes", large.Limit)
	}
	if err != nil {
		return http.StatusBadRequest, "reading the webhook failed"
	}
	if !h.signed(r.Header, body) {
		return http.StatusUnauthorized, "the webhook is not signed with the secret of --webhook-secret: X-Hub-Signature-256 must be sha256= and the HMAC-SHA256 of the body"
	}
	select {
	case h.heard <- struct{}{}:
	default: // one is waiting already, and looks later than now
	}
	return http.StatusNoContent, ""
}

// signed reports whether there is a signature, and every one there is right.
func (h *Receiver) signed(header http.Header, body []byte) bool {
	mac := hmac.New(sha256.New, h.secret)
	mac.Write(body)
	want := mac.Sum(nil)
	found := false
	for _, name := range []string{"X-Hub-Signature-256", "X-Gitea-Signature", "X-Forgejo-Signature"} {
		for _, text := range header.Values(name) {
			given, err := hex.DecodeString(strings.TrimPrefix(text, "sha256="))
			if err != nil || !hmac.Equal(given, want) {
				return false
			}
			found = true
		}
	}
	return found
}

// eventOf is what the sender calls it, for the log.
func eventOf(r *http.Request) string {
	for _, name := range []string{"X-GitHub-Event", "X-Gitea-Event", "X-Forgejo-Event"} {
		if event := r.Header.Get(name); event != "" && len(event) <= 64 {
			return event
		}
	}
	return ""
}
