// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// stage writes every new file beside its target, after the journal says which names that takes.
func (a *Applier) stage(p *plan) error {
	if err := a.orBare(p, a.begin(p)); err != nil {
		return err
	}
	for i := range p.changes {
		c := &p.changes[i]
		if err := a.stageOne(p, c); err != nil {
			return targetError("staging", c.Path, err)
		}
	}
	a.opts.fault(pointStaged)
	return nil
}

// begin writes the journal's first form, and copies what cannot be moved aside.
func (a *Applier) begin(p *plan) error {
	p.journal.Phase, p.journal.Changes = phaseStage, p.changes
	var unnamed error
	for i := range p.changes {
		if c := &p.changes[i]; !c.Env && !c.InPlace {
			c.Staged, c.Aside = stagedNames(c.Path)
		} else if err := a.nameCopies(c, i); err != nil {
			unnamed = err
		}
	}
	if unnamed != nil {
		return unnamed
	}
	if err := a.writeJournal(p.journal); err != nil {
		return err
	}
	a.opts.fault(pointBegun)
	for i := range p.changes {
		if c := &p.changes[i]; c.Undo != "" {
			if err := a.copyOld(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// nameCopies chooses the names in undo/ of a change that is written in place.
func (a *Applier) nameCopies(c *change, number int) error {
	undo, err := a.keepDir(c.Secret, undoDir)
	if err != nil {
		return err
	}
	if c.Old.Exists {
		c.Undo = filepath.Join(undo, fmt.Sprintf("old-%d", number))
	}
	if c.InPlace && c.New.Exists {
		c.Staged = filepath.Join(undo, fmt.Sprintf("new-%d-%s", number, path.Base(c.Path)))
	}
	return nil
}

func (a *Applier) copyOld(c *change) error {
	if err := os.MkdirAll(filepath.Dir(c.Undo), 0o700); err != nil {
		return fmt.Errorf("keeping %s for the way back: %w", c.Path, err)
	}
	if err := a.disk.store(c.Undo, c.oldBytes); err != nil {
		return fmt.Errorf("keeping %s for the way back: %w", c.Path, err)
	}
	a.opts.fault(pointCopied)
	return nil
}

// stagedNames are those of the new file and, from the swap on, the old one. The new one's keeps the extension at
// its end, since checks go by it; the leading dot hides it from most globs. The old one's has none.
func stagedNames(target string) (staged, aside string) {
	base := path.Base(target)
	ext := path.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	stem = "." + stem[:min(len(stem), 100)] + ".hub-" + strings.ToLower(rand.Text()[:10])
	return stem + ext, stem + "-old"
}

func (a *Applier) stageOne(p *plan, c *change) error {
	switch {
	case c.Env, !c.New.Exists:
		return nil
	case c.InPlace:
		return a.stageCopy(p, c)
	case c.dir == nil:
		var made []string
		d, err := a.disk.open(path.Dir(c.Path), true, &made)
		for _, name := range made {
			if !slices.Contains(p.journal.Made, name) { // it was there when the plan was made
				p.journal.Made = append(p.journal.Made, name)
			}
		}
		if err != nil {
			return err
		}
		c.dir = d
		a.opts.fault(pointMade)
	}
	if err := c.dir.write(c.Staged, c.bytes, c.New); err != nil {
		return err
	}
	a.opts.fault(pointStagedOne)
	return nil
}

// stageCopy writes the new bytes of a file that is written in place, for its check.
func (a *Applier) stageCopy(p *plan, c *change) error {
	if !p.bare {
		err := os.MkdirAll(filepath.Dir(c.Staged), 0o700)
		if err == nil {
			err = a.disk.store(c.Staged, c.bytes)
		}
		if err := a.orBare(p, err); err != nil {
			return err
		}
	}
	if p.bare {
		c.Staged = filepath.Join(a.opts.RunDir, checkPrefix+path.Base(c.Path))
		return a.disk.storeVolatile(c.Staged, c.bytes)
	}
	return nil
}

// stagedPath is where a check finds the new file.
func (c *change) stagedPath() string {
	if c.InPlace {
		return c.Staged
	}
	return path.Join(path.Dir(c.Path), c.Staged)
}

// tidy removes what a change has beside its target, when the target is what it is to stay.
func (a *Applier) tidy(c *change) {
	if c.InPlace || c.Env {
		for _, name := range []string{c.Staged, c.Undo} {
			if name != "" {
				os.Remove(name)
			}
		}
		return
	}
	if c.dir == nil {
		return
	}
	for _, name := range []string{c.Staged, c.Aside} {
		if name == "" {
			continue
		}
		if err := c.dir.remove(name); err != nil {
			a.opts.Log.Warn().Err(err).Msg("a file stays behind")
		}
	}
}

// removeMade removes directories that were made for targets and are empty again, deepest first.
func (a *Applier) removeMade(made []string) {
	for i := len(made) - 1; i >= 0; i-- {
		d, err := a.disk.open(path.Dir(made[i]), false, nil)
		if err != nil {
			continue
		}
		d.removeEmpty(path.Base(made[i]))
		d.close()
	}
}

// errChanged is the kind of error for a target that somebody changed between plan and swap.
var errChanged = errors.New("was changed by somebody else meanwhile")
