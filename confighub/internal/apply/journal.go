// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
)

// Phases of a journal.
const (
	// phaseStage: files are being staged, no target was changed.
	phaseStage = "stage"
	// phaseSwap: targets may have changed, the service was told nothing.
	phaseSwap = "swap"
	// phaseReload: actions may have run on the new files.
	phaseReload = "reload"
)

// journal is a transaction under way. It holds no byte of any file.
type journal struct {
	// ID is of this transaction alone; targets.json names the last one that was finished.
	ID      string          `json:"id"`
	Version bundle.Version  `json:"version"`
	Phase   string          `json:"phase"`
	Changes []change        `json:"changes"`
	Reloads []bundle.Action `json:"reloads,omitempty"`
	// Service is when the service that has the old files was started; zero when none was running. A later start is
	// told by being another one, since clocks are set.
	Service time.Time `json:"service,omitzero"`
	// Boot is the start of the container that it belongs to.
	Boot string `json:"boot,omitempty"`
	// Made lists directories made for targets.
	Made []string `json:"made,omitempty"`
	// Records as they are when the transaction is finished.
	Records records `json:"records,omitempty"`
}

// Files in Options.Dir.
const (
	journalFile = "journal.json"
	targetsFile = "targets.json"
	owedFile    = "owed.json"
	tmpfsFile   = "tmpfs"
	// Directories, each of them in Options.Dir and, for what holds secrets, on a tmpfs.
	undoDir      = "undo"
	originalsDir = "originals"
	driftedDir   = "drifted"
	// checkPrefix begins the names of what is made for checks.
	checkPrefix = "confighub-check-"
)

func (a *Applier) writeJournal(j *journal) error {
	raw, err := json.Marshal(j)
	if err == nil {
		err = a.disk.store(a.file(journalFile), raw)
	}
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	return nil
}

// readJournal returns nil when there is none.
func (a *Applier) readJournal() (*journal, error) {
	raw, err := os.ReadFile(a.file(journalFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	j := new(journal)
	if err == nil {
		err = json.Unmarshal(raw, j)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the journal: %w", err)
	}
	for i := range j.Changes {
		a.reopen(&j.Changes[i])
	}
	return j, nil
}

// reopen reaches the directory of a change read from the journal. One that is gone stays nil.
func (a *Applier) reopen(c *change) {
	if c.Env {
		return
	}
	d, err := a.disk.open(path.Dir(c.Path), false, nil)
	if err != nil {
		if c.Old.Exists {
			a.opts.Log.Warn().Err(err).Str("target", c.Path).Msg("a target of the journal cannot be reached")
		}
		return
	}
	c.dir = d
}

func (j *journal) close() {
	for i := range j.Changes {
		if c := &j.Changes[i]; c.dir != nil {
			c.dir.close()
			c.dir = nil
		}
	}
}

// removeJournal ends a transaction. A journal that stays would be judged again at the next start, by the
// targets, to the same end.
func (a *Applier) removeJournal() {
	if err := os.Remove(a.file(journalFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.opts.Log.Warn().Err(err).Msg("removing the journal")
	}
	a.opts.fault(pointForgotten)
	a.clearUndo()
}
