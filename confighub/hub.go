// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/apply"
	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/enrol"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/confighub/internal/source"
	"cloud4.internal/hub/confighub/internal/telemetry"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/spiffe"
)

const (
	// sayEvery is how often a start that waits says what for.
	sayEvery = 5 * time.Second
	// tickEvery is how often the loop looks at what tells nobody of its changes: init.json, the identity.
	// When nothing is expected, idleEvery is enough.
	tickEvery = 250 * time.Millisecond
	idleEvery = time.Second
)

// hub is one run of confighub in a container. Everything below the blank line is the loop's own.
type hub struct {
	conf     configSettings
	settings *allSettings
	ctl      *initctl.Hub
	log      zerolog.Logger
	dir      string
	runDir   string
	slot     int
	id       spiffe.ID
	keeper   *enrol.Keeper
	store    *source.Store
	applier  *apply.Applier
	src      source.Source
	remote   bool
	// signer is the id of the key that signed what the source said last.
	signer  func() string
	reports *reporter
	tel     *telemetry.Telemetry
	events  chan source.Event
	asks    chan ask
	drift   *drift
	// key opens what is sealed for this container; nil with keyErr: it cannot be used.
	key    *seal.Key
	keyErr error

	// ready: the gate is open.
	ready bool
	// heard is what the source said last.
	heard sourceState
	// applied is what is in place since this start; nil: nothing yet.
	applied *applied
	// applying is being put in place right now.
	applying *source.Offer
	// pending is a version that waits: for the machine, which stood in its way, or for the end of a hold.
	pending *source.Offer
	// retry is of the pending version, else of the one in place.
	retry retry
	// owing is of telling the service of files that were put back.
	owing retry
	// returning is a way back by hand that the service could not be told of yet.
	returning *returning
	// keepAt is when it is tried again to keep the version in place; zero when it is kept.
	keepAt time.Time
	// watched is the service, for as long as it has to live with a version.
	watched life
	// generation of the identity that was rendered last.
	generation  uint64
	transaction *telemetry.Transaction
	// untold are the secrets that had no room to be handed over.
	untold []string
	file   *stateFile
}

// applied is a version in place.
type applied struct {
	pointer bundle.Pointer
	bundle  *bundle.Bundle
	targets []string
	at      time.Time
	// borrowed: it is a sibling replica's, for a run without identity.
	borrowed bool
}

// watch runs the source once there is an identity for it.
func (h *hub) watch(ctx context.Context) error {
	if h.remote {
		select {
		case <-h.keeper.Ready():
		case <-ctx.Done():
			return nil
		}
		if h.keeper.State().State == identity.StateNone {
			return nil
		}
	}
	return h.src.Run(ctx, h.events)
}

// loop is the one goroutine that decides and applies.
func (h *hub) loop(ctx context.Context) error {
	h.recover(ctx)
	identityReady := h.keeper.Ready()
	var startWait <-chan time.Time
	if _, have := h.store.Current(); have && h.src != nil {
		startWait = time.After(h.conf.StartWait)
	}
	say := time.NewTicker(sayEvery)
	defer say.Stop()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		h.publish()
		select {
		case <-ctx.Done():
			h.end()
			return nil
		case <-identityReady:
			identityReady = nil
			h.identityReady(ctx)
		case event := <-h.events:
			h.event(ctx, event)
		case a := <-h.asks:
			h.answer(ctx, a)
		case <-startWait:
			startWait = nil
			h.startFromGood(ctx)
		case <-say.C:
			h.sayWaiting()
		case <-tick.C:
			h.tick(ctx)
			if h.ready && !h.retry.planned() && !h.store.OnTrial() {
				tick.Reset(idleEvery)
			} else {
				tick.Reset(tickEvery)
			}
		}
	}
}

// waiting reports whether the service has not started yet, so that nothing can be held or reloaded. An init.json
// that cannot be read, or written, as when the run directory is full, says so only while the gate has not been opened:
// by this process, or by one before it.
func (h *hub) waiting() bool {
	if !h.ctl.Supervised() {
		return !h.ready
	}
	if h.ready || h.ctl.GateOpen() {
		return false
	}
	state, err := initctl.ReadState(h.runDir)
	return err != nil || state.Service.State == initctl.ServiceWaiting
}

// stopping reports whether the container was told to stop.
func (h *hub) stopping() bool {
	state, err := initctl.ReadState(h.runDir)
	return err == nil && strings.HasPrefix(state.Stopping, "signal")
}

// recover ends what an earlier run left half done, and counts the start.
func (h *hub) recover(ctx context.Context) {
	found, err := h.applier.Recover()
	if err != nil {
		h.log.Error().Err(err).Msg("a transaction was cut off and its journal cannot be used: the targets stay as they are")
	}
	switch {
	case found.Version.IsZero():
	case !found.Finished:
		h.log.Warn().Stringer("version", found.Version).Strs("left", found.Lines).Msg("a transaction was cut off: its targets are put back")
	case found.Owed:
		h.log.Warn().Stringer("version", found.Version).Msg("a transaction was cut off before the service took it up: it is finished now")
		stop := keepFresh(h.runDir, stateValid, h.log)
		err := h.applier.Resume(ctx)
		if stop(); err != nil {
			h.failed(found.Version, err, nil)
		} else {
			h.warn(h.store.Adopt(found.Version, true))
		}
	default:
		h.log.Info().Stringer("version", found.Version).Msg("a transaction was cut off after its last file: it stands")
		h.warn(h.store.Adopt(found.Version, false))
		h.warn(h.store.Unbegin()) // this start is its first, and is counted below
	}
	if h.waiting() {
		bad, err := h.store.Begin(time.Now())
		h.warn(err)
		if bad != nil {
			h.log.Error().Stringer("version", bad.Version).Strs("errors", bad.Errors).Msg("the configuration is taken back")
		}
	}
	h.reports.bad()
}

func (h *hub) warn(err error) {
	if err != nil {
		h.log.Warn().Err(err).Msg("keeping the state of the configuration")
	}
}

// tick looks at what changed silently.
func (h *hub) tick(ctx context.Context) {
	h.endHold(ctx)
	h.forgetOutdated()
	h.lookForDrift(ctx)
	h.payOwed(ctx)
	if h.retry.due() {
		h.again(ctx)
	}
	if h.applied != nil && h.keeper.Files().Generation() != h.generation && usesIdentity(h.applied.bundle) {
		h.renew(ctx)
	}
	if !h.keepAt.IsZero() && time.Now().After(h.keepAt) {
		h.keepAt = time.Time{}
		if h.store.Keep() != nil {
			h.keepAt = time.Now().Add(retryMax)
		}
	}
	if h.store.OnTrial() && h.ready && h.lives() {
		p, _ := h.store.Current()
		h.warn(h.store.Confirm())
		h.log.Info().Stringer("version", p.Version()).Msg("the service lives with the configuration")
	}
}

// again tries what came to nothing before.
func (h *hub) again(ctx context.Context) {
	switch {
	case h.returning != nil:
		h.goBack(ctx)
	case h.pending != nil && h.held() == nil:
		h.take(ctx, *h.pending)
	case h.applied == nil:
		h.startFromGood(ctx)
	default:
		h.renew(ctx)
	}
}

// forgetOutdated forgets a version that waits when the source has another by now.
func (h *hub) forgetOutdated() {
	if h.pending == nil {
		return
	}
	if p, ok := h.store.Offered(); ok && p.Version() != h.pending.Version() {
		h.pending = nil
		if h.retry.planned() {
			h.retry.soon()
		}
	}
}

// lives reports whether the service has run for the time it is given to settle.
func (h *hub) lives() bool {
	state, err := initctl.ReadState(h.runDir)
	if err != nil {
		return !h.ctl.Supervised()
	}
	return h.watched.lasts(state.Service) >= h.conf.Settle
}

// end judges, when the container stops, what its service says of a version on trial.
func (h *hub) end() {
	if !h.store.OnTrial() {
		return
	}
	state, err := initctl.ReadState(h.runDir)
	switch {
	case err != nil:
	case strings.HasPrefix(state.Stopping, "signal"):
		h.warn(h.store.Unbegin())
	case state.Service.LastExit != nil && state.Service.LastExit.Code == 0:
		h.warn(h.store.Confirm())
	}
}

// inputs are what this container adds to a bundle.
func (h *hub) inputs() render.Inputs {
	return render.Inputs{ID: h.id, Env: environment(h.conf.Env), Secrets: readSecrets(h.conf.Secrets, h.log), Identity: identityPEM(h.keeper.Files())}
}
