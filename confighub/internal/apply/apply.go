// SPDX-License-Identifier: AGPL-3.0-or-later

// Package apply puts a rendered generation in place as one transaction, and takes it back whole when it does
// not work:
//
//	plan → stage → check all → hold → journal → swap all → reload once per distinct action → settle → release, confirm
//
// Until the swap a failure changes nothing (Rejected for what the bundle did wrong, any other error for what
// the machine did). From the swap on a failure puts every target back, lets the service take the old files up
// again, restarts it in the same container when it died meanwhile, and is a RolledBack. When it was the machine
// that failed before the service was told anything, it is an error like any other: the generation may be tried again.
// A target that cannot be put back at that moment, as on a disk that became read-only, is put back before anything else.
//
// A reload that cannot take place, since hubinit does not answer or the command cannot be started, says nothing of
// the files: it stays owed (ErrOwed, Applier.Owed), as does one that fails on the way back, until it succeeds or the
// service starts anew.
//
// What is kept, all of it in Options.Dir:
//
//	targets.json   what confighub wrote where: digest, mode, owner, and the file that was there before
//	originals/     those files, by digest
//	drifted/       the last ten that somebody wrote over a target, by digest
//	journal.json   a transaction under way; undo/ holds copies of targets that are written in place
//	owed.json      what the service has yet to be told of files that were put back
//	tmpfs          the name of a directory on a tmpfs, where all of these copies are when they hold secrets
//
// The journal is on the disk before the first target changes. Recover, at the next start, judges by reading the
// targets: when all are new the transaction is finished, else undone. A file that is neither the old nor the new
// one belongs to somebody else and is left alone.
//
// Targets are reached directory by directory without following a link (openat with O_NOFOLLOW). The new file is
// written beside its target and exchanged with it (renameat2(2), RENAME_EXCHANGE); the old one stays there, hidden,
// until the transaction is over, so that the way back needs no room and no copy. In a directory of another uid all of
// that is done with that uid's rights (setfsuid(2)). A target that is a mount point of its own cannot be renamed: it
// is written in place, and what it was is copied before.
//
// To find one's way: apply.go has the transaction, plan.go what it is about, stage.go and swap.go what it does to
// files, check.go and reload.go to commands, takeback.go the way back, recover.go and owed.go what is left for later,
// record.go, drift.go and secret.go what is known and kept of targets, dir.go and write.go the system calls.
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
	// DriftPolicy says what becomes of a target that was changed by hand when a generation is applied: DriftReport
	// (default) and DriftRepair write over it and keep what stood there in drifted/, DriftKeep leaves it.
	DriftPolicy string
	// Step is called when a step of a transaction is done; nil: nothing. It is for tracing.
	Step func(name string)

	// For tests: fault is called at each named point of a transaction, inject before each write; with volatile none is
	// forced to the disk; shm is the place of shared memory.
	fault    func(point)
	inject   func(op operation, name string) error
	volatile bool
	shm      string
}

// Applier applies generations, one at a time. It is not for several goroutines at once.
type Applier struct {
	opts Options
	disk disk
	// targets are the records of the last finished transaction, and last is its ID.
	targets records
	last    string
	// trial is a transaction in place that the service could not be told of yet, and why.
	trial *journal
	why   string
	// stuck is a transaction that could not be put back whole yet.
	stuck *journal
	// unrecorded is a transaction that is over and that targets.json could not be given.
	unrecorded *journal
	// debt is what the service still has to be told of files that were put back; nil: nothing.
	debt *debt
	// hidden is what no error may show.
	hidden hidden
	// warned: that there is no tmpfs was said.
	warned bool
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
		o.fault = func(point) {}
	}
	if o.shm == "" {
		o.shm = sharedMemory
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		o.Log.Warn().Err(err).Msg("making the state directory")
	}
	a := &Applier{opts: o, disk: disk{o.inject, o.volatile}, looks: map[string]look{}}
	l, err := readLedger(a.file(targetsFile))
	if err != nil {
		// The record serves removal, restoring and drift alone; a broken one must not keep the service from its files.
		o.Log.Warn().Err(err).Msg("the record of written targets is unreadable and begun anew")
	}
	a.targets, a.last = l.Targets, l.Transaction
	a.debt = a.readDebt()
	return a
}

func (a *Applier) file(parts ...string) string {
	return filepath.Join(append([]string{a.opts.Dir}, parts...)...)
}

// Apply makes the targets what g says. With first there is no service yet: nothing is held, reloaded or settled, and
// where the way back cannot be kept, as on a full disk, it goes on without.
//
// An ErrOwed says that g is in place and that the service could not be told: Apply of the same generation, like
// RetryOwed, goes on from there, and Apply of another one takes g back first.
func (a *Applier) Apply(ctx context.Context, g Generation, first bool) (Outcome, error) {
	a.hidden.add(g.Output.Redact)
	outcome, err := a.apply(ctx, g, first)
	return outcome, advised(err)
}

func (a *Applier) apply(ctx context.Context, g Generation, first bool) (Outcome, error) {
	if lines := a.opts.Policy.judge(g.Output); len(lines) > 0 {
		return Outcome{}, &Rejected{lines}
	}
	if err := a.unstick(); err != nil {
		return Outcome{}, err
	}
	if a.unrecorded != nil {
		if err := a.accept(a.unrecorded); err != nil {
			return Outcome{}, err
		}
	}
	if same, err := a.endTrial(g, first); err != nil {
		return Outcome{}, err
	} else if same {
		return Outcome{}, a.Resume(ctx)
	}
	p, err := a.plan(g, a.targets)
	if err != nil {
		return Outcome{}, err
	}
	defer func() {
		if a.trial != p.journal && a.unrecorded != p.journal && a.stuck != p.journal {
			p.close()
		}
	}()
	p.first = first
	if len(p.changes) == 0 {
		err := a.keepOriginals(p)
		if err == nil {
			err = a.remember(p.records, a.last)
		}
		return Outcome{}, a.orBare(p, err)
	}
	if err := a.prepare(ctx, p); err != nil {
		a.discard(p)
		return Outcome{}, err
	}
	if err := a.commit(ctx, p); err != nil {
		a.discard(p)
		return Outcome{}, err
	}
	outcome := Outcome{Changed: p.paths()}
	if err := a.swap(p); err != nil {
		return Outcome{}, a.putAllBack(p, err)
	}
	if first {
		a.pay() // the service starts with these files
		return outcome, a.finish(p)
	}
	err = a.takeUp(ctx, p, &outcome)
	return outcome, err
}

// endTrial ends the trial of a generation that the service could not be told of, since another one comes: it is
// taken back, or stands if the service was started with it. The same one goes on.
func (a *Applier) endTrial(g Generation, first bool) (same bool, err error) {
	j := a.trial
	if j == nil {
		return false, nil
	}
	if first || !a.stands(j.Service) && !a.diedOf(j) {
		a.trial = nil
		return false, a.accept(j)
	}
	p, err := a.plan(g, j.Records)
	if err != nil {
		return false, err
	}
	p.close()
	if g.Version == j.Version && len(p.changes) == 0 {
		return true, nil
	}
	a.trial = nil
	a.opts.Log.Warn().Stringer("version", j.Version).Strs("left", a.undoJournal(j)).
		Msg("the service was never told of this version: it is taken back before the next one")
	return false, nil
}

// takeUp lets the service take up what was swapped, and watches it.
func (a *Applier) takeUp(ctx context.Context, p *plan, outcome *Outcome) error {
	before, _ := a.service()
	if len(p.journal.Reloads) > 0 && p.journal.Phase != phaseReload {
		p.journal.Phase = phaseReload
		if err := a.writeJournal(p.journal); err != nil {
			p.journal.Phase = phaseSwap
			return a.putAllBack(p, err)
		}
		a.opts.fault(pointReloading)
	}
	ran, err := a.reload(ctx, p.journal.Reloads)
	outcome.Reloads = ran
	if ctx.Err() != nil {
		return a.interrupted(p)
	}
	if _, cannot := errors.AsType[*unperformed](err); cannot && !a.changed(before) {
		a.trial, a.why = p.journal, a.hidden.redact(err.Error())
		a.release()
		return owedError(errors.New(a.why))
	}
	if err != nil {
		return a.takeBack(ctx, p, before, []string{a.hidden.redact(err.Error())})
	}
	a.opts.Step("reload")
	a.opts.fault(pointReloaded)
	if reasons := a.settle(ctx, before, slices.Contains(ran, actionRestart)); len(reasons) > 0 {
		for i, reason := range reasons { // healthhub quotes what its checks were answered
			reasons[i] = a.hidden.redact(reason)
		}
		return a.takeBack(ctx, p, before, reasons)
	}
	if ctx.Err() != nil || a.stopping() {
		return a.interrupted(p)
	}
	a.opts.Step("settle")
	a.opts.fault(pointSettled)
	a.payWith(p.journal.Reloads)
	err = a.finish(p)
	a.release()
	return err
}

// interrupted leaves the transaction to the next start.
func (a *Applier) interrupted(p *plan) error {
	a.trial, a.why = p.journal, ErrInterrupted.Error()
	return ErrInterrupted
}

// prepare stages every change and checks them all.
func (a *Applier) prepare(ctx context.Context, p *plan) error {
	if err := a.stage(p); err != nil {
		return err
	}
	a.opts.Step("stage")
	lines, err := a.checkAll(ctx, p)
	if err == nil {
		err = ctx.Err() // a check that was cut off says nothing
	}
	if err != nil {
		return err
	}
	if len(lines) > 0 {
		return &Rejected{lines}
	}
	a.opts.Step("check")
	a.opts.fault(pointChecked)
	return nil
}

// commit holds the service and writes the journal: from now on a start finishes or undoes.
func (a *Applier) commit(ctx context.Context, p *plan) error {
	if !p.first {
		if err := a.hold(ctx, p); err != nil {
			return fmt.Errorf("holding the service: %w", err)
		}
		a.opts.fault(pointHeld)
	}
	p.journal.Phase = phaseSwap
	if service, err := a.service(); err == nil && service.State == initctl.ServiceRunning {
		p.journal.Service = service.StartedAt
	}
	if p.bare {
		return nil
	}
	err := a.keepOriginals(p)
	if err == nil {
		err = a.writeJournal(p.journal)
	}
	if err := a.orBare(p, err); err != nil {
		a.releaseAfter(p)
		return err
	}
	a.opts.fault(pointJournaled)
	return nil
}

// orBare returns err, the trouble with keeping the way back, unless there is no service yet: one that waits for its
// files has nothing to be brought back to, and a full disk must not keep it from starting.
func (a *Applier) orBare(p *plan, err error) error {
	if err == nil || !p.first {
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
		a.tidy(&p.changes[i])
	}
	a.removeMade(p.journal.Made)
	a.removeJournal()
	a.pruneOriginals()
}

// finish makes the new state of the targets the recorded one and forgets the journal.
func (a *Applier) finish(p *plan) error {
	err := a.accept(p.journal)
	if err != nil && a.orBare(p, err) == nil {
		a.discard(p)
		return nil
	}
	return err
}
