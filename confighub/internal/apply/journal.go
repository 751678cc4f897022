// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/initctl"
)

// Phases of a journal.
const (
	// phaseStage: files are being staged, no target was changed.
	phaseStage = "stage"
	// phaseSwap: targets may have changed.
	phaseSwap = "swap"
)

// journal is a transaction under way.
type journal struct {
	Version bundle.Version  `json:"version"`
	Phase   string          `json:"phase"`
	Changes []change        `json:"changes"`
	Reloads []bundle.Action `json:"reloads,omitempty"`
	// Service is when the service that has the old files was started; zero when none was running. A later start is
	// told by being another one, since clocks are set.
	Service time.Time `json:"service,omitzero"`
	// Made lists directories made for targets.
	Made []string `json:"made,omitempty"`
	// Records as they are when the transaction is finished.
	Records records `json:"records,omitempty"`
}

const journalFile = "journal.json"

func (a *Applier) writeJournal(j *journal) error {
	raw, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	if err := atomicfile.Write(a.file(journalFile), raw, 0o600); err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	return nil
}

// removeJournal ends a transaction. A journal that stays would be judged again at the next start, by the
// targets, to the same end.
func (a *Applier) removeJournal() {
	if err := os.Remove(a.file(journalFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.opts.Log.Warn().Err(err).Msg("removing the journal")
	}
	os.RemoveAll(a.file("undo"))
}

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
// to be called if the service has not started since (Owed); else every target is put back.
func (a *Applier) Recover() (Recovery, error) {
	raw, err := os.ReadFile(a.file(journalFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Recovery{}, nil
	}
	var j journal
	if err == nil {
		err = json.Unmarshal(raw, &j)
	}
	if err != nil {
		return Recovery{}, fmt.Errorf("reading the journal: %w", err)
	}
	r := Recovery{Version: j.Version}
	for i := range j.Changes {
		a.open(&j.Changes[i])
	}
	defer func() {
		for _, c := range j.Changes {
			if c.dir != nil {
				c.dir.close()
			}
		}
	}()
	r.Finished = j.Phase == phaseSwap && a.allNew(&j)
	if !r.Finished {
		r.Lines = a.undo(&j)
		a.removeMade(j.Made)
		a.removeJournal()
		return r, nil
	}
	if err := a.remember(j.Records); err != nil {
		return r, err
	}
	service, err := a.service()
	r.Owed = err == nil && service.State == initctl.ServiceRunning && service.StartedAt.Equal(j.Service)
	if !r.Owed {
		a.removeJournal()
	}
	return r, nil
}

// Resume does for a finished and owed transaction what is left of it: reload, settle, or take back.
func (a *Applier) Resume(ctx context.Context) error {
	raw, err := os.ReadFile(a.file(journalFile))
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	p := &plan{journal: &journal{}}
	if err := json.Unmarshal(raw, p.journal); err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	p.changes = p.journal.Changes
	for i := range p.changes {
		a.open(&p.changes[i])
	}
	defer p.close()
	if err := a.hold(ctx, p); err != nil {
		return fmt.Errorf("holding the service: %w", err)
	}
	before, _ := a.service()
	ran, err := a.reload(ctx, p.journal.Reloads)
	if err != nil {
		return a.takeBack(ctx, p, false, before, []string{err.Error()})
	}
	if reasons := a.settle(ctx, before, len(ran) > 0 && ran[0] == actionRestart); len(reasons) > 0 {
		return a.takeBack(ctx, p, false, before, reasons)
	}
	if ctx.Err() != nil || a.stopping() {
		return ErrInterrupted
	}
	a.removeJournal()
	a.release()
	return nil
}

// open reaches the directory of a change read from the journal. One that is gone stays nil.
func (a *Applier) open(c *change) {
	if c.Env {
		return
	}
	d, err := openDir(path.Dir(c.Path), false, nil)
	if err != nil {
		a.opts.Log.Warn().Err(err).Str("target", c.Path).Msg("a target of the journal cannot be reached")
		return
	}
	c.dir = d
}

// allNew judges by the targets. The environment file is written anew at every start and does not count.
func (a *Applier) allNew(j *journal) bool {
	for _, c := range j.Changes {
		if c.Env {
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

// undo puts every target back that is not the old one, last first, and returns what could not be.
func (a *Applier) undo(j *journal) []string {
	var lines []string
	for i := len(j.Changes) - 1; i >= 0; i-- {
		c := &j.Changes[i]
		a.unstage(c)
		if j.Phase != phaseSwap {
			continue
		}
		if err := a.putBack(c); err != nil {
			lines = append(lines, "putting back "+c.Path+": "+err.Error())
		}
		a.opts.fault(fmt.Sprintf("undone-%d", i))
	}
	return lines
}

func (a *Applier) putBack(c *change) error {
	old := c.oldBytes // of a transaction read from its journal there are none
	var err error
	if c.Old.Exists && sum(old) != c.Old.Sum {
		if old, err = os.ReadFile(a.file("undo", c.Undo)); err != nil {
			return err
		}
	}
	if c.Env {
		return writeEnv(c.Path, old, c.Old.Exists)
	}
	if c.dir == nil {
		return errors.New("its directory cannot be reached")
	}
	name := path.Base(c.Path)
	now, _, err := c.dir.read(name)
	switch {
	case err != nil:
		return err
	case now == c.Old:
		return nil
	case c.InPlace && now.Exists:
		// It may be half written, so it is put back whatever it is.
		return c.dir.overwrite(name, old, c.Old.within(now))
	case !now.sameBytes(c.New):
		a.opts.Log.Warn().Str("target", c.Path).Msg("the target is neither the old nor the new file: somebody else's, left alone")
		return nil
	case !c.Old.Exists:
		return c.dir.remove(name)
	}
	staged := strings.TrimSuffix(stagedName(c.Path), path.Ext(name))
	if err := c.dir.write(staged, old, c.Old.within(c.New)); err != nil {
		return err
	}
	return c.dir.rename(staged, name)
}

// within is m with the owner of other, or of this process, for a uid that cannot give files away.
func (m meta) within(other meta) meta {
	if os.Geteuid() == 0 {
		return m
	}
	m.UID, m.GID = uint32(os.Geteuid()), uint32(os.Getegid())
	if other.Exists {
		m.UID, m.GID = other.UID, other.GID
	}
	return m
}
