// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cloud4.internal/hub/confighub/internal/apply"
	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/control"
	"cloud4.internal/hub/confighub/internal/source"
)

// ask is a question of somebody on the control socket, on its way to the loop.
type ask struct {
	// asker ends when nobody waits for the answer any more.
	asker   context.Context
	request control.Request
	reply   chan reply
}

type reply struct {
	text string
	err  error
}

// askLoop hands a question to the loop and waits for its answer: it is the control server's Do.
func (h *hub) askLoop(ctx context.Context, r control.Request) (string, error) {
	a := ask{asker: ctx, request: r, reply: make(chan reply, 1)}
	select {
	case h.asks <- a:
	case <-ctx.Done():
		return "", control.ErrEnding
	}
	select {
	case r := <-a.reply:
		return r.text, r.err
	case <-ctx.Done():
		return "", control.ErrEnding
	}
}

// answer does what was asked for, with the loop's context: a transaction does not end because its asker went away.
func (h *hub) answer(ctx context.Context, a ask) {
	if a.asker.Err() != nil {
		return
	}
	var r reply
	switch {
	case h.stopping():
		r.err = errors.New("the container is stopping")
	case a.request.Verb == control.Hold:
		r.text, r.err = h.hold(a.request)
	case a.request.Verb == control.Resume:
		r.text, r.err = h.resume(ctx)
	case a.request.Verb == control.Rollback:
		r.text, r.err = h.rollback(ctx, a.request)
	case a.request.Verb == control.Accept:
		r.text, r.err = h.accept(a.request)
	}
	if errors.Is(r.err, apply.ErrInterrupted) || errors.Is(r.err, context.Canceled) {
		r.err = control.ErrEnding
	}
	h.publish() // who asks for the status next sees it
	a.reply <- r
}

// errNothing is the answer where there is no configuration to steer.
var errNothing = errors.New("nothing is in place yet: `confighub status` says what this start waits for")

// held is the hold that keeps new versions from being taken now. It never keeps a service from its first
// configuration.
func (h *hub) held() *source.Hold {
	if h.applied == nil {
		return nil
	}
	return h.store.Held()
}

func (h *hub) hold(r control.Request) (string, error) {
	if h.src == nil {
		return "", errors.New("this container has no source of configuration: there is nothing to hold")
	}
	if h.applied == nil {
		return "", errNothing
	}
	hold := &source.Hold{Since: time.Now().UTC().Truncate(time.Second), By: r.By, Reason: r.Reason}
	if r.For > 0 {
		hold.Until = hold.Since.Add(r.For)
	}
	text := fmt.Sprintf("%s stays in place: %s", h.applied.pointer.Version(), holdText(hold))
	if err := h.store.SetHold(hold); err != nil {
		text += "\nit is forgotten when confighub starts anew: " + err.Error()
	}
	return text, nil
}

// holdText is a hold in words.
func holdText(hold *source.Hold) string {
	text := "held since " + hold.Since.Format(time.RFC3339)
	if hold.By != "" {
		text += " by " + hold.By
	}
	if !hold.Until.IsZero() {
		text += " until " + hold.Until.Format(time.RFC3339)
	}
	if hold.Reason != "" {
		text += ": " + hold.Reason
	}
	return text
}

// resume ends a hold and takes what waits.
func (h *hub) resume(ctx context.Context) (string, error) {
	if h.store.Held() == nil {
		return "", errors.New("nothing is held")
	}
	text := "new versions are taken again"
	if err := h.store.SetHold(nil); err != nil {
		text += "\nit is held again when confighub starts anew: " + err.Error()
	}
	h.forgetOutdated()
	if h.src != nil {
		h.src.Refresh()
	}
	if h.pending == nil {
		return text, nil
	}
	v := h.pending.Version()
	h.take(ctx, *h.pending)
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return h.became(v, text)
}

// became says what a version that was taken just now has become.
func (h *hub) became(v bundle.Version, text string) (string, error) {
	if h.applied != nil && h.applied.pointer.Version() == v {
		return fmt.Sprintf("%s\nversion %s is in place", text, v), nil
	}
	if bad := h.store.LastBad(); bad != nil && bad.Version == v {
		return "", fmt.Errorf("%s\nversion %s was %s: %s", text, v, bad.State, strings.Join(bad.Errors, "\n"))
	}
	why := h.heard.Refused
	if why == "" {
		why = "it is tried again: " + h.retry.why
	}
	return "", fmt.Errorf("%s\nversion %s is not in place: %s", text, v, why)
}

// endHold resumes when a hold has lasted as long as it was to.
func (h *hub) endHold(ctx context.Context) {
	if hold := h.store.Held(); hold != nil && hold.Over(time.Now()) {
		h.log.Info().Msg("new versions are taken again: " + holdText(hold))
		if _, err := h.resume(ctx); err != nil && ctx.Err() == nil {
			h.log.Warn().Msg(err.Error())
		}
	}
}

// returning is a way back by somebody's wish.
type returning struct {
	back bundle.Pointer
	left bundle.Version
}

// rollback goes back to the last good version before the one in place, which is bad from then on.
func (h *hub) rollback(ctx context.Context, r control.Request) (string, error) {
	if h.applied == nil {
		return "", errNothing
	}
	left := h.applied.pointer.Version()
	reason := "rolled back by hand: by " + r.By
	if r.Reason != "" {
		reason += ": " + r.Reason
	}
	back, err := h.store.Retreat(source.Bad{Version: left, State: bundle.StateRolledBack, Errors: []string{reason}, At: time.Now().UTC()})
	switch {
	case errors.Is(err, source.ErrNoPrevious):
		return "", fmt.Errorf("%w, version %s stays in place", err, left)
	case err != nil:
		h.warn(h.store.Withdraw())
		return "", fmt.Errorf("version %s stays in place: %w", left, err)
	}
	h.returning = &returning{back, left}
	if err := h.goBack(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("version %s is in place again; %s is not taken any more, a newer one is", back.Version(), left), nil
}

// goBack puts the version to return to in place. When only the service could not be told of it, that is tried again.
func (h *hub) goBack(ctx context.Context) error {
	r := h.returning
	err := h.putBack(ctx, r.back)
	switch {
	case errors.Is(err, apply.ErrInterrupted), errors.Is(err, context.Canceled):
		return err // the next start decides
	case errors.Is(err, apply.ErrOwed):
		h.postpone(err)
		return fmt.Errorf("version %s is in place again, and the service is told of it later: %w", r.back.Version(), err)
	case err != nil:
		h.returning = nil
		h.warn(h.store.Withdraw())
		return fmt.Errorf("version %s stays in place, since %s cannot be put back: %s", r.left, r.back.Version(),
			strings.Join(told([]string{err.Error()}), "\n"))
	}
	h.returning = nil
	h.warn(h.store.Adopt(r.back.Version(), true))
	h.reports.bad()
	h.reports.add(bundle.Applied{Version: r.back.Version(), State: bundle.StateApplied})
	return nil
}

func (h *hub) putBack(ctx context.Context, p bundle.Pointer) error {
	b, err := h.store.Bundle(p)
	if err != nil {
		return err
	}
	h.applying = &source.Offer{Pointer: p}
	h.publish()
	defer func() { h.applying = nil }()
	return h.put(ctx, p, b, h.waiting())
}

// accept lets the version that the source offers be taken whatever was in place before.
func (h *hub) accept(r control.Request) (string, error) {
	if h.src == nil {
		return "", errors.New("this container has no source of configuration: there is nothing to accept")
	}
	v, err := h.store.Allow(r.Serial, h.conf.MinSerial, time.Now())
	if err != nil {
		return "", err
	}
	h.src.Refresh()
	if h.held() != nil {
		return fmt.Sprintf("version %s may be taken; that is held: `confighub resume` takes it", v), nil
	}
	return fmt.Sprintf("version %s is fetched now and taken: `confighub status` says what becomes of it", v), nil
}
