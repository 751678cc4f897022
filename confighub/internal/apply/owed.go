// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/initctl"
)

// ErrOwed means that the targets are in place and the service has yet to be told, which could not be done:
// RetryOwed tries it again.
var ErrOwed = errors.New("the service has yet to take its files up")

func owedError(err error) error { return fmt.Errorf("%w: %w", ErrOwed, err) }

// debt is what the service still has to be told of files that were put back.
type debt struct {
	Actions []bundle.Action `json:"actions"`
	// Service is when the service was started that has to be told. Another one read the files itself.
	Service time.Time `json:"service"`
	// Why it could not be told.
	Why string `json:"why"`
}

// unperformed is an action that did not take place: hubinit does not answer, or the command cannot be started.
type unperformed struct{ err error }

// Error is why.
func (e *unperformed) Error() string { return e.err.Error() }

// Unwrap returns why.
func (e *unperformed) Unwrap() error { return e.err }

// Owed reports whether the service has yet to take up what is in place: a new generation that it could not be
// told of, or the files that one was taken back to, some of which may not even be back yet. While it is true RetryOwed
// is to be called, with growing pauses.
func (a *Applier) Owed() bool {
	a.forgive()
	return a.trial != nil || a.debt != nil || a.stuck != nil
}

// OwedReason says why something is owed; "" when nothing is.
func (a *Applier) OwedReason() string {
	switch {
	case a.debt != nil:
		return a.debt.Why
	case a.trial != nil:
		return a.why
	case a.stuck != nil:
		return "not every target of an earlier generation could be put back"
	}
	return ""
}

// RetryOwed tells the service. On nil nothing is owed any more: the generation that Apply left owed (ErrOwed) is in
// place and confirmed. A RolledBack is that generation taken back. Any other error leaves it owed.
func (a *Applier) RetryOwed(ctx context.Context) error {
	if err := a.unstick(); err != nil {
		return owedError(err)
	}
	a.forgive()
	if j := a.trial; j != nil {
		if a.stands(j.Service) || a.diedOf(j) {
			return a.Resume(ctx)
		}
		// Started anew, it has read the new files.
		a.trial = nil
		return a.accept(j)
	}
	if a.debt == nil {
		return nil
	}
	hold, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	if err := a.opts.Control.Hold(hold, a.holdBudget(a.debt.Actions)); err != nil {
		return owedError(err)
	}
	defer a.release()
	if _, err := a.tell(ctx, a.debt.Actions, a.debt.Service); err != nil {
		if why := err.Error(); why != a.debt.Why {
			a.keepDebt(&debt{Actions: a.debt.Actions, Service: a.debt.Service, Why: why})
		}
		return owedError(err)
	}
	a.pay()
	return nil
}

// tell lets the service take up the files that are in place: by a restart when it died on others, else by the
// actions. It returns what it did.
func (a *Applier) tell(ctx context.Context, actions []bundle.Action, started time.Time) ([]bundle.Action, error) {
	now, err := a.service()
	if err == nil && !started.IsZero() && (now.State == initctl.ServiceExited || !now.StartedAt.Equal(started)) {
		ctx, cancel := context.WithTimeout(ctx, restartTimeout)
		defer cancel()
		return []bundle.Action{{Name: actionRestart}}, a.opts.Control.Restart(ctx)
	}
	_, err = a.reload(ctx, actions)
	return actions, err
}

// stands reports whether the service that was started then is still the one to be told: it has not been started
// anew, and is not about to end with its container.
func (a *Applier) stands(started time.Time) bool {
	state, err := initctl.ReadState(a.opts.RunDir)
	return err == nil && !started.IsZero() && !toldToStop(state) && state.Service.State != initctl.ServiceWaiting &&
		state.Service.StartedAt.Equal(started)
}

// owe adds to what the service, which was started then, has to be told.
func (a *Applier) owe(actions []bundle.Action, service time.Time, why string) {
	if a.debt != nil {
		actions = distinct(slices.Concat(a.debt.Actions, actions))
	}
	if len(actions) > 0 {
		a.keepDebt(&debt{Actions: actions, Service: service, Why: why})
	}
}

// keepDebt keeps what is owed, in memory at least.
func (a *Applier) keepDebt(d *debt) {
	a.debt = d
	raw, err := json.Marshal(a.debt)
	if err == nil {
		err = a.disk.store(a.file(owedFile), raw)
	}
	if err != nil {
		a.opts.Log.Warn().Err(err).Msg("keeping what the service has to be told: a restart of confighub forgets it")
	}
	a.opts.fault(pointOwed)
}

// pay forgets what was owed.
func (a *Applier) pay() {
	if a.debt == nil {
		return
	}
	a.debt = nil
	if err := os.Remove(a.file(owedFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.opts.Log.Warn().Err(err).Msg("forgetting what the service was told")
	}
}

// payWith forgets what was owed of these actions, which ran. What else is owed says nothing of the generation that
// they were run for: RetryOwed goes on with it.
func (a *Applier) payWith(ran []bundle.Action) {
	if a.debt == nil {
		return
	}
	left := slices.DeleteFunc(slices.Clone(a.debt.Actions), func(owed bundle.Action) bool {
		return slices.ContainsFunc(ran, func(action bundle.Action) bool {
			return action.Name == actionRestart || action.Key() == owed.Key()
		})
	})
	switch len(left) {
	case 0:
		a.pay()
	case len(a.debt.Actions):
	default:
		a.keepDebt(&debt{Actions: left, Service: a.debt.Service, Why: a.debt.Why})
	}
}

// forgive forgets what is owed to a service that was started anew. One whose state cannot be read is waited for.
func (a *Applier) forgive() {
	if a.debt == nil {
		return
	}
	if _, err := a.service(); err == nil && !a.stands(a.debt.Service) && !a.stopping() {
		a.pay()
	}
}

// readDebt returns nil when nothing is owed, or nobody can say what.
func (a *Applier) readDebt() *debt {
	raw, err := os.ReadFile(a.file(owedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	d := new(debt)
	if err == nil {
		err = json.Unmarshal(raw, d)
	}
	if err != nil {
		a.opts.Log.Warn().Err(err).Msg("what the service has to be told cannot be read")
		return nil
	}
	return d
}
