// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/internal/health"
)

// Limits of what is forced at one time.
const (
	minForced = time.Second
	maxForced = time.Hour
	maxChaos  = 100
)

// chaos forces what checks say, for a time, to try out whether it is noticed: on the dashboard, by whoever is to be told.
// It ends by itself, with healthhub's restart at the latest, and moves nobody's hand: the service is not restarted for it, and
// neither Docker's health nor /livez, by which others restart containers, is told of it.
type chaos struct {
	changed func()

	mu     sync.Mutex // guards forced
	forced map[string]forced
}

// forced is what a check is made to say.
type forced struct {
	state health.State
	until time.Time // monotonic
	end   *time.Timer
}

// Forced is one that is under way, as people see it.
type Forced struct {
	Check string       `json:"check"`
	State health.State `json:"state"`
	Until time.Time    `json:"until"`
}

func newChaos(changed func()) *chaos { return &chaos{changed: changed, forced: map[string]forced{}} }

// force makes a check say state for d. The check is there; see [Agent.force].
func (c *chaos) force(check string, state health.State, d time.Duration) error {
	switch {
	case state != health.Warn && state != health.Unknown && state != health.Fail:
		return fmt.Errorf("state must be warn, unknown or fail, got %v: nothing can be forced to be well", state)
	case d < minForced || d > maxForced:
		return fmt.Errorf("for: must be between %s and %s, got %s", minForced, maxForced, d)
	}
	c.mu.Lock()
	old, again := c.forced[check]
	if !again && len(c.forced) >= maxChaos {
		c.mu.Unlock()
		return fmt.Errorf("%d checks are forced already", maxChaos)
	}
	if again {
		old.end.Stop()
	}
	c.forced[check] = forced{state, time.Now().Add(d), time.AfterFunc(d, c.changed)}
	c.mu.Unlock()
	c.changed()
	return nil
}

// stop ends what a check was forced to; false: it was not.
func (c *chaos) stop(check string) bool {
	c.mu.Lock()
	f, ok := c.forced[check]
	delete(c.forced, check)
	c.mu.Unlock()
	if ok {
		f.end.Stop()
		c.changed()
	}
	return ok
}

// apply forces those of the checks that are, in place, and forgets what is over. It reports whether there were any.
func (c *chaos) apply(checks []health.Node, now time.Time) (any bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.forced, func(_ string, f forced) bool { return !now.Before(f.until) })
	for i := range checks {
		n := &checks[i]
		f, ok := c.forced[n.Name]
		if !ok {
			continue
		}
		really := n.State.String()
		if n.Text != "" {
			really += ": " + n.Text
		}
		n.Text = health.CleanText(fmt.Sprintf("forced, to try it out; really %s", really))
		n.State, n.Since, n.Action = f.state, time.Time{}, "nothing: it ends by itself, or healthhub chaos "+n.Name+" --end ends it"
		n.SetFlag(health.FlagForced, true)
		any = true
	}
	return any
}

// list gives what is forced, by name.
func (c *chaos) list() []Forced {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := []Forced{}
	for name, f := range c.forced {
		if time.Now().Before(f.until) {
			out = append(out, Forced{name, f.state, f.until.Round(0).UTC()})
		}
	}
	slices.SortFunc(out, func(a, b Forced) int { return strings.Compare(a.Check, b.Check) })
	return out
}
