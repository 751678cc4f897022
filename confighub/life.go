// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// life is how long the service has been seen to run, by the clock that is not set.
type life struct {
	// started is the start that was seen last, by the clock of the machine; since is when it was seen first.
	started, since time.Time
}

// lasts returns how long the service that runs now was seen; negative while none does.
func (l *life) lasts(s initctl.ServiceState) time.Duration {
	if s.State != initctl.ServiceRunning {
		*l = life{}
		return -1
	}
	if l.since.IsZero() || !s.StartedAt.Equal(l.started) {
		l.started, l.since = s.StartedAt, time.Now()
	}
	return time.Since(l.since)
}
