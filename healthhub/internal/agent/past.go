// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

const (
	// troubleWindow is how long restarts and losses are told of, and manyRestarts how many of them in it are trouble.
	troubleWindow = 10 * time.Minute
	manyRestarts  = 3
	maxPast       = 256 // more changes than that in a window are trouble by any count
	// oomFresh is how long processes killed for want of memory are the container's failure: long enough for every level to see it. What is
	// left of the service may work: for the rest of the window it is a warning.
	oomFresh = time.Minute
)

// theService is what the service is called among the hubs.
const theService = "the service"

// past is what hubinit counted lately: one entry a change, oldest first, within troubleWindow.
type past []counters

// counters are what only grows while hubinit runs.
type counters struct {
	at       time.Time
	restarts map[string]int // hub or "the service"
	lost     int64
	killed   uint64 // for want of memory, as the kernel counts for the container
}

// troubles gathers what is wrong, and what to do about each.
type troubles struct{ texts, actions []string }

func (t *troubles) add(action, format string, args ...any) {
	t.texts = append(t.texts, fmt.Sprintf(format, args...))
	if !slices.Contains(t.actions, action) {
		t.actions = append(t.actions, action)
	}
}

// hubinit tells of hubinit: hubs that do not run, restarts and lost output.
func (p *past) hubinit(s *initctl.State, killed uint64, now time.Time) health.Node {
	var t troubles
	for _, name := range slices.Sorted(maps.Keys(s.Hubs)) {
		switch hub := s.Hubs[name]; {
		case hub.State == initctl.HubOff && hub.LastExit == nil:
			t.add("install "+name+" beside hubinit, or leave it out of HUB_HUBS", "%s is off: its program is missing", name)
		case hub.State == initctl.HubOff:
			t.add(name+" --check, run in the container, says what to correct; then start the container anew", "%s is off: its settings are wrong, its log says which", name)
		case hub.State == initctl.HubBackoff:
			t.add("look at what "+name+" logged last", "%s ended%s and is started again", name, exitWords(hub.LastExit))
		case name == initctl.Healthhub && hub.Restarts >= manyRestarts && hub.LastExit != nil && now.Sub(hub.LastExit.At) < troubleWindow:
			// This process knows nothing of those before it, so that only the whole count is known.
			t.add(lookBefore(name), "%s was restarted %d times, the last one ended%s", name, hub.Restarts, exitWords(hub.LastExit))
		}
	}
	p.since(count(s, killed, now), &t)
	if len(t.texts) > 0 {
		return warn("init", now, "%s", strings.Join(t.texts, "; ")).do(strings.Join(t.actions, "; "))
	}
	return node("init", health.Pass, now, "all hubs that are wanted run")
}

func lookBefore(hub string) string { return "look at what " + hub + " logged before each end" }

func exitWords(e *initctl.Exit) string {
	switch {
	case e == nil:
		return ""
	case e.Signal != "":
		return " by " + e.Signal
	}
	return fmt.Sprintf(" with code %d", e.Code)
}

func count(s *initctl.State, killed uint64, now time.Time) counters {
	c := counters{at: now, killed: killed, restarts: map[string]int{theService: s.Service.Restarts}}
	for name, hub := range s.Hubs {
		c.restarts[name] = hub.Restarts
	}
	for _, pipe := range s.Pipes {
		c.lost += pipe.Lost
	}
	return c
}

// facts are what the last look knows of the service besides its checks, as checks of their own. An end that somebody asked for,
// one with success, and that of a job, which is told of by the check of that name, are no trouble. ends are those of earlier lives
// of the container, each of which the engine has answered with the next.
func (p past) facts(s *initctl.State, job bool, ends []time.Time, now time.Time) []health.Node {
	last := p[len(p)-1]
	f := rollup.Facts{Restarts: last.restarts[theService] - p.at(now.Add(-rollup.RestartWindow)).restarts[theService]}
	for _, at := range ends {
		if now.Sub(at) < rollup.RestartWindow {
			f.Restarts++
		}
	}
	if before := p.at(now.Add(-oomFresh)).killed; last.killed > before {
		f.OOMKills = max(0, int(last.killed-before)-hubsKilled(s, now))
	}
	if e := s.Service.LastExit; e != nil && s.Service.State == initctl.ServiceExited && !job && !s.ToldToStop() {
		code := e.Code
		if s.ExitCode != nil {
			code = *s.ExitCode // as HUB_SUCCESS_CODES has it
		}
		f.Exited, f.Code, f.Signal = code != 0, code, e.Signal
	}
	return f.Checks(now.Round(0).UTC())
}

// hubsKilled counts the hubs that were just killed for want of memory: the kernel takes them first, and they are no failure of the service.
func hubsKilled(s *initctl.State, now time.Time) (n int) {
	for _, hub := range s.Hubs {
		if e := hub.LastExit; e != nil && e.OOM && e.Signal == "KILL" && now.Sub(e.At).Abs() < oomFresh {
			n++
		}
	}
	return n
}

// at gives the counters as they were at a time, or the oldest that are known.
func (p past) at(t time.Time) counters {
	i := len(p) - 1
	for i > 0 && p[i].at.After(t) {
		i--
	}
	return p[i]
}

// since compares the counters with those of a troubleWindow ago.
func (p *past) since(now counters, t *troubles) {
	all := *p
	if n := len(all); n == 0 || all[n-1].lost != now.lost || all[n-1].killed != now.killed || !maps.Equal(all[n-1].restarts, now.restarts) {
		all = append(all, now)
	}
	// The newest entry from before the window is what counts at its beginning.
	for len(all) > 1 && now.at.Sub(all[1].at) > troubleWindow {
		all = all[1:]
	}
	all = all[max(0, len(all)-maxPast):]
	*p = all
	before := all[0]
	for _, name := range slices.Sorted(maps.Keys(now.restarts)) {
		if name == theService || name == initctl.Healthhub {
			continue // see facts, and hubinit
		}
		if n := now.restarts[name] - before.restarts[name]; n >= manyRestarts {
			t.add(lookBefore(name), "%s was restarted %d times in %s", name, n, troubleWindow)
		}
	}
	if now.killed > before.killed {
		t.add("give the container more memory (mem_limit), or make the service use less",
			"killed for want of memory in the last %s: %d", setting.Words(troubleWindow), now.killed-before.killed)
	}
	if n := now.lost - before.lost; n > 0 {
		t.add("see whether the host's disk is full and its log driver works: nobody reads the container's output", "%d bytes of output were lost", n)
	}
}
