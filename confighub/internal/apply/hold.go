// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/initctl"
)

// hold keeps an exit of the service from being the container's.
func (a *Applier) hold(ctx context.Context, p *plan) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	return a.opts.Control.Hold(ctx, a.holdBudget(p.journal.Reloads))
}

func (a *Applier) holdBudget(actions []bundle.Action) time.Duration {
	return min(time.Duration(len(actions))*actionTimeout+a.opts.Settle+holdMargin, initctl.MaxHold)
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

func (a *Applier) releaseAfter(p *plan) {
	if !p.first {
		a.release()
	}
}
