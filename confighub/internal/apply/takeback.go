// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// putAllBack takes a transaction back that the service knows nothing of, because of the machine.
func (a *Applier) putAllBack(p *plan, err error) error {
	lines, again := a.undo(p.journal)
	a.endUndo(p.journal, again)
	a.releaseAfter(p)
	if lines != nil {
		return fmt.Errorf("%w; %s", err, strings.Join(lines, "; "))
	}
	return fmt.Errorf("%w: everything is put back", err)
}

// takeBack puts the old files back and the service on them, and returns the RolledBack.
func (a *Applier) takeBack(ctx context.Context, p *plan, before *initctl.ServiceState, reasons []string) error {
	a.trial = nil
	if ctx.Err() != nil || a.stopping() {
		return a.interrupted(p)
	}
	if err := a.hold(ctx, p); err != nil {
		a.opts.Log.Warn().Err(err).Msg("renewing the hold for the way back")
	}
	lines, again := a.undo(p.journal)
	reasons = slices.Concat(reasons, lines, a.revive(ctx, p, before))
	a.endUndo(p.journal, again)
	a.release()
	return &RolledBack{reasons}
}

// endUndo forgets a transaction that was undone. One of which something could not be put back yet stays in its journal
// and is tried again before the next one.
func (a *Applier) endUndo(j *journal, again bool) {
	if again {
		a.stuck = j
		return
	}
	a.stuck = nil
	a.adopt(j)
	a.removeJournal()
	a.pruneOriginals()
	j.close()
}

// unstick goes on with putting back what could not be.
func (a *Applier) unstick() error {
	j := a.stuck
	if j == nil {
		return nil
	}
	lines, again := a.undo(j)
	if service, doubtful := a.inDoubt(j); doubtful && !again {
		a.owe(j.Reloads, service, "some files were put back later than others")
	}
	a.endUndo(j, again)
	if again {
		return errors.New("an earlier generation is not put back yet: " + strings.Join(lines, "; "))
	}
	return nil
}

// revive lets the service take up the old files, and keeps what it could not be told.
func (a *Applier) revive(ctx context.Context, p *plan, before *initctl.ServiceState) []string {
	var started time.Time
	if before != nil {
		started = before.StartedAt
	}
	actions, err := a.tell(ctx, p.journal.Reloads, started)
	a.opts.fault(pointRevived)
	if err == nil {
		a.payWith(actions)
		return nil
	}
	why := "on the way back: " + a.hidden.redact(err.Error())
	if now, stateErr := a.service(); stateErr == nil && !errors.Is(err, initctl.ErrUnsupervised) {
		a.owe(actions, now.StartedAt, why)
	}
	return []string{why}
}

// changed reports whether the service is not the process that it was.
func (a *Applier) changed(before *initctl.ServiceState) bool {
	now, err := a.service()
	return err == nil && before != nil && (now.State != before.State || !now.StartedAt.Equal(before.StartedAt))
}
