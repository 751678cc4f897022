// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"context"
	"time"

	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// hubinit stops healthhub when the service has ended, and writes how it ended before: lastWordWait is for a machine so busy that
// the file is late.
const (
	lastWordWait = 150 * time.Millisecond
	lastWordPoll = 10 * time.Millisecond
)

// done is told that healthhub is stopped. If that is since the service, whose work was a job (health.job), has ended, it notes how,
// and returns that; nil: there is no job, or it has not ended.
func (a *Agent) done() *initctl.Exit {
	if a.Settings.Job.Every == 0 || !a.Init.Supervised() {
		return nil
	}
	limit, cancel := context.WithTimeout(context.Background(), lastWordWait)
	defer cancel()
	for {
		s, err := initctl.ReadState(a.RunDir)
		if err == nil && s.ExitCode != nil {
			exit := initctl.Exit{At: time.Now().UTC()} // of a service that never ran
			if s.Service.LastExit != nil {
				exit = *s.Service.LastExit
			}
			exit.Code = *s.ExitCode // as HUB_SUCCESS_CODES and stops have it
			a.monitor.Exited(exit)
			return &exit
		}
		select {
		case <-limit.Done():
			if err != nil {
				a.Log.Warn().Err(err).Msg("how the job ended is not known: it is not reported")
			}
			return nil
		case <-time.After(lastWordPoll):
		}
	}
}

// lastWord is what is reported when healthhub is stopped. Of a job that has ended it is what stays true until the next time:
// how it ended, what it reported itself and how the hubs are. What was looked at, is gone with the container.
func (a *Agent) lastWord() (health.Node, *report.Job) {
	exit := a.done()
	if exit == nil {
		a.hubs.look(time.Now()) // hubinit has written by now how the service ended
		return *a.refresh(), nil
	}
	now := time.Now()
	var kept []health.Node
	for _, n := range a.nodes(now) {
		if !a.looked[n.Name] {
			kept = append(kept, n)
		}
	}
	n, _ := a.sum(kept, now)
	rollup.CarrySince(nil, &n, now.Round(0).UTC())
	due := a.Settings.Job.Every + a.Settings.Job.Grace
	return n, &report.Job{Exit: exit.Code, EndedAt: exit.At, DueIn: due.Seconds()}
}
