// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/initctl"
)

// reload runs the actions in order, the first that fails ends it. It returns those that ran.
func (a *Applier) reload(ctx context.Context, actions []bundle.Action) ([]string, error) {
	var ran []string
	for _, action := range actions {
		if err := a.act(ctx, action); err != nil {
			return ran, fmt.Errorf("reload %s: %w", action, err)
		}
		a.opts.fault(pointActed)
		ran = append(ran, action.String())
	}
	return ran, nil
}

func (a *Applier) act(ctx context.Context, action bundle.Action) error {
	if action.Name == actionRestart {
		ctx, cancel := context.WithTimeout(ctx, restartTimeout)
		defer cancel()
		return performed(a.opts.Control.Restart(ctx))
	}
	if signal, ok := strings.CutPrefix(action.Name, signalPrefix); ok {
		ctx, cancel := context.WithTimeout(ctx, controlTimeout)
		defer cancel()
		return performed(a.opts.Control.Signal(ctx, signal))
	}
	argv, err := a.opts.Policy.resolve(action)
	if err != nil || argv == nil {
		return err
	}
	err = run(ctx, actionTimeout, argv, a.hidden.texts)
	if f, ok := errors.AsType[*failed](err); ok && !a.hidden.known && f.told != "" {
		f.told = "(what it said is left out: the secrets that it may name are not known before the first generation)"
	}
	return err
}

// performed marks an error of hubinit, which may do later what it did not do now. Without hubinit nobody ever will.
func performed(err error) error {
	if err == nil || errors.Is(err, initctl.ErrUnsupervised) {
		return err
	}
	return &unperformed{err}
}
