// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
)

// owedState is the part of the section that tells of files which the service has yet to take up.
type owedState struct {
	Version bundle.Version `json:"version"`
	// Error is why it could not be told of them, which is tried again at Again.
	Error string    `json:"error"`
	Again time.Time `json:"again,omitzero"`
}

func (s *owedState) text() string {
	text := "the service has not taken up " + s.Version.String() + " yet: " + s.Error
	if !s.Again.IsZero() {
		text += "; tried again at " + s.Again.Format(time.RFC3339)
	}
	return text
}

// owed is nil when the service has taken up what is in place.
func (h *hub) owed() *owedState {
	if h.applied == nil || !h.applier.Owed() {
		return nil
	}
	s := &owedState{Version: h.applied.pointer.Version(), Error: h.applier.OwedReason(), Again: h.owing.at}
	switch {
	case h.returning != nil:
		s.Version, s.Again = h.returning.back.Version(), h.retry.at
	case h.pending != nil && h.retry.planned():
		s.Version, s.Again = h.pending.Version(), h.retry.at
	}
	s.Again = s.Again.UTC().Truncate(time.Second)
	return s
}

// payOwed tells the service of files that were put back and that it could not be told of then. A version on its way
// that it could not be told of is tried again as a whole.
func (h *hub) payOwed(ctx context.Context) {
	if !h.ready || h.retry.planned() || h.stopping() || !h.applier.Owed() {
		return
	}
	if h.owing.planned() && !h.owing.due() {
		return
	}
	stop := keepFresh(h.runDir, stateValid, h.log)
	err := h.applier.RetryOwed(ctx)
	stop()
	switch {
	case ctx.Err() != nil:
	case err == nil:
		h.owing.done()
		h.log.Info().Msg("the service has taken up what is in place")
	case h.owing.later(err):
		h.log.Error().Msg("the service could not be told of what is in place, which is tried again: " + err.Error())
	}
}
