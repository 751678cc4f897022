// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

const (
	// fileGrace is how long a hub that runs may be without a valid state file.
	fileGrace = 15 * time.Second
	// troubleWindow is how long restarts and losses are told of, and manyRestarts how many of them in it are trouble.
	troubleWindow = 10 * time.Minute
	manyRestarts  = 3
)

// hubs tells how the other hubs and hubinit are, from their files in the run directory: the checks hub/config,
// hub/identity, hub/drift, hub/log and hub/init. What a hub says of itself is told as it says it; that it
// says nothing, restarts or loses bytes is a warning. What does not run because nobody wants it is not told of.
type hubs struct {
	dir string

	mu      sync.Mutex // guards what follows
	checks  []health.Node
	silent  map[string]time.Time // hub → since when it runs without a valid file
	history []counters           // one a change, oldest first, within troubleWindow
}

// counters are what only grows while hubinit runs.
type counters struct {
	at       time.Time
	restarts map[string]int // hub or "service"
	lost     int64
}

func newHubs(dir string) *hubs { return &hubs{dir: dir, silent: map[string]time.Time{}} }

// nodes gives the checks as of the last look.
func (h *hubs) nodes() []health.Node {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.checks)
}

// look reads the files.
func (h *hubs) look(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var next []health.Node
	state, err := initctl.ReadState(h.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist): // no hubinit
	case err != nil:
		next = append(next, warn("init", now, "%v", err))
	default:
		next = append(next, h.hubinit(state, now))
	}
	next = append(next, h.hub(initctl.Confighub, health.ConfigFile, state, now)...)
	next = append(next, h.hub(initctl.Loghub, health.LogFile, state, now)...)
	prev, parent := health.Node{Children: h.checks}, health.Node{Children: next}
	rollup.CarrySince(&prev, &parent, now.Round(0).UTC())
	h.checks = parent.Children
}

func node(name string, s health.State, now time.Time, text string) health.Node {
	return health.Node{
		Kind: health.KindCheck, Name: rollup.HubPrefix + name, State: s, ObservedAt: now.Round(0).UTC(), Text: health.CleanText(text),
	}
}

func warn(name string, now time.Time, format string, args ...any) health.Node {
	return node(name, health.Warn, now, fmt.Sprintf(format, args...))
}

// hub tells of one hub by the file that it writes; state is nil without hubinit.
func (h *hubs) hub(program, name string, state *initctl.State, now time.Time) []health.Node {
	var is *initctl.HubState
	if state != nil {
		is = state.Hubs[program]
		if is == nil || is.State == initctl.HubDone || is.State == initctl.HubOff {
			delete(h.silent, program)
			return nil // not wanted, nothing to do, or told of by hub/init
		}
	}
	f, err := health.ReadFile(h.dir, name)
	if err == nil && !f.Stale() {
		delete(h.silent, program)
		return flatten(name, f.Health, f.WrittenAt)
	}
	if is == nil {
		return nil // without hubinit nobody says that it should run
	}
	since, ok := h.silent[program]
	if !ok {
		since = now
		h.silent[program] = now
	}
	if now.Sub(since) < fileGrace {
		return nil
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []health.Node{warn(name, now, "%s runs but has not said how it is (%s.json is missing)", program, name)}
	case err != nil:
		return []health.Node{warn(name, now, "%v", err)}
	}
	return []health.Node{warn(name, now, "%s is silent since %s: it hangs, or cannot write", program, f.WrittenAt.UTC().Format(time.RFC3339))}
}

// flatten makes checks of a hub's node: one for each of its children, or for itself.
func flatten(name string, n health.Node, at time.Time) []health.Node {
	if len(n.Children) == 0 {
		n.Children = []health.Node{n}
		n.Children[0].Name = name
	}
	var out []health.Node
	for _, c := range n.Children {
		c.Kind, c.Name = health.KindCheck, rollup.HubPrefix+c.Name
		c.Text, c.Action, c.Children, c.Score = health.CleanText(c.Text), health.CleanText(c.Action), nil, nil
		if c.ObservedAt.IsZero() {
			c.ObservedAt = at
		}
		if health.CheckName(c.Kind, c.Name) == nil {
			out = append(out, c)
		}
	}
	return out
}

// hubinit tells of hubinit: hubs that do not run, restarts and lost output.
func (h *hubs) hubinit(s *initctl.State, now time.Time) health.Node {
	var troubles []string
	for _, name := range slices.Sorted(maps.Keys(s.Hubs)) {
		switch hub := s.Hubs[name]; hub.State {
		case initctl.HubOff:
			troubles = append(troubles, fmt.Sprintf("%s is off: %s", name, offReason(hub)))
		case initctl.HubBackoff:
			troubles = append(troubles, fmt.Sprintf("%s ended%s and is started again", name, exitWords(hub.LastExit)))
		}
	}
	troubles = append(troubles, h.since(count(s, now))...)
	if s.Service.LastExit != nil && s.Service.LastExit.OOM && now.Sub(s.Service.LastExit.At) < troubleWindow {
		troubles = append(troubles, "the service ran out of memory")
	}
	if len(troubles) > 0 {
		return warn("init", now, "%s", strings.Join(troubles, "; "))
	}
	return node("init", health.Pass, now, "all hubs that are wanted run")
}

func offReason(hub *initctl.HubState) string {
	if hub.LastExit == nil {
		return "its program is missing"
	}
	return "its settings are wrong, its log says which"
}

func exitWords(e *initctl.Exit) string {
	switch {
	case e == nil:
		return ""
	case e.Signal != "":
		return " by " + e.Signal
	}
	return fmt.Sprintf(" with code %d", e.Code)
}

func count(s *initctl.State, now time.Time) counters {
	c := counters{at: now, restarts: map[string]int{"the service": s.Service.Restarts}}
	for name, hub := range s.Hubs {
		c.restarts[name] = hub.Restarts
	}
	for _, pipe := range s.Pipes {
		c.lost += pipe.Lost
	}
	return c
}

// since compares the counters with those of a troubleWindow ago.
func (h *hubs) since(now counters) []string {
	if n := len(h.history); n == 0 || h.history[n-1].lost != now.lost || !maps.Equal(h.history[n-1].restarts, now.restarts) {
		h.history = append(h.history, now)
	}
	// The newest entry from before the window is what counts at its beginning.
	for len(h.history) > 1 && now.at.Sub(h.history[1].at) > troubleWindow {
		h.history = h.history[1:]
	}
	const maxHistory = 256 // more changes than that in a window are trouble by any count
	h.history = h.history[max(0, len(h.history)-maxHistory):]
	before := h.history[0]
	var troubles []string
	for _, name := range slices.Sorted(maps.Keys(now.restarts)) {
		if n := now.restarts[name] - before.restarts[name]; n >= manyRestarts {
			troubles = append(troubles, fmt.Sprintf("%s was restarted %d times in %s", name, n, troubleWindow))
		}
	}
	if n := now.lost - before.lost; n > 0 {
		troubles = append(troubles, fmt.Sprintf("%d bytes of output were lost", n))
	}
	return troubles
}
