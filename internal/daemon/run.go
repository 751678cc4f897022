// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Task is one long-running part of a program.
type Task struct {
	Name string                          // for errors: "renewing the identity"
	Run  func(ctx context.Context) error // works until ctx is done; nil: it had nothing more to do
}

// Run runs the tasks side by side and waits for all of them. The first one that returns an error ends the others through
// their context, and its error is returned with its name. A task that returns nil ends alone. When ctx is
// done, the errors by which tasks say so (those that wrap context.Canceled or the cause) are none, and Run returns nil.
func Run(ctx context.Context, tasks ...Task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		group sync.WaitGroup
		once  sync.Once
		first error
	)
	for _, task := range tasks {
		group.Go(func() {
			err := task.Run(ctx)
			if err == nil || cancelled(ctx, err) {
				return
			}
			once.Do(func() {
				first = fmt.Errorf("%s: %w", task.Name, err)
				cancel(first)
			})
		})
	}
	group.Wait()
	return first
}

// cancelled reports whether err only says that ctx is done.
func cancelled(ctx context.Context, err error) bool {
	if ctx.Err() == nil {
		return false
	}
	return errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))
}
