// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/initctl"
)

// Recovery says what Recover found.
type Recovery struct {
	// Version of the transaction; zero when there was none.
	Version bundle.Version
	// Finished is true when all targets were new, false when they were put back.
	Finished bool
	// Owed is true when the finished targets still have to be taken up by the service.
	Owed bool
	// Lines say what could not be put back.
	Lines []string
}

// Recover ends a transaction that was cut off. When every target is the new one it stands, and Resume has yet
// to be called if the service has not started since (Owed); else every target is put back. A reload of the old files
// that the service needs then is owed (Applier.Owed). It is called once, before anything else.
func (a *Applier) Recover() (Recovery, error) {
	r, err := a.recover()
	if err == nil {
		a.sweep()
	}
	return r, err
}

func (a *Applier) recover() (Recovery, error) {
	j, err := a.readJournal()
	if err != nil {
		return Recovery{}, err
	}
	if j == nil {
		a.forgive()
		return Recovery{}, nil
	}
	r := Recovery{Version: j.Version}
	finished := j.ID != "" && j.ID == a.last
	r.Finished = finished || j.Phase != phaseStage && a.allNew(j)
	if !r.Finished {
		r.Lines = a.undoJournal(j)
		a.forgive()
		return r, nil
	}
	if !finished && (a.stands(j.Service) || a.diedOf(j)) {
		a.trial, a.why = j, "the transaction was cut off before the service had taken its files up"
		r.Owed = true
		return r, nil
	}
	a.forgive()
	return r, a.accept(j)
}

// diedOf reports whether the service was started with the new files of a journal, and is dead and held now.
func (a *Applier) diedOf(j *journal) bool {
	now, err := a.service()
	_, doubtful := a.inDoubt(j)
	return err == nil && doubtful && now.State == initctl.ServiceExited
}

// undoJournal puts the targets of a journal back, and forgets it.
func (a *Applier) undoJournal(j *journal) []string {
	lines, again := a.undo(j)
	if service, doubtful := a.inDoubt(j); doubtful {
		a.owe(j.Reloads, service, "the reload of the files that were put back was cut off")
	}
	a.endUndo(j, again)
	return lines
}

// inDoubt reports whether the service, which was started then, may have the new files of a journal: it was told
// of them, or was started with them, in this start of the container.
func (a *Applier) inDoubt(j *journal) (time.Time, bool) {
	state, err := initctl.ReadState(a.opts.RunDir)
	if err != nil || j.Phase != phaseReload || j.Service.IsZero() || state.Boot != j.Boot {
		return time.Time{}, false
	}
	return state.Service.StartedAt, a.stands(state.Service.StartedAt)
}

// adopt keeps the record true of a target that could not be put back: the new file is confighub's too.
func (a *Applier) adopt(j *journal) {
	changed := false
	for i := range j.Changes {
		c := &j.Changes[i]
		if c.dir == nil || c.Env || !c.New.Exists || c.Old.sameBytes(c.New) {
			continue
		}
		now, _, err := c.dir.read(path.Base(c.Path))
		r, known := a.targets[c.Path]
		if !known {
			r, known = j.Records[c.Path]
		}
		if known && err == nil && now.sameBytes(c.New) {
			r.Written = now
			a.targets[c.Path] = r
			changed = true
		}
	}
	if changed {
		a.unsaved = true
		if err := a.remember(a.targets, a.last); err != nil {
			a.opts.Log.Warn().Err(err).Msg("recording the targets")
		}
	}
}

// accept makes a transaction whose targets are all in place the last one.
func (a *Applier) accept(j *journal) error {
	a.unrecorded = j
	if err := a.remember(j.Records, j.ID); err != nil {
		return err
	}
	a.unrecorded = nil
	a.opts.fault(pointRemembered)
	for i := range j.Changes {
		a.tidy(&j.Changes[i])
	}
	a.opts.fault(pointTidied)
	a.removeJournal()
	a.opts.fault(pointFinished)
	j.close()
	return nil
}

// Resume does for a finished and owed transaction what is left of it: reload, settle, or take back. An error of
// ErrOwed means that the reload cannot be done yet either.
func (a *Applier) Resume(ctx context.Context) error {
	if a.trial == nil {
		return errors.New("there is no transaction to resume")
	}
	p := &plan{journal: a.trial, changes: a.trial.Changes, records: a.trial.Records, version: a.trial.Version}
	if err := a.hold(ctx, p); err != nil {
		return owedError(err)
	}
	now, err := a.service()
	if err == nil && now.State == initctl.ServiceExited && !a.stopping() {
		return a.takeBack(ctx, p, now, []string{died(now)})
	}
	a.trial = nil
	return a.takeUp(ctx, p, &Outcome{})
}

// allNew judges by the targets. The environment file is written anew at every start of the container and does
// not count in another one than that of the transaction.
func (a *Applier) allNew(j *journal) bool {
	for i := range j.Changes {
		c := &j.Changes[i]
		if c.Env {
			if now, err := readEnv(c.Path); j.Boot == a.boot() && (err != nil || now != c.New) {
				return false
			}
			continue
		}
		if c.dir == nil {
			return false
		}
		now, _, err := c.dir.read(path.Base(c.Path))
		if err != nil || now == c.Old || !now.sameBytes(c.New) {
			return false
		}
	}
	return true
}

// boot names the start of the container; "" without hubinit.
func (a *Applier) boot() string {
	state, err := initctl.ReadState(a.opts.RunDir)
	if err != nil {
		return ""
	}
	return state.Boot
}

// sweep removes what a killed process left behind under names that no journal has: halves of files of the state,
// and directories made for checks.
func (a *Applier) sweep() {
	places := []string{a.opts.Dir, a.opts.RunDir}
	if dir := a.knownSecretDir(); dir != "" {
		places = append(places, dir)
	}
	var patterns []string
	for _, place := range places {
		for _, name := range []string{journalFile, targetsFile, owedFile, tmpfsFile, envFile} {
			patterns = append(patterns, filepath.Join(place, "."+name+".*.tmp"))
		}
		for _, dir := range []string{undoDir, originalsDir, driftedDir} {
			patterns = append(patterns, filepath.Join(place, dir, ".*.tmp"))
		}
		patterns = append(patterns, filepath.Join(place, checkPrefix+"*"), filepath.Join(place, "."+checkPrefix+"*"))
	}
	for _, pattern := range patterns {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			if err := os.RemoveAll(name); err != nil {
				a.opts.Log.Warn().Err(err).Msg("a file of a cut off transaction stays behind")
			}
		}
	}
	if a.trial == nil && a.stuck == nil {
		a.clearUndo()
	}
	a.pruneOriginals()
}
