// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/source"
	"cloud4.internal/hub/internal/backoff"
)

// maxReports bounds what waits for genesis; the oldest is dropped, since newer ones say more.
const maxReports = 16

// reporter tells genesis what became of versions, in order, and does not give up.
type reporter struct {
	src   source.Source
	store *source.Store
	// instance of the container that reports.
	instance string
	// recipient of the container; "" while it has no key for sealed values.
	recipient string
	log       zerolog.Logger
	wake      chan struct{}

	mu    sync.Mutex // guards what follows
	queue []bundle.Applied
}

func newReporter(src source.Source, store *source.Store, instance string, log zerolog.Logger) *reporter {
	return &reporter{src: src, store: store, instance: instance, log: log, wake: make(chan struct{}, 1)}
}

// add queues a report.
func (r *reporter) add(report bundle.Applied) {
	if r.src == nil {
		return
	}
	report.Instance, report.Recipient = r.instance, r.recipient
	r.mu.Lock()
	r.queue = append(r.queue, report)
	if over := len(r.queue) - maxReports; over > 0 {
		r.queue = append([]bundle.Applied(nil), r.queue[over:]...)
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// stuck tells genesis why a version cannot be put in place for now, once for each reason: that may be to seal anew for
// the recipient that comes along.
func (h *hub) stuck(v bundle.Version, err error) {
	if h.retry.why != err.Error() {
		h.reports.add(bundle.Applied{Version: v, State: bundle.StatePending, Errors: told(strings.Split(err.Error(), "\n"))})
	}
}

// bad queues the bad versions that genesis does not know of.
func (r *reporter) bad() {
	for _, b := range r.store.Untold() {
		r.mu.Lock()
		queued := false
		for _, q := range r.queue {
			queued = queued || q.Version == b.Version && q.State == b.State
		}
		r.mu.Unlock()
		if !queued {
			r.add(bundle.Applied{Version: b.Version, State: b.State, Errors: b.Errors})
		}
	}
}

func (r *reporter) next() (bundle.Applied, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return bundle.Applied{}, false
	}
	return r.queue[0], true
}

// done removes a report that was sent; it may have been dropped meanwhile.
func (r *reporter) done(report bundle.Applied) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) > 0 && r.queue[0].Version == report.Version && r.queue[0].State == report.State {
		r.queue = r.queue[1:]
	}
}

// run sends until ctx ends.
func (r *reporter) run(ctx context.Context) error {
	pause := backoff.Backoff{Min: 500 * time.Millisecond, Max: time.Minute}
	said := ""
	for {
		report, ok := r.next()
		if !ok {
			select {
			case <-ctx.Done():
				return nil
			case <-r.wake:
			}
			continue
		}
		err := r.src.Applied(ctx, report)
		if ctx.Err() != nil {
			return nil
		}
		if dropped, ok := errors.AsType[*source.Unwanted](err); ok {
			r.log.Warn().Stringer("version", report.Version).Str("state", report.State).Msg("genesis does not take the report, which is dropped: " + dropped.Error())
			err = nil
		}
		if err != nil {
			if said != err.Error() {
				said = err.Error()
				r.log.Debug().Err(err).Msg("telling genesis what became of a version")
			}
			if pause.Wait(ctx) != nil {
				return nil
			}
			continue
		}
		said = ""
		pause.Reset()
		r.done(report)
		if report.State == bundle.StateRejected || report.State == bundle.StateRolledBack {
			if err := r.store.Told(report.Version); err != nil {
				r.log.Warn().Err(err).Msg("keeping the state of the configuration")
			}
		}
	}
}
