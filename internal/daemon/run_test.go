// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errBroken = errors.New("broken")

func TestRun(t *testing.T) {
	waits := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	waitsForCause := func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("ended: %w", context.Cause(ctx)) }
	done := func(context.Context) error { return nil }
	after := func(d time.Duration, err error) func(context.Context) error {
		return func(context.Context) error { time.Sleep(d); return err } // in the bubble's time
	}
	stop := errors.New("stop")
	for name, test := range map[string]struct {
		tasks []func(context.Context) error
		stop  time.Duration // when the context ends
		want  string
		took  time.Duration
	}{
		"nothing to do":          {nil, time.Hour, "", 0},
		"all done":               {[]func(context.Context) error{done, done}, time.Hour, "", 0},
		"one done, one waits":    {[]func(context.Context) error{done, waits}, time.Minute, "", time.Minute},
		"told to stop":           {[]func(context.Context) error{waits, waitsForCause}, time.Minute, "", time.Minute},
		"first error ends all":   {[]func(context.Context) error{waits, after(time.Second, errBroken), waitsForCause}, time.Hour, "task 1: broken", time.Second},
		"the first error counts": {[]func(context.Context) error{after(2*time.Second, errors.New("late")), after(time.Second, errBroken)}, time.Hour, "task 1: broken", 2 * time.Second},
		"error while stopping":   {[]func(context.Context) error{waits, after(2*time.Minute, errBroken)}, time.Minute, "task 1: broken", 2 * time.Minute},
		"cancelled by itself":    {[]func(context.Context) error{after(time.Second, context.Canceled), waits}, time.Hour, "task 0: context canceled", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				timer := time.AfterFunc(test.stop, func() { cancel(stop) })
				defer timer.Stop()
				var running atomic.Int32
				var tasks []Task
				for i, run := range test.tasks {
					tasks = append(tasks, Task{Name: fmt.Sprintf("task %d", i), Run: func(ctx context.Context) error {
						running.Add(1)
						defer running.Add(-1)
						return run(ctx)
					}})
				}
				start := time.Now()
				got := ""
				if err := Run(ctx, tasks...); err != nil {
					got = err.Error()
				}
				if got != test.want {
					t.Errorf("error %q, want %q", got, test.want)
				}
				if took := time.Since(start); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				if n := running.Load(); n != 0 {
					t.Errorf("%d tasks still run", n)
				}
			})
		})
	}
}

func TestRunWraps(t *testing.T) {
	err := Run(t.Context(), Task{Name: "working", Run: func(context.Context) error { return errBroken }})
	if !errors.Is(err, errBroken) {
		t.Errorf("%v hides its cause", err)
	}
}
