// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/apply"
	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/enrol"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/confighub/internal/source"
	"cloud4.internal/hub/confighub/internal/telemetry"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/spiffe"
)

const (
	// sayEvery is how often a start that waits says what for.
	sayEvery = 5 * time.Second
	// tickEvery is how often the loop looks at what tells nobody of its changes: init.json, the identity.
	tickEvery = 250 * time.Millisecond
	// retryMin and retryMax bound the pause after the machine, not the bundle, was in the way.
	retryMin, retryMax = 2 * time.Second, time.Minute
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
	reports  *reporter
	tel      *telemetry.Telemetry
	events   chan source.Event

	// ready: the gate is open.
	ready bool
	// reached: the source answered and did not fail since; sourceErr is its last trouble.
	reached   bool
	sourceErr string
	// applied is what is in place since this start; nil: nothing yet.
	applied *applied
	// trouble is why the machine keeps a version from being put in place, which is tried again at retryAt.
	trouble string
	pending *source.Offer
	retryAt time.Time
	pause   time.Duration
	// generation of the identity that was rendered last.
	generation  uint64
	transaction *telemetry.Transaction
	since       map[string]health.Node
	written     string
	writtenAt   time.Time
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
		case <-startWait:
			startWait = nil
			h.startFromGood(ctx)
		case <-say.C:
			h.sayWaiting()
		case <-tick.C:
			h.tick(ctx)
		}
	}
}

// waiting reports whether the service has not started yet, so that nothing can be held or reloaded.
func (h *hub) waiting() bool {
	if !h.ctl.Supervised() {
		return !h.ready
	}
	state, err := initctl.ReadState(h.runDir)
	return err != nil || state.Service.State == initctl.ServiceWaiting
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
		if err := h.applier.Resume(ctx); err != nil {
			h.failed(found.Version, err, nil)
		} else {
			h.warn(h.store.Adopt(found.Version, true))
		}
	default:
		h.log.Info().Stringer("version", found.Version).Msg("a transaction was cut off after its last file: it stands")
		h.warn(h.store.Adopt(found.Version, false))
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

// identityReady goes on once it is settled whether there is a certificate.
func (h *hub) identityReady(ctx context.Context) {
	h.generation = h.keeper.Files().Generation()
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
	} else if p, b := h.sibling(); b != nil {
		h.log.Info().Stringer("version", p.Version()).Msg("the configuration is that of a sibling replica")
		if h.put(ctx, p, b, true) == nil {
			h.applied.borrowed = true
		}
	}
	h.open()
}

// sibling reads the current bundle of another slot, the lowest that has one.
func (h *hub) sibling() (bundle.Pointer, *bundle.Bundle) {
	slots := filepath.Dir(filepath.Dir(h.dir))
	for n := range h.slot {
		store, err := source.ReadStore(filepath.Join(slots, strconv.Itoa(n), "config"))
		if err != nil {
			continue
		}
		p, have := store.Current()
		if !have {
			continue
		}
		if b, err := store.Bundle(p); err == nil {
			return p, b
		}
	}
	return bundle.Pointer{}, nil
}

// event is what the source said.
func (h *hub) event(ctx context.Context, e source.Event) {
	if e.Err != nil {
		if h.sourceErr != e.Err.Error() && (h.reached || h.ready) {
			h.log.Warn().Str("source", h.conf.Source).Msg("the source of configuration is in trouble, what is in place stays: " + e.Err.Error())
		}
		h.reached, h.sourceErr = false, e.Err.Error()
		return
	}
	if h.sourceErr != "" {
		h.log.Info().Str("source", h.conf.Source).Msg("the source of configuration answers again")
	}
	h.reached, h.sourceErr = true, ""
	if e.Offer == nil {
		h.startFromGood(ctx)
		return
	}
	h.take(ctx, *e.Offer)
	// An offer that was refused must not keep a start from what it has.
	if !h.ready && h.applied == nil {
		h.startFromGood(ctx)
	}
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
		h.postpone(err)
		return
	}
	if !h.reached {
		h.log.Warn().Stringer("version", p.Version()).Str("source", h.conf.Source).Msg("starting from the last good configuration, which may be stale: " + h.whyWaiting())
	}
	h.reports.add(bundle.Applied{Version: p.Version(), State: bundle.StateApplied})
	h.open()
}

// postpone remembers that the machine is in the way, and tries again later.
func (h *hub) postpone(err error) {
	if h.trouble != err.Error() {
		h.log.Error().Msg("the configuration cannot be put in place now, and is tried again: " + err.Error())
	}
	h.trouble = err.Error()
	h.pause = min(max(2*h.pause, retryMin), retryMax)
	h.retryAt = time.Now().Add(h.pause)
}

// take puts a new version in place, or refuses it.
func (h *hub) take(ctx context.Context, offer source.Offer) {
	v := offer.Version()
	if offer.Err != nil {
		h.failed(v, offer.Err, &offer)
		return
	}
	if err := h.store.Propose(offer); err != nil {
		h.pending = &offer
		h.postpone(err)
		return
	}
	first := h.waiting()
	if err := h.put(ctx, offer.Pointer, offer.Bundle, first); err != nil {
		h.failed(v, err, &offer)
		return
	}
	h.pending = nil
	// A service that has not started, or that nobody watches, confirms nothing; without hubinit nobody ever will.
	h.warn(h.store.Adopt(v, !first || !h.ctl.Supervised()))
	h.warn(h.settings.saveGood(h.dir))
	h.reports.add(bundle.Applied{Version: v, State: bundle.StateApplied})
	h.open()
}

// failed deals with a version that is not in place: bad for good, or tried again when the machine was in the way.
func (h *hub) failed(v bundle.Version, err error, offer *source.Offer) {
	bad := source.Bad{Version: v, State: bundle.StateRejected, At: time.Now().UTC()}
	rejected, isRejected := errors.AsType[*apply.Rejected](err)
	rolledBack, isRolledBack := errors.AsType[*apply.RolledBack](err)
	unrendered, isUnrendered := errors.AsType[render.Problems](err)
	switch {
	case errors.Is(err, apply.ErrInterrupted), errors.Is(err, context.Canceled):
		return
	case isRejected:
		bad.Errors = rejected.Lines
	case isUnrendered:
		bad.Errors = unrendered
	case isRolledBack:
		bad.State, bad.Errors = bundle.StateRolledBack, rolledBack.Lines
	case offer != nil && offer.Err != nil:
		bad.Errors = strings.Split(err.Error(), "\n")
	default:
		h.pending = offer
		h.postpone(err)
		return
	}
	h.pending = nil
	for _, line := range bad.Errors {
		h.log.Error().Stringer("version", v).Str("state", bad.State).Msg(line)
	}
	h.warn(h.store.MarkBad(bad))
	h.reports.bad()
}

// put renders a bundle and applies it.
func (h *hub) put(ctx context.Context, p bundle.Pointer, b *bundle.Bundle, first bool) error {
	begin := time.Now()
	ctx, h.transaction = h.tel.Transaction(ctx, p.Serial, p.Digest)
	h.generation = h.keeper.Files().Generation()
	if h.conf.Strict {
		strict := *b
		strict.Manifest.Strict = true
		b = &strict
	}
	out, err := render.Render(b, h.inputs())
	if err != nil {
		h.transaction.End(bundle.StateRejected, true)
		return err
	}
	h.transaction.Step("render")
	outcome, err := h.applier.Apply(ctx, apply.Generation{Version: p.Version(), Output: out}, first)
	h.transaction.End(verdictOf(err), err != nil)
	if err != nil {
		return err
	}
	for _, warning := range out.Warnings {
		h.log.Warn().Stringer("version", p.Version()).Msg(warning)
	}
	h.applied = &applied{pointer: p, bundle: b, at: time.Now().UTC()}
	for _, f := range out.Files {
		h.applied.targets = append(h.applied.targets, f.Path)
	}
	h.trouble, h.pause, h.retryAt = "", 0, time.Time{}
	h.log.Info().Stringer("version", p.Version()).Str("revision", p.Revision).Strs("changed", outcome.Changed).
		Strs("reloads", outcome.Reloads).Int64("ms", time.Since(begin).Milliseconds()).Msg("the configuration is in place")
	return nil
}

func verdictOf(err error) string {
	if err == nil {
		return bundle.StateApplied
	}
	if _, ok := errors.AsType[*apply.Rejected](err); ok {
		return bundle.StateRejected
	}
	if _, ok := errors.AsType[*apply.RolledBack](err); ok {
		return bundle.StateRolledBack
	}
	return "failed"
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

// tick looks at what changed silently.
func (h *hub) tick(ctx context.Context) {
	if !h.retryAt.IsZero() && time.Now().After(h.retryAt) {
		h.retryAt = time.Time{}
		if h.pending != nil {
			h.take(ctx, *h.pending)
		} else if h.applied == nil {
			h.startFromGood(ctx)
		} else {
			h.renew(ctx)
		}
	}
	if h.applied != nil && h.keeper.Files().Generation() != h.generation && h.usesIdentity() {
		h.renew(ctx)
	}
	if h.store.OnTrial() && h.ready && h.lives() {
		p, _ := h.store.Current()
		h.warn(h.store.Confirm())
		h.log.Info().Stringer("version", p.Version()).Msg("the service lives with the configuration")
	}
}

// lives reports whether the service has run for the time it is given to settle.
func (h *hub) lives() bool {
	state, err := initctl.ReadState(h.runDir)
	if err != nil {
		return !h.ctl.Supervised()
	}
	return state.Service.State == initctl.ServiceRunning && time.Since(state.Service.StartedAt) >= h.conf.Settle
}

func (h *hub) usesIdentity() bool {
	for _, t := range h.applied.bundle.Manifest.Targets {
		if t.Identity != "" {
			return true
		}
	}
	return false
}

// renew puts the version in place anew, with a new certificate.
func (h *hub) renew(ctx context.Context) {
	if err := h.put(ctx, h.applied.pointer, h.applied.bundle, h.waiting()); err != nil && ctx.Err() == nil {
		h.postpone(err)
	}
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

// whyWaiting is what a start waits for, in words that help.
func (h *hub) whyWaiting() string {
	state := h.keeper.State()
	switch {
	case h.remote && (state.State == identity.StateEnrolling || state.State == identity.StateExpired):
		if state.Error != "" {
			return "the identity: " + state.Error
		}
		return "the identity, from " + state.CAURL
	case h.sourceErr != "":
		return h.sourceErr
	case h.trouble != "":
		return h.trouble
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

// inputs are what this container adds to a bundle.
func (h *hub) inputs() render.Inputs {
	return render.Inputs{ID: h.id, Env: environment(h.conf.Env), Secrets: h.secrets(), Identity: identityPEM(h.keeper.Files())}
}
