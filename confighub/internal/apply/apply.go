// SPDX-License-Identifier: AGPL-3.0-or-later

// Package apply puts a rendered generation in place as one transaction, and takes it back whole when it does
// not work:
//
//	plan → stage → check all → hold → journal → swap all → reload once per distinct action → settle → release, confirm
//
// Until the swap a failure changes nothing (Rejected for what the bundle did wrong, any other error for what
// the machine did). From the swap on a failure puts every target back, lets the service take the old files up
// again, restarts it in the same container when it died meanwhile, and is a RolledBack.
//
// What is kept, all of it in Options.Dir:
//
//	targets.json   what confighub wrote where: digest, and the file that was there before
//	originals/     those files, by digest
//	journal.json   a transaction under way; undo/ holds what its targets were
//
// The journal is on the disk before the first target changes. Recover, at the next start, judges by reading the
// targets: when all are new the transaction is finished, else undone. A file that is neither the old nor the new
// one belongs to somebody else and is left alone.
//
// Targets are reached directory by directory without following a link (openat with O_NOFOLLOW), written beside
// their place and renamed over it. In a directory of another uid that is done with that uid's rights
// (setfsuid(2)). A target that is a mount point of its own cannot be renamed over: it is written in place, from
// the journal.
//
// Left out: where bundles come from (package source) and what they become (package render).
package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/internal/initctl"
)

// Control is what hubinit does for a transaction; *initctl.Hub is one.
type Control interface {
	Hold(ctx context.Context, d time.Duration) error
	Release(ctx context.Context) error
	Restart(ctx context.Context) error
	Signal(ctx context.Context, name string) error
}

// Options of an Applier.
type Options struct {
	// Dir is <state>/config; RunDir is where init.json, service.env and health.sock are.
	Dir, RunDir string
	Policy      Policy
	Control     Control
	// Settle is how long a reloaded service is watched; 0: not at all.
	Settle time.Duration
	Log    zerolog.Logger
	// Step is called when a step of a transaction is done; nil: nothing. It is for tracing.
	Step func(name string)

	// fault is called at each named point of a transaction, for tests that end the process there.
	fault func(point string)
}

// Applier applies generations, one at a time. It is not for several goroutines at once.
type Applier struct {
	opts    Options
	targets records
	// unsaved: targets.json does not hold targets yet.
	unsaved bool
	// looks by target, for Drift.
	looks map[string]look
}

// Generation is a version with what it rendered to.
type Generation struct {
	Version bundle.Version
	Output  *render.Output
}

// Outcome says what a transaction did.
type Outcome struct {
	// Changed lists the targets that were written or removed.
	Changed []string
	// Reloads lists the actions that were run.
	Reloads []string
}

// Rejected means that the generation is at fault and nothing was changed.
type Rejected struct{ Lines []string }

// Error is one reason a line.
func (e *Rejected) Error() string { return strings.Join(e.Lines, "\n") }

// RolledBack means that the generation was in place, did not work, and was taken back.
type RolledBack struct{ Lines []string }

// Error is one reason a line.
func (e *RolledBack) Error() string { return strings.Join(e.Lines, "\n") }

// ErrInterrupted means that the context ended, or the container was told to stop, after the swap: Recover decides
// at the next start.
var ErrInterrupted = errors.New("interrupted in the middle of applying")

// Budgets of one request to hubinit, and what a hold is longer than the steps under it.
const (
	controlTimeout = 15 * time.Second
	restartTimeout = 90 * time.Second
	holdMargin     = verdictMargin + time.Minute
)

// New opens the state in o.Dir, which is made if need be.
func New(o Options) *Applier {
	if o.Step == nil {
		o.Step = func(string) {}
	}
	if o.fault == nil {
		o.fault = func(string) {}
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		o.Log.Warn().Err(err).Msg("making the state directory")
	}
	a := &Applier{opts: o, looks: map[string]look{}}
	targets, err := readRecords(a.file("targets.json"))
	if err != nil {
		// The record serves removal and restoring alone; a broken one must not keep the service from its files.
		o.Log.Warn().Err(err).Msg("the record of written targets is unreadable and begun anew")
	}
	a.targets = targets
	return a
}

func (a *Applier) file(parts ...string) string {
	return filepath.Join(append([]string{a.opts.Dir}, parts...)...)
}

// Apply makes the targets what g says. With first there is no service yet: nothing is held, reloaded or settled, and
// where the way back cannot be kept, as on a full disk, it goes on without.
func (a *Applier) Apply(ctx context.Context, g Generation, first bool) (Outcome, error) {
	if lines := a.opts.Policy.judge(g.Output); len(lines) > 0 {
		return Outcome{}, &Rejected{lines}
	}
	p, err := a.plan(g)
	if err != nil {
		return Outcome{}, err
	}
	defer p.close()
	p.mayLose = first
	if len(p.changes) == 0 {
		return Outcome{}, a.orBare(p, errors.Join(a.keepOriginals(p), a.remember(p.records)))
	}
	outcome := Outcome{Changed: p.paths()}
	if err := a.prepare(ctx, p); err != nil {
		a.discard(p)
		return Outcome{}, err
	}
	if !first {
		if err := a.hold(ctx, p); err != nil {
			a.discard(p)
			return Outcome{}, fmt.Errorf("holding the service: %w", err)
		}
	}
	if err := a.commit(p); err != nil {
		a.discard(p)
		if !first {
			a.release()
		}
		return Outcome{}, err
	}
	if err := a.swap(p); err != nil {
		return Outcome{}, a.takeBack(ctx, p, first, nil, []string{err.Error()})
	}
	if first {
		return outcome, a.finish(p)
	}
	err = a.takeUp(ctx, p, &outcome)
	return outcome, err
}

// takeUp lets the service take up what was swapped, and watches it.
func (a *Applier) takeUp(ctx context.Context, p *plan, outcome *Outcome) error {
	before, _ := a.service()
	ran, err := a.reload(ctx, p.journal.Reloads)
	outcome.Reloads = ran
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	if err != nil {
		return a.takeBack(ctx, p, false, before, []string{a.redact(p, err.Error())})
	}
	a.opts.Step("reload")
	a.opts.fault("reloaded")
	if reasons := a.settle(ctx, before, slices.Contains(ran, actionRestart)); len(reasons) > 0 {
		return a.takeBack(ctx, p, false, before, reasons)
	}
	if ctx.Err() != nil || a.stopping() {
		return ErrInterrupted
	}
	a.opts.Step("settle")
	a.opts.fault("settled")
	err = a.finish(p)
	a.release()
	return err
}

// prepare stages every change and checks them all.
func (a *Applier) prepare(ctx context.Context, p *plan) error {
	if err := a.stage(p); err != nil {
		return err
	}
	a.opts.Step("stage")
	a.opts.fault("staged")
	lines, err := a.checkAll(ctx, p)
	if err != nil {
		return err
	}
	if len(lines) > 0 {
		return &Rejected{lines}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	a.opts.Step("check")
	a.opts.fault("checked")
	return nil
}

// commit writes the journal: from now on a start finishes or undoes.
func (a *Applier) commit(p *plan) error {
	p.journal.Phase = phaseSwap
	if service, err := a.service(); err == nil && service.State == initctl.ServiceRunning {
		p.journal.Service = service.StartedAt
	}
	if !p.bare {
		err := a.keepOriginals(p)
		if p.journal.Records = p.records; err == nil {
			err = a.writeJournal(p.journal)
		}
		if err := a.orBare(p, err); err != nil {
			return err
		}
	}
	a.opts.fault("journaled")
	return nil
}

// orBare returns err, the trouble with keeping the way back, unless there is no service yet: one that waits for its
// files has nothing to be brought back to, and a full disk must not keep it from starting.
func (a *Applier) orBare(p *plan, err error) error {
	if err == nil || !p.mayLose {
		return err
	}
	if !p.bare {
		a.opts.Log.Warn().Err(err).Msg("the way back cannot be kept: this start goes on without one")
	}
	p.bare = true
	return nil
}

// discard removes what was staged; no target was changed.
func (a *Applier) discard(p *plan) {
	for i := range p.changes {
		a.unstage(&p.changes[i])
	}
	a.removeMade(p.journal.Made)
	a.removeJournal()
}

func (a *Applier) hold(ctx context.Context, p *plan) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	budget := time.Duration(len(p.journal.Reloads))*actionTimeout + a.opts.Settle + holdMargin
	return a.opts.Control.Hold(ctx, min(budget, initctl.MaxHold))
}

// release ends the hold. It has a context of its own: a hold must not outlive the transaction because the
// caller was told to stop.
func (a *Applier) release() {
	ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
	defer cancel()
	if err := a.opts.Control.Release(ctx); err != nil {
		a.opts.Log.Warn().Err(err).Msg("releasing the service; the hold ends by itself")
	}
}

// finish makes the new state of the targets the recorded one and forgets the journal.
func (a *Applier) finish(p *plan) error {
	if err := a.orBare(p, a.remember(p.records)); err != nil {
		return err
	}
	a.opts.fault("remembered")
	a.removeJournal()
	a.opts.fault("finished")
	return nil
}

// takeBack puts the old files back and the service on them, and returns the RolledBack.
func (a *Applier) takeBack(ctx context.Context, p *plan, first bool, before *initctl.ServiceState, reasons []string) error {
	if ctx.Err() != nil || a.stopping() {
		return ErrInterrupted
	}
	if !first {
		if err := a.hold(ctx, p); err != nil {
			a.opts.Log.Warn().Err(err).Msg("renewing the hold for the way back")
		}
	}
	reasons = append(reasons, a.undo(p.journal)...)
	if first {
		a.removeJournal()
		return &RolledBack{reasons}
	}
	if err := a.revive(ctx, p.journal, before); err != nil {
		reasons = append(reasons, "on the way back: "+a.redact(p, err.Error()))
	}
	a.removeJournal()
	a.release()
	return &RolledBack{reasons}
}

// revive lets the service take up the old files: by a restart when it died or was restarted on the new ones or
// cannot tell, else by the same actions.
func (a *Applier) revive(ctx context.Context, j *journal, before *initctl.ServiceState) error {
	now, err := a.service()
	died := err == nil && before != nil && (now.State == initctl.ServiceExited || !now.StartedAt.Equal(before.StartedAt))
	if died {
		ctx, cancel := context.WithTimeout(ctx, restartTimeout)
		defer cancel()
		return a.opts.Control.Restart(ctx)
	}
	_, err = a.reload(ctx, j.Reloads)
	return err
}

func (a *Applier) redact(p *plan, s string) string { return redact(s, p.redact) }

// minSecret is the shortest text that is taken for a secret: a shorter one stands everywhere.
const minSecret = 4

// redact takes the secrets out of s, also out of a command's output, where they stand without control characters.
func redact(s string, secrets []string) string {
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, "***")
		if shown := plain(secret); len(shown) >= minSecret {
			s = strings.ReplaceAll(s, shown, "***")
		}
	}
	return s
}
