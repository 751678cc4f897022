// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"fmt"
	"time"

	"cloud4.internal/hub/internal/health"
)

// RestartWindow and ManyRestarts say what a restart loop is.
const (
	RestartWindow = 10 * time.Minute
	ManyRestarts  = 3
)

// ExitCheck is the check in which it is told how a service ended that should not have.
const ExitCheck = RuntimePrefix + exit

const exit = "exit"

// Facts are what can be known of a container without looking into it: by its agent from hubinit, by a host's server from the
// reports, or from Docker. The zero value is a container of which nothing is the matter.
type Facts struct {
	Missing  bool   // expected, and not there
	Exited   bool   // its service is not running any more
	Code     int    // that it ended with
	Signal   string // that ended it; "": none
	Job      bool   // ending with 0 is what it is for: nobody starts it again
	Dead     bool   // Docker could not remove it
	OOMKills int    // processes killed for want of memory since the last look
	Restarts int    // within RestartWindow
	// Unhealthy says that Docker does, which it also says of what is paused or stopping: then it means nothing.
	Unhealthy, Paused, Stopping bool
}

// Checks makes critical checks of facts that are bad, one a fact; of the others there are none.
func (f Facts) Checks(at time.Time) []health.Node {
	var out []health.Node
	bad := func(name, text, action string) {
		out = append(out, health.Node{
			Kind: health.KindCheck, Name: RuntimePrefix + name, State: health.Fail, ObservedAt: at, Flags: []string{health.FlagCritical},
			Text: text, Action: action,
		})
	}
	if f.Missing {
		bad("missing", "expected, but not there", "start it, or take it out of the list of what is expected")
	}
	switch {
	case !f.Exited:
	case f.Signal != "":
		bad(exit, "the service was ended by "+f.Signal, "its log says what it did last")
	case f.Code != 0:
		bad(exit, fmt.Sprintf("the service ended with code %d", f.Code), "its log says why")
	case !f.Job:
		bad(exit, "the service ended with code 0, and is not one that should", "say so with health.job if it does its work and ends, else its log says why")
	}
	if f.Dead {
		bad("dead", "Docker could not remove it", "docker rm -f it; Docker's own log says what holds it")
	}
	if f.OOMKills > 0 {
		bad("memory", fmt.Sprintf("killed for want of memory just now: %d", f.OOMKills), "raise its memory limit, or find out what takes it")
	}
	if f.Restarts >= ManyRestarts {
		bad("restarts", fmt.Sprintf("restarted %d times in %v", f.Restarts, RestartWindow), "its log says why it ends each time")
	}
	if f.Unhealthy && !f.Paused && !f.Stopping {
		bad("docker", "Docker calls it unhealthy", "docker inspect shows what its HEALTHCHECK saw")
	}
	return out
}
