// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/apply"
	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/confighub/internal/source"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
)

// event is what the source said.
func (h *hub) event(ctx context.Context, e source.Event) {
	before := h.heard
	h.heard = sourceState{Reached: true}
	if refused, ok := errors.AsType[*source.Refused](e.Err); ok {
		h.log.Warn().Str("source", h.conf.Source).Msg(refused.Error())
		h.heard.Refused = refused.Error()
		h.startFromGood(ctx)
		return
	}
	if e.Err != nil {
		if before.Error != e.Err.Error() && (before.Reached || h.ready) {
			h.log.Warn().Str("source", h.conf.Source).Msg("the source of configuration is in trouble, what is in place stays: " + e.Err.Error())
		}
		h.heard = sourceState{Error: e.Err.Error()}
		return
	}
	if before.Error != "" {
		h.log.Info().Str("source", h.conf.Source).Msg("the source of configuration answers again")
	}
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

// take puts a new version in place, or refuses it.
func (h *hub) take(ctx context.Context, offer source.Offer) {
	v := offer.Version()
	if h.stopping() {
		return // the next start takes it
	}
	if !h.stillNew(offer) {
		return
	}
	if offer.Err != nil {
		h.failed(v, offer.Err, &offer)
		return
	}
	if h.park(ctx, offer) {
		return
	}
	first := h.waiting()
	unkept := h.store.Propose(offer)
	if unkept != nil && !first {
		h.pending = &offer
		h.postpone(unkept)
		return
	}
	h.pending, h.returning, h.applying = nil, nil, &offer
	h.publish()
	defer func() { h.applying = nil }()
	if !first {
		// Settling takes a while: genesis is to know that this container is at it.
		h.reports.add(bundle.Applied{Version: v, State: bundle.StatePending})
	}
	if err := h.put(ctx, offer.Pointer, offer.Bundle, first); err != nil {
		h.failed(v, err, &offer)
		return
	}
	if unkept != nil {
		h.log.Warn().Err(unkept).Stringer("version", v).Msg("the version is in place and could not be kept: a start without the source knows nothing of it")
		h.store.Carry(offer)
		h.keepAt = time.Now().Add(retryMax)
	} else {
		// A service that has not started, or that nobody watches, confirms nothing; without hubinit nobody ever will.
		h.warn(h.store.Adopt(v, !first || !h.ctl.Supervised()))
	}
	h.warn(h.settings.saveGood(h.dir))
	h.reports.add(bundle.Applied{Version: v, State: bundle.StateApplied})
	h.open()
}

// stillNew judges an offer once more. The source looked at it while another version, or this one, was on its way: it may
// have been taken or have become bad since.
func (h *hub) stillNew(offer source.Offer) bool {
	err := h.judge(offer.Pointer)
	if err == nil {
		return true
	}
	if h.pending != nil && h.pending.Version() == offer.Version() {
		h.pending = nil
	}
	if !errors.Is(err, source.ErrNotNew) {
		h.heard.Refused = err.Error()
		h.log.Warn().Str("source", h.conf.Source).Msg(err.Error())
	}
	return false
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
		h.stuck(v, err)
		h.postpone(err)
		return
	}
	h.pending = nil
	bad.Errors = told(bad.Errors)
	for _, line := range bad.Errors {
		h.log.Error().Stringer("version", v).Str("state", bad.State).Msg(line)
	}
	h.warn(h.store.MarkBad(bad))
	h.reports.bad()
}

// What is told of a bad version: it is kept, and sent to genesis, which takes 64 KiB of JSON.
const (
	maxTold      = 100
	maxToldBytes = 16 << 10
)

// told is errors within the limits, without what could steer a terminal: they quote bundles and commands.
func told(errors []string) []string {
	var kept []string
	room := maxToldBytes
	for i, text := range errors {
		var lines []string
		for line := range strings.Lines(text) {
			lines = append(lines, health.CleanText(line))
		}
		text = strings.Join(lines, "\n")
		if room -= len(text); room < 0 || i == maxTold {
			return append(kept, fmt.Sprintf("and %d more", len(errors)-i))
		}
		kept = append(kept, text)
	}
	return kept
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
	in := h.inputs()
	if in.Identity == nil && usesIdentity(b) && h.enrolling() {
		h.transaction.End("failed", true)
		return errEnrolling
	}
	var err error
	if in.Seal, err = h.opener(b); err != nil {
		h.transaction.End("failed", true)
		return err
	}
	out, err := render.Render(b, in)
	if err != nil {
		h.transaction.End(bundle.StateRejected, true)
		return err
	}
	h.transaction.Step("render")
	h.handOver(out.Secrets)
	defer keepFresh(h.runDir, stateValid, h.log)()
	outcome, err := h.applier.Apply(ctx, apply.Generation{Version: p.Version(), Output: out}, first)
	h.transaction.End(verdictOf(err), err != nil)
	if err != nil {
		return err
	}
	for _, warning := range out.Warnings {
		h.log.Warn().Stringer("version", p.Version()).Msg(warning)
	}
	now := applied{pointer: p, bundle: b, at: time.Now().UTC()}
	if h.applied == nil || h.applied.pointer.Version() != p.Version() {
		h.drift.forget()
	} else {
		now.borrowed = h.applied.borrowed
	}
	h.applied = &now
	for _, f := range out.Files {
		h.applied.targets = append(h.applied.targets, f.Path)
	}
	h.retry.done()
	if h.pending != nil && h.held() == nil {
		h.retry.soon()
	}
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

// postpone remembers that the machine is in the way, and tries again later.
func (h *hub) postpone(err error) {
	if !h.retry.later(err) {
		return
	}
	level := zerolog.ErrorLevel
	if errors.Is(err, errEnrolling) {
		level = zerolog.InfoLevel // every first start goes through it
	}
	h.log.WithLevel(level).Msg("the configuration cannot be put in place now, and is tried again: " + err.Error())
}

// park lets a version wait for the end of a hold, and reports whether there is one. What was in place when it began is
// put in place first: a hold keeps no service from starting.
func (h *hub) park(ctx context.Context, offer source.Offer) bool {
	if h.store.Held() == nil {
		return false
	}
	h.startFromGood(ctx)
	hold := h.held()
	if hold == nil {
		h.log.Warn().Stringer("version", offer.Version()).Msg("the version is taken although new ones are held, since nothing else can be put in place")
		return false
	}
	if h.pending == nil || h.pending.Version() != offer.Version() {
		h.log.Info().Stringer("version", offer.Version()).Msg("a new version waits: " + holdText(hold))
		h.reports.add(bundle.Applied{Version: offer.Version(), State: bundle.StatePending})
	}
	h.pending = &offer
	return true
}

// renew puts the version in place anew, with a new certificate.
func (h *hub) renew(ctx context.Context) {
	if err := h.put(ctx, h.applied.pointer, h.applied.bundle, h.waiting()); err != nil && ctx.Err() == nil {
		h.postpone(err)
	}
}

// errEnrolling keeps a bundle from being refused for what the container does not have yet.
var errEnrolling = errors.New("it has targets of this container's certificate, which is being enrolled")

// enrolling reports whether there is to be an identity and is none yet.
func (h *hub) enrolling() bool {
	state := h.keeper.State().State
	return state != identity.StateOff && state != identity.StateNone
}

func usesIdentity(b *bundle.Bundle) bool {
	for _, t := range b.Manifest.Targets {
		if t.Identity != "" {
			return true
		}
	}
	return false
}
