// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/source"
	"cloud4.internal/hub/internal/identity"
)

// identityReady goes on once it is settled whether there is a certificate.
func (h *hub) identityReady(ctx context.Context) {
	h.generation = h.keeper.Files().Generation()
	if h.pending != nil {
		h.retry.soon()
	}
	switch {
	case h.remote && h.keeper.State().State == identity.StateNone:
		h.startWithout(ctx)
	case h.src == nil:
		h.open()
	}
}

// startWithout starts a replica that has no identity of its own, as `compose run` makes them: with the bundle it
// has, or a sibling's, or none.
func (h *hub) startWithout(ctx context.Context) {
	h.log.Warn().Int("slot", h.slot).Msg("this replica has no token of its own and runs without identity")
	if h.ready {
		return
	}
	if _, have := h.store.Current(); have {
		h.startFromGood(ctx)
	} else if p, b, slot := h.sibling(); b != nil {
		h.log.Info().Stringer("version", p.Version()).Msg("the configuration is that of a sibling replica")
		h.borrowKey(slot)
		if err := h.put(ctx, p, b, true); err != nil {
			h.log.Error().Err(err).Msg("the sibling's configuration cannot be put in place: the service starts without it")
		} else {
			h.applied.borrowed = true
		}
	}
	h.open()
}

// sibling reads the current bundle of another slot, the lowest that has one, and says where that slot is.
func (h *hub) sibling() (p bundle.Pointer, b *bundle.Bundle, slot string) {
	slots := filepath.Dir(filepath.Dir(h.dir))
	for n := range h.slot {
		slot := filepath.Join(slots, strconv.Itoa(n))
		store, err := source.ReadStore(filepath.Join(slot, "config"))
		if err != nil {
			continue
		}
		p, have := store.Current()
		if !have {
			continue
		}
		if b, err := store.Bundle(p); err == nil {
			return p, b, slot
		}
	}
	return bundle.Pointer{}, nil, ""
}

// startFromGood puts the kept version in place, when nothing is yet, and opens the gate.
func (h *hub) startFromGood(ctx context.Context) {
	if h.applied != nil || ctx.Err() != nil {
		return
	}
	p, have := h.store.Current()
	if !have {
		return
	}
	b, err := h.store.Bundle(p)
	if err == nil {
		err = h.put(ctx, p, b, h.waiting())
	}
	if err != nil {
		h.stuck(p.Version(), err)
		h.postpone(err)
		return
	}
	if !h.heard.Reached {
		h.log.Warn().Stringer("version", p.Version()).Str("source", h.conf.Source).Msg("starting from the last good configuration, which may be stale: " + h.whyWaiting())
	}
	h.warn(h.settings.saveGood(h.dir))
	h.reports.add(bundle.Applied{Version: p.Version(), State: bundle.StateApplied})
	h.open()
}

// whyWaiting is what a start waits for, in words that help.
func (h *hub) whyWaiting() string {
	state := h.keeper.State()
	switch {
	case h.remote && (state.State == identity.StateEnrolling || state.State == identity.StateExpired):
		if state.Error != "" {
			return "the identity: " + state.Error
		}
		return "the identity, from " + state.CAURL
	case h.heard.Error != "":
		return h.heard.Error
	case h.heard.Refused != "":
		return h.heard.Refused
	case h.retry.why != "":
		return h.retry.why
	case h.store.LastBad() != nil:
		bad := h.store.LastBad()
		return "a newer version, since " + bad.Version.String() + " was refused: " + strings.Join(bad.Errors, "; ")
	}
	return "an answer of " + h.conf.Source
}

func (h *hub) sayWaiting() {
	if h.ready {
		return
	}
	what := "the configuration"
	if h.src == nil {
		what = "the identity"
	}
	why := h.whyWaiting()
	if h.src == nil {
		if why = h.keeper.State().Error; why == "" {
			why = "an answer of " + h.settings.Identity.CAURL
		}
	}
	h.log.Warn().Msg("the service waits for " + what + ": " + why)
}

// open opens the gate.
func (h *hub) open() {
	if h.ready {
		return
	}
	h.ready = true
	if err := h.ctl.Ready(); err != nil {
		h.log.Error().Err(err).Msg("opening the gate")
	}
}
