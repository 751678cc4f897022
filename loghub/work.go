// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/loghub/internal/control"
)

// work runs everything until ctx is done, then stops in order: sources read to
// their ends, the spool is forced to the disk, one last bounded sending.
func (r *runner) work(ctx context.Context) error {
	// What stands behind the sources stops after them.
	behind, stopBehind := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBehind()
	hard, stopHard := context.WithCancel(context.WithoutCancel(ctx))
	defer stopHard()
	context.AfterFunc(ctx, func() { time.AfterFunc(stopSend, stopHard) })

	var rear sync.WaitGroup
	for name, out := range r.outputs {
		rear.Go(func() {
			left, err := out.Run(behind, stopOutput)
			if err != nil {
				r.log.Warn().Err(err).Str("stream", name).Msg("the container's own output takes nothing more")
			} else if left > 0 {
				r.log.Warn().Str("stream", name).Int("bytes", left).Msg("the container's own output was too slow: its end is missing there")
			}
		})
	}
	rear.Go(func() { r.report.run(behind) })
	if r.talks() {
		server := &control.Server{RunDir: r.hub.RunDir(), Talk: r.consult, Log: r.log}
		rear.Go(func() { server.Run(behind) })
	}
	if r.deaths != nil {
		rear.Go(func() { r.deaths.run(behind) })
	}
	if push := newPush(r, os.Getenv); push != nil {
		rear.Go(func() { push.run(behind) })
	}
	if r.spool != nil {
		rear.Go(func() {
			r.spool.Run(behind, func(err error) {
				if err != nil {
					r.log.Warn().Err(err).Msg("events survive a crash of loghub, but not one of the machine")
				} else {
					r.log.Info().Msg("the spool reaches the disk again")
				}
			})
		})
		rear.Go(func() {
			if err := r.sender.Run(behind, hard); err != nil {
				r.log.Warn().Err(err).Msg("sending")
			}
		})
	}

	err := r.read(ctx)
	if r.deaths != nil {
		r.deaths.look(true) // the pipes are empty: the last words are in
	}
	var syncErr error
	if r.spool != nil {
		syncErr = r.spool.Sync()
	}
	secured := r.securing()
	stopBehind()
	rear.Wait()
	r.flush(hard, secured)
	if dir := r.spoolDir(); dir != "" && ctx.Err() != nil {
		err = errors.Join(err, endLife(dir))
	}
	return errors.Join(err, syncErr, r.close())
}

// read runs the sources. When all pipes have ended and there is no file to
// follow, it is over without TERM too (`cmd | loghub run`).
func (r *runner) read(ctx context.Context) error {
	var tasks []daemon.Task
	for _, p := range r.pipes {
		tasks = append(tasks, daemon.Task{Name: "reading a pipe", Run: p.Run})
	}
	if r.tails != nil {
		tasks = append(tasks, daemon.Task{Name: "reading log files", Run: r.tails.Run})
	}
	if r.syslog != nil {
		tasks = append(tasks, daemon.Task{Name: "reading syslog messages", Run: r.syslog.Run})
	}
	return daemon.Run(ctx, tasks...)
}

// flush sends what waits within the time that is left, brings the rest to the disk,
// and says what stays.
func (r *runner) flush(hard context.Context, secured func()) {
	defer r.report.end()
	if r.spool == nil {
		return
	}
	ctx, cancel := context.WithTimeout(hard, stopSend)
	defer cancel()
	left := r.sender.Flush(ctx)
	secured()
	err := r.spool.Secure()
	st, stats := r.sender.State(), r.spool.Stats()
	switch {
	case left == 0 && st.Dead > 0:
		r.log.Info().Int64("sent", st.Sent).Int64("dead_letters", st.Dead).Msg("every event was acknowledged, or refused for good")
	case left == 0:
		r.log.Info().Int64("sent", st.Sent).Msg("every event was acknowledged")
	case r.spoolDir() == "":
		r.log.Warn().Int64("events", left).Str("error", st.Error).Msg("events that were not sent are lost with the container: the spool is in memory")
	case stats.AtRisk > 0:
		r.log.Warn().Int64("events", left).Int64("bytes", stats.AtRisk).Str("error", st.Error).
			Str("trouble", stats.Trouble).AnErr("disk_error", err).
			Msg("events that were not sent are lost with the container: the disk does not take them")
	default:
		r.log.Warn().Int64("events", left).Str("spool", r.where).Str("error", st.Error).Msg("events that were not sent wait in the spool for the next start")
	}
}
