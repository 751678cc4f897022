// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// swap puts every new file in its place.
func (a *Applier) swap(p *plan) error {
	for i := range p.changes {
		c := &p.changes[i]
		if err := a.swapOne(p, c, i); err != nil {
			return targetError("target", c.Path, err)
		}
		a.opts.fault(pointSwappedOne)
	}
	a.opts.Step("swap")
	a.opts.fault(pointSwapped)
	return nil
}

func (a *Applier) swapOne(p *plan, c *change, number int) error {
	name := path.Base(c.Path)
	switch {
	case c.Env:
		a.opts.fault(pointFiles)
		return a.writeEnv(c.Path, c.bytes, c.New.Exists)
	case c.InPlace:
		return a.overwrite(c, c.bytes, c.New)
	}
	err := a.rename(c, name)
	if errors.Is(err, errBusy) {
		return a.swapBusy(p, c, number)
	}
	return err
}

// rename moves the old file aside and the new one into its place, in one step where both exist. The old one stays
// beside the target until the transaction is over, so that the way back needs neither room nor a copy.
func (a *Applier) rename(c *change, name string) error {
	var err error
	switch {
	case !c.Old.Exists:
		if err = c.dir.move(c.Staged, name); errors.Is(err, unix.EEXIST) {
			return errChanged
		}
	case !c.New.Exists:
		if err = c.dir.move(name, c.Aside); err == nil {
			err = a.sameAside(c, c.Aside, func() error { return c.dir.move(c.Aside, name) })
		}
	default:
		err = a.renameOver(c, name)
	}
	if err != nil {
		return err
	}
	return c.dir.sync()
}

func (a *Applier) renameOver(c *change, name string) error {
	err := c.dir.exchange(c.Staged, name)
	if errors.Is(err, errNoExchange) {
		return busy(a.renameOverCopied(c, name))
	}
	if err != nil {
		return busy(err)
	}
	a.opts.fault(pointExchanged)
	if err := a.sameAside(c, c.Staged, func() error { return c.dir.exchange(c.Staged, name) }); err != nil {
		return err
	}
	return c.dir.move(c.Staged, c.Aside)
}

// renameOverCopied is for a file system that cannot exchange: the old file is copied before.
func (a *Applier) renameOverCopied(c *change, name string) error {
	if err := c.dir.write(c.Aside, c.oldBytes, c.Old.within(c.New)); err != nil {
		return err
	}
	now, _, err := c.dir.read(name)
	if err != nil || !now.sameBytes(c.Old) {
		return errChanged
	}
	return c.dir.replace(c.Staged, name)
}

// busy marks the error of a rename over a mount point.
func busy(err error) error {
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: %w", errBusy, err)
	}
	return err
}

// errBusy: something is mounted there, though it was not when the plan was made.
var errBusy = errors.New("is mounted")

// sameAside makes sure that what was moved aside is what the plan saw, and not what somebody put there since.
func (a *Applier) sameAside(c *change, aside string, back func() error) error {
	now, _, err := c.dir.read(aside)
	if err == nil && now.sameBytes(c.Old) {
		return nil
	}
	if err := back(); err != nil {
		return fmt.Errorf("%w, and cannot be put back: %w", errChanged, err)
	}
	return errChanged
}

// swapBusy writes a target in place that was mounted since the plan was made.
func (a *Applier) swapBusy(p *plan, c *change, number int) error {
	in := *c
	var err error
	if in.Old, in.oldBytes, err = c.dir.read(path.Base(c.Path)); err != nil {
		return err
	}
	in.InPlace = true
	if !p.bare {
		if err := a.nameCopies(&in, number); err != nil {
			return err
		}
		if err := a.copyOld(&in); err != nil {
			return err
		}
	}
	for _, name := range []string{c.Aside, c.Staged} {
		if err := c.dir.remove(name); err != nil {
			return err
		}
	}
	in.Staged, in.Aside = "", ""
	*c = in
	if !p.bare {
		if err := a.writeJournal(p.journal); err != nil {
			return err
		}
	}
	return a.overwrite(c, c.bytes, c.New)
}

func (a *Applier) overwrite(c *change, data []byte, m meta) error {
	return c.dir.overwrite(path.Base(c.Path), data, m, func() { a.opts.fault(pointTruncated) })
}

func (a *Applier) writeEnv(name string, data []byte, exists bool) error {
	if exists {
		return a.disk.storeVolatile(name, data)
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// undo puts every target back that is not the old one, last first. It returns what could not be put back, and whether
// it may be later.
func (a *Applier) undo(j *journal) (lines []string, again bool) {
	for i := len(j.Changes) - 1; i >= 0; i-- {
		c := &j.Changes[i]
		var err error
		if j.Phase != phaseStage {
			err = a.putBack(c)
		}
		if err != nil {
			lines = append(lines, advised(targetError("putting back", c.Path, err)).Error())
		}
		if err != nil && !errors.Is(err, errGone) && !errors.Is(err, errType) {
			again = true
			continue
		}
		a.tidy(c)
		a.opts.fault(pointReturned)
	}
	a.removeMade(j.Made)
	a.opts.fault(pointUndone)
	return lines, again
}

func (a *Applier) putBack(c *change) error {
	if c.Env {
		return a.putBackEnv(c)
	}
	if c.dir == nil {
		if !c.Old.Exists {
			return nil // there is nothing to take away
		}
		return errGone
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
		old, err := c.undoBytes()
		if err != nil {
			return err
		}
		return a.overwrite(c, old, c.Old.within(now))
	case !now.sameBytes(c.New):
		a.opts.Log.Warn().Str("target", c.Path).Msg("the target is neither the old nor the new file: somebody else's, left alone")
		return nil
	case !c.Old.Exists:
		err = c.dir.remove(name)
	case !now.Exists:
		if err = c.dir.move(c.Aside, name); errors.Is(err, unix.ENOENT) {
			err = errGone
		}
	default:
		err = a.renameBack(c, name)
	}
	if err != nil {
		return err
	}
	return c.dir.sync()
}

// renameBack lets the old file take the new one's place again. A crash may have left it under its first name.
func (a *Applier) renameBack(c *change, name string) error {
	for _, aside := range []string{c.Aside, c.Staged} {
		old, _, err := c.dir.read(aside)
		if err == nil && old.sameBytes(c.Old) && (aside == c.Aside || old.Mode == c.Old.Mode) {
			return c.dir.replace(aside, name)
		}
	}
	return errGone
}

// errGone: the copy did not outlive a container, or somebody removed it.
var errGone = errors.New("the file that was there before is gone, until the configuration is put in place again")

func (a *Applier) putBackEnv(c *change) error {
	now, err := readEnv(c.Path)
	if err != nil {
		return err
	}
	if now == c.Old {
		return nil
	}
	old, err := c.undoBytes()
	if err != nil {
		return err
	}
	return a.writeEnv(c.Path, old, c.Old.Exists)
}

// undoBytes is what stood in a file that was written in place. What was kept on a tmpfs is gone when the container
// was restarted.
func (c *change) undoBytes() ([]byte, error) {
	if !c.Old.Exists || sum(c.oldBytes) == c.Old.Sum {
		return c.oldBytes, nil
	}
	old, err := os.ReadFile(c.Undo)
	if err == nil && sum(old) != c.Old.Sum {
		err = errors.New("the copy is damaged")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errGone, err)
	}
	return old, nil
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
