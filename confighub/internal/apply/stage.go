// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"cloud4.internal/hub/internal/atomicfile"
)

// stage keeps what the targets are now, and writes every new file beside its target.
func (a *Applier) stage(p *plan) error {
	if err := a.orBare(p, a.keepUndo(p)); err != nil {
		return err
	}
	for i := range p.changes {
		if err := a.stageOne(p, &p.changes[i]); err != nil {
			return err
		}
	}
	return nil
}

// keepUndo writes the journal's first form, which names what is about to be staged, and the old files into undo/.
func (a *Applier) keepUndo(p *plan) error {
	for i := range p.changes {
		c := &p.changes[i]
		c.Undo = fmt.Sprintf("old-%d", i)
		switch {
		case c.Env || !c.New.Exists:
		case c.InPlace:
			c.Staged = a.file("undo", fmt.Sprintf("new-%d-%s", i, path.Base(c.Path)))
		default:
			c.Staged = stagedName(c.Path)
		}
	}
	p.journal.Phase = phaseStage
	p.journal.Changes = p.changes
	undo := a.file("undo")
	if err := os.RemoveAll(undo); err != nil {
		return fmt.Errorf("clearing %s: %w", undo, err)
	}
	if err := os.MkdirAll(undo, 0o700); err != nil {
		return fmt.Errorf("making %s: %w", undo, err)
	}
	if err := a.writeJournal(p.journal); err != nil {
		return err
	}
	for _, c := range p.changes {
		if !c.Old.Exists {
			continue
		}
		if err := atomicfile.Write(a.file("undo", c.Undo), c.oldBytes, 0o600); err != nil {
			return fmt.Errorf("keeping %s for the way back: %w", c.Path, err)
		}
	}
	return nil
}

// stagedName keeps the extension at the end, since checks go by it; the leading dot hides it from most globs.
func stagedName(target string) string {
	base := path.Base(target)
	ext := path.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	return "." + stem[:min(len(stem), 100)] + ".hub-" + strings.ToLower(rand.Text()[:10]) + ext
}

func (a *Applier) stageOne(p *plan, c *change) error {
	if c.Staged == "" {
		return nil
	}
	if c.InPlace {
		err := error(nil)
		if !p.bare {
			err = a.orBare(p, atomicfile.Write(c.Staged, c.bytes, 0o600))
		}
		if p.bare {
			c.Staged = filepath.Join(a.opts.RunDir, "check-"+path.Base(c.Staged))
			err = atomicfile.WriteVolatile(c.Staged, c.bytes, 0o600)
		}
		return err
	}
	if err := c.dir.write(c.Staged, c.bytes, c.New); err != nil {
		return fmt.Errorf("staging %s: %w", c.Path, err)
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

// unstage removes a staged file.
func (a *Applier) unstage(c *change) {
	switch {
	case c.Staged == "":
	case c.InPlace:
		os.Remove(c.Staged)
	case c.dir != nil:
		if err := c.dir.remove(c.Staged); err != nil {
			a.opts.Log.Warn().Err(err).Msg("a staged file stays behind")
		}
	}
}

// swap puts every new file in its place.
func (a *Applier) swap(p *plan) error {
	for i := range p.changes {
		if err := a.swapOne(&p.changes[i]); err != nil {
			return fmt.Errorf("target %s: %w", p.changes[i].Path, err)
		}
		a.opts.fault(fmt.Sprintf("swapped-%d", i))
	}
	a.opts.Step("swap")
	a.opts.fault("swapped")
	return nil
}

func (a *Applier) swapOne(c *change) error {
	name := path.Base(c.Path)
	switch {
	case c.Env:
		return writeEnv(c.Path, c.bytes, c.New.Exists)
	case c.InPlace && c.New.Exists:
		return c.dir.overwrite(name, c.bytes, c.New)
	case c.InPlace:
		return errors.New("is mounted into the container and cannot be removed")
	case !c.New.Exists:
		return c.dir.remove(name)
	}
	err := c.dir.rename(c.Staged, name)
	if errors.Is(err, unix.EBUSY) {
		// Mounted since the plan was made. The journal knows the old bytes, so this too can be undone.
		c.dir.remove(c.Staged)
		return c.dir.overwrite(name, c.bytes, c.New)
	}
	return err
}

func writeEnv(name string, data []byte, exists bool) error {
	if exists {
		return atomicfile.WriteVolatile(name, data, 0o600)
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// removeMade removes directories that were made for targets and are empty again, deepest first.
func (a *Applier) removeMade(made []string) {
	for i := len(made) - 1; i >= 0; i-- {
		d, err := openDir(path.Dir(made[i]), false, nil)
		if err != nil {
			continue
		}
		as(d.uid, d.gid, func() error { return unix.Unlinkat(d.fd, path.Base(made[i]), unix.AT_REMOVEDIR) })
		d.close()
	}
}
