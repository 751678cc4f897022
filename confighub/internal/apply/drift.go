// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Drift is one way in which a target is not what was written there last.
type Drift struct {
	// Target is its path.
	Target string
	// What differs: "content", "mode", "owner", "missing", or "type" for what is no regular file or is no longer
	// reached without a link.
	What string
	// Detail says it for people, without any content.
	Detail string
}

// Values of Drift.What.
const (
	driftContent = "content"
	driftMode    = "mode"
	driftOwner   = "owner"
	driftMissing = "missing"
	driftType    = "type"
)

// Policies of drift, Options.DriftPolicy.
const (
	DriftReport = "report"
	DriftRepair = "repair"
	DriftKeep   = "keep"
)

// Drift compares every target with what was written there last. A target that is to be written once and the
// environment do not count; nor, under DriftKeep, one that is kept as it is (Kept). It costs a look at each directory;
// a file is read again only when its inode says that it was written since. It follows no link and waits for nobody.
func (a *Applier) Drift() []Drift {
	drifts, _ := a.drifts()
	return drifts
}

// Kept is the drift that stays, under DriftKeep: everything but what is missing.
func (a *Applier) Kept() []Drift {
	_, kept := a.drifts()
	return kept
}

func (a *Applier) drifts() (drifts, kept []Drift) {
	written := a.written()
	for _, target := range slices.Sorted(maps.Keys(written)) {
		if written[target].Once {
			continue
		}
		for _, drift := range a.driftOf(target, written[target].Written) {
			if a.opts.DriftPolicy == DriftKeep && drift.What != driftMissing {
				kept = append(kept, drift)
			} else {
				drifts = append(drifts, drift)
			}
		}
	}
	maps.DeleteFunc(a.looks, func(target string, _ look) bool { _, ok := written[target]; return !ok })
	return drifts, kept
}

// look is what a target was when it was read last.
type look struct {
	stat unix.Stat_t
	sum  string
}

// settled is how old a change must be for a look at the inode to tell of the next one: times are kept in ticks.
const settled = 2 * time.Second

func (a *Applier) driftOf(target string, written meta) []Drift {
	one := func(what, format string, args ...any) Drift {
		return Drift{Target: target, What: what, Detail: fmt.Sprintf(format, args...)}
	}
	d, err := a.disk.open(path.Dir(target), false, nil)
	switch {
	case errors.Is(err, unix.ENOENT):
		return []Drift{one(driftMissing, "%v", err)}
	case err != nil:
		return []Drift{one(driftType, "%v", err)}
	}
	defer d.close()
	name := path.Base(target)
	stat, err := d.stat(name)
	switch {
	case errors.Is(err, unix.ENOENT):
		return []Drift{one(driftMissing, "%s is gone", target)}
	case err != nil:
		return []Drift{one(driftType, "%v", err)}
	}
	var drifts []Drift
	sum, err := a.sumOf(d, target, stat)
	if err != nil {
		drifts = append(drifts, one(driftContent, "%v", err))
	} else if sum != written.Sum {
		drifts = append(drifts, one(driftContent, "its %d bytes are not those that were written", stat.Size))
	}
	if mode := stat.Mode & 0o7777; mode != written.Mode {
		drifts = append(drifts, one(driftMode, "its mode is %04o, was written as %04o", mode, written.Mode))
	}
	if stat.Uid != written.UID || stat.Gid != written.GID {
		drifts = append(drifts, one(driftOwner, "belongs to %d:%d, was written for %d:%d", stat.Uid, stat.Gid, written.UID, written.GID))
	}
	return drifts
}

// sumOf reads a file unless its inode says that it is the one read before.
func (a *Applier) sumOf(d *dir, target string, stat unix.Stat_t) (string, error) {
	if known, ok := a.looks[target]; ok && sameInode(known.stat, stat) {
		return known.sum, nil
	}
	begin := time.Now()
	delete(a.looks, target)
	now, _, err := d.read(path.Base(target))
	if err != nil {
		return "", err
	}
	if age := begin.Sub(time.Unix(stat.Ctim.Unix())); age > settled {
		a.looks[target] = look{stat, now.Sum}
	}
	return now.Sum, nil
}

// sameInode reports whether nothing was done to a file between two looks. Its change time cannot be set.
func sameInode(a, b unix.Stat_t) bool {
	return a.Dev == b.Dev && a.Ino == b.Ino && a.Size == b.Size && a.Mtim == b.Mtim && a.Ctim == b.Ctim
}
