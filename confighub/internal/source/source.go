// SPDX-License-Identifier: AGPL-3.0-or-later

// Package source gets bundles to a container and keeps the ones it may start from: a Remote asks an HTTPS server
// (`confighub serve`, or any static one), a Dir watches a directory, a Store keeps what was taken and what people wish
// of it: to take nothing new, to go back, to take an older version.
//
// The wire, over TLS 1.3 with certificates on both sides:
//
//	GET  /v1/bundles/<id>/current             bundle.Envelope; If-None-Match, Prefer: wait=50 (RFC 7240)
//	GET  /v1/bundles/<id>/blobs/sha256/<hex>  the packed bundle
//	POST /v1/applied                          bundle.Applied; a server without it answers 404, 405 or 501
//
// A version is offered only when envelope, identity, size and digest hold, with trusted keys the signature of one,
// and when its serial is above what was taken before. What the server says is never more than a new version: its
// absence, its errors and its lies change nothing that runs.
package source

import (
	"context"
	"errors"
	"fmt"

	"cloud4.internal/hub/confighub/internal/bundle"
)

// Offer is a version that may be taken.
type Offer struct {
	Pointer bundle.Pointer
	// Packed is the tar.gz that Pointer names.
	Packed []byte
	// Bundle is nil when Err says what is wrong with it.
	Bundle *bundle.Bundle
	Err    error
}

// Version is the version offered.
func (o Offer) Version() bundle.Version { return o.Pointer.Version() }

// Event is what a source has to say. The zero Event means that it was reached and has nothing new.
type Event struct {
	// Offer is a new version.
	Offer *Offer
	// Err is what stands in the way; it is told once for each change of its words.
	Err error
}

// Source offers versions.
type Source interface {
	// Run sends events until ctx ends.
	Run(ctx context.Context, events chan<- Event) error
	// Refresh makes Run look again at once, whatever it saw last: more may be taken now. It does not wait.
	Refresh()
	// Applied tells the server what became of a version; it does nothing where nobody listens. An Unwanted need not be
	// sent again.
	Applied(ctx context.Context, report bundle.Applied) error
}

// voice sends events, an error only when its words changed.
type voice struct {
	events chan<- Event
	last   string
	spoken bool
}

// say sends the outcome of one look at the source. It returns when ctx ends or the event was taken.
func (v *voice) say(ctx context.Context, offer *Offer, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if offer == nil && v.spoken && text == v.last {
		return
	}
	select {
	case v.events <- Event{Offer: offer, Err: err}:
		v.last, v.spoken = text, true
	case <-ctx.Done():
	}
}

// Accept says whether a pointer is worth fetching: nil, or ErrNotNew, or why it is refused.
type Accept func(bundle.Pointer) error

// ErrNotNew means that a version was taken or refused before, which is no trouble.
var ErrNotNew = errors.New("not a new version")

// unpack makes the offer of a packed bundle.
func unpack(p bundle.Pointer, packed []byte) Offer {
	b, err := bundle.Unpack(packed)
	if err != nil {
		err = fmt.Errorf("bundle %s: %w", p.Version(), err)
	}
	return Offer{Pointer: p, Packed: packed, Bundle: b, Err: err}
}

// ring wakes who listens on a channel of one, now or when it next listens.
func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// untilRung is a context that ends with ctx or when the bell rings; stop is called when it is needed no more.
func untilRung(ctx context.Context, bell <-chan struct{}) (until context.Context, stop func()) {
	until, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		select {
		case <-until.Done():
		case <-bell:
		}
	}()
	return until, func() {
		cancel()
		<-done
	}
}
