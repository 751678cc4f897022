// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/apply"
	"cloud4.internal/hub/internal/health"
)

const (
	// defaultDriftEvery stands in, with the policy report, where kept settings are of a release that had none.
	defaultDriftEvery = time.Minute
	// A target that had to be repaired maxRepairs times within repairWindow is left to whoever writes it: two that
	// write over each other for ever help nobody.
	maxRepairs   = 3
	repairWindow = 10 * time.Minute
)

// drift watches the targets for what somebody changed by hand. It decides; the hub looks and repairs.
type drift struct {
	policy string
	every  time.Duration
	next   time.Time
	// found is what is not as it was written, kept what is to stay so.
	found, kept []apply.Drift
	// tried are the times of repairs by target, of the last repairWindow; repairs is how many there were in all.
	tried   map[string][]time.Time
	repairs int
	// lost are the targets that are not repaired any more, by why.
	lost map[string]string
}

func newDrift(policy string, every time.Duration) *drift {
	if every <= 0 {
		policy, every = apply.DriftReport, defaultDriftEvery
	}
	return &drift{policy: policy, every: every, tried: map[string][]time.Time{}, lost: map[string]string{}}
}

// due reports whether it is time to look; only once.
func (d *drift) due(now time.Time) bool {
	if now.Before(d.next) {
		return false
	}
	d.next = now.Add(d.every)
	return true
}

// forget begins anew, with a new version.
func (d *drift) forget() {
	clear(d.tried)
	clear(d.lost)
	d.found, d.kept, d.next = nil, nil, time.Now().Add(d.every)
}

// look takes in what was found, and what is kept, and returns the targets to repair.
func (d *drift) look(found, kept []apply.Drift, now time.Time, log zerolog.Logger) (repair []string) {
	for _, one := range slices.Concat(found, kept) {
		if !slices.Contains(d.found, one) && !slices.Contains(d.kept, one) {
			log.Warn().Str("target", one.Target).Str("what", one.What).Str("drift", d.policy).Msg("a target was changed by hand: " + one.Detail)
		}
	}
	d.found, d.kept = slices.Clone(found), kept
	drifted := map[string]bool{}
	for _, one := range found {
		drifted[one.Target] = true
	}
	maps.DeleteFunc(d.lost, func(target, _ string) bool { return !drifted[target] })
	if d.policy != apply.DriftRepair {
		return nil
	}
	for _, target := range slices.Sorted(maps.Keys(drifted)) {
		d.tried[target] = slices.DeleteFunc(d.tried[target], func(t time.Time) bool { return now.Sub(t) > repairWindow })
		switch _, given := d.lost[target]; {
		case given:
		case len(d.tried[target]) >= maxRepairs:
			d.lost[target] = fmt.Sprintf("it was repaired %d times within %s: somebody else keeps writing it", maxRepairs, repairWindow)
			log.Error().Str("target", target).Msg("a target is not repaired any more, " + d.lost[target])
		default:
			repair = append(repair, target)
		}
	}
	return repair
}

// repaired counts a repair of targets. One that failed counts too, and ends like one that did not last.
func (d *drift) repaired(targets []string, now time.Time, err error) {
	for _, target := range targets {
		d.tried[target] = append(d.tried[target], now)
		if err != nil && len(d.tried[target]) >= maxRepairs {
			d.lost[target] = "it cannot be repaired: " + err.Error()
		}
	}
	if err == nil {
		d.repairs += len(targets)
		d.found = slices.DeleteFunc(d.found, func(one apply.Drift) bool { return slices.Contains(targets, one.Target) })
	}
}

// driftState is the part of the section that tells of drift.
type driftState struct {
	Policy string `json:"policy"`
	// Found is what is not as it was written, Kept what is to stay so.
	Found []driftFound `json:"found,omitempty"`
	Kept  []driftFound `json:"kept,omitempty"`
	// Repairs is how many targets were repaired since confighub was started.
	Repairs int `json:"repairs,omitempty"`
}

type driftFound struct {
	Target string `json:"target"`
	// What is content, mode, owner, missing or type; Detail says it for people.
	What   string `json:"what"`
	Detail string `json:"detail"`
	// Lost is why it is not repaired any more.
	Lost string `json:"lost,omitempty"`
}

// text is a finding on one line.
func (f driftFound) text() string {
	line := f.Target + ": " + f.Detail
	if f.Lost != "" {
		line += " (not repaired any more: " + f.Lost + ")"
	}
	return line
}

func (d *drift) state() *driftState {
	s := &driftState{Policy: d.policy, Repairs: d.repairs}
	for _, one := range d.found {
		s.Found = append(s.Found, driftFound{one.Target, one.What, one.Detail, d.lost[one.Target]})
	}
	for _, one := range d.kept {
		s.Kept = append(s.Kept, driftFound{Target: one.Target, What: one.What, Detail: one.Detail})
	}
	return s
}

func (s *driftState) node() health.Node {
	n := health.Node{Kind: health.KindCheck, Name: "drift", State: health.Pass, Text: s.summary()}
	if lines := s.lines(); len(lines) > 0 {
		n.Text += ": " + quote(lines)
	}
	if len(s.Found) > 0 {
		n.State = health.Warn
		n.Action = "put it back, or change the configuration at the genesis: a new version writes over it"
	}
	return n
}

// summary is what there is to say before the targets are named.
func (s *driftState) summary() string {
	switch {
	case len(s.Found) > 0:
		return "changed by hand"
	case len(s.Kept) > 0:
		return "changed by hand, and kept so"
	case s.Repairs > 0:
		return fmt.Sprintf("none; repaired %d times", s.Repairs)
	}
	return "none"
}

// lines name every target that was changed.
func (s *driftState) lines() (lines []string) {
	for _, f := range slices.Concat(s.Found, s.Kept) {
		lines = append(lines, f.text())
	}
	return lines
}

// lookForDrift looks at the targets when it is time, and repairs them if that is the policy: the version in place is
// put in place once more, like a new one.
func (h *hub) lookForDrift(ctx context.Context) {
	if !h.ready || h.applied == nil || !h.drift.due(time.Now()) || h.waiting() || h.stopping() {
		return
	}
	targets := h.drift.look(h.applier.Drift(), h.applier.Kept(), time.Now(), h.log)
	if len(targets) == 0 {
		return
	}
	h.publish() // what is found and repaired within a second is seen too
	err := h.put(ctx, h.applied.pointer, h.applied.bundle, false)
	if errors.Is(err, apply.ErrInterrupted) || ctx.Err() != nil {
		return
	}
	h.drift.repaired(targets, time.Now(), err)
	if errors.Is(err, apply.ErrOwed) {
		h.postpone(err)
	}
	if err != nil {
		h.log.Error().Strs("targets", targets).Err(err).Msg("repairing what was changed by hand")
		return
	}
	h.log.Warn().Strs("targets", targets).Msg("what was changed by hand is repaired")
}
