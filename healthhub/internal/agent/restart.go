// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// restartLimit bounds a restart: the service's time to stop, and hubinit's answer.
const restartLimit = 2 * time.Minute

// restartFile, in the run directory, holds when the service was restarted, so that a healthhub that was started again itself
// does not begin to count anew. hubinit empties the directory when the container starts.
const restartFile = "restarts.json"

// restarter restarts the service in its container, through hubinit, when a check of class live has failed for long
// enough (health.restart). It never signals the service itself, leaves a service alone that confighub holds or that somebody
// settles, and takes no notice of what is forced, muted, of no account (info) or another check's fault.
//
// When there were too many restarts it says so, and lets the check go on failing: nothing is taken out of sight.
// After a restart a check that has not passed since has its time to start before the next.
type restarter struct {
	setting.Restart
	dir      string // the run directory
	init     Hubinit
	log      zerolog.Logger
	settling func() bool
	declared map[string]setting.Check
	note     func(text string) // for the history
	parts    sync.WaitGroup

	mu       sync.Mutex // guards what follows
	failing  map[string]*failure
	service  time.Time       // when the service that is watched was started
	done     []time.Duration // since the machine booted: the restarts within Per, oldest first
	last     string          // what was said of the last one
	lastAt   time.Time
	underway bool
	refused  string // why the last one was not done
	waits    string // what keeps a due one from being done now
	spent    string // the check that fails though there were too many
}

// failure is a check that fails.
type failure struct {
	since time.Time // monotonic
	fresh bool      // it has not passed since the service was started
}

func newRestarter(c Config, settling func() bool, note func(string)) *restarter {
	r := &restarter{
		Restart: c.Settings.Restart, dir: c.RunDir, init: c.Init, log: c.Log, settling: settling,
		declared: c.Settings.Checks, note: note, failing: map[string]*failure{},
	}
	if err := r.load(); err != nil {
		r.log.Warn().Err(err).Msg("earlier restarts of the service are not counted")
	}
	return r
}

// judge looks at a new sum of the checks, and begins a restart when one is due.
func (r *restarter) judge(ctx context.Context, checks []health.Node, now time.Time) {
	if r.After == 0 || !r.init.Supervised() {
		return
	}
	state, err := initctl.ReadState(r.dir)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || state.Service.State != initctl.ServiceRunning || r.underway {
		return
	}
	if !state.Service.StartedAt.Equal(r.service) {
		again := !r.service.IsZero()
		r.service = state.Service.StartedAt
		for name := range r.failing {
			r.failing[name] = &failure{since: now, fresh: again}
		}
	}
	due := r.due(checks, now)
	before := r.spent
	r.waits, r.spent = "", ""
	if due == "" {
		r.refused = ""
		return
	}
	boot := sinceBoot()
	r.done = slices.DeleteFunc(r.done, func(at time.Duration) bool { return boot-at > r.Per })
	switch {
	case len(r.done) >= r.Max:
		if r.spent = due; before == "" {
			text := fmt.Sprintf("%s fails, and the service was restarted %d times in %s: it is not restarted again for now", due, len(r.done), setting.Words(r.Per))
			r.log.Error().Msg(text)
			r.note(text)
		}
	case state.Hold != nil:
		r.waits = state.Hold.By + " holds the service"
	case r.settling():
		r.waits = "a change is being watched (settle)"
	default:
		r.begin(ctx, due, text(checks, due), now)
	}
}

// due names a check that has failed for so long that the service is to be restarted; "": none.
func (r *restarter) due(checks []health.Node, now time.Time) (name string) {
	seen := map[string]bool{}
	for i := range checks {
		if c := &checks[i]; mended(c) {
			seen[c.Name] = true
			f := r.failing[c.Name]
			if f == nil {
				f = &failure{since: now}
				r.failing[c.Name] = f
			}
			wait := r.After
			if f.fresh {
				wait = max(wait, r.startTime(c.Name))
			}
			if name == "" && now.Sub(f.since) >= wait {
				name = c.Name
			}
		}
	}
	for gone := range r.failing {
		if !seen[gone] {
			delete(r.failing, gone)
		}
	}
	return name
}

// startTime is what a check has until its first pass.
func (r *restarter) startTime(name string) time.Duration {
	if c, ok := r.declared[name]; ok {
		return c.StartDeadline
	}
	return setting.DefaultCheck(setting.KindPush).StartDeadline
}

// mended reports whether a check fails in a way that a restart may mend.
func mended(c *health.Node) bool {
	return c.State == health.Fail && c.HasFlag(health.FlagLive) && !strings.HasPrefix(c.Name, rollup.HubPrefix) &&
		!slices.ContainsFunc(c.Flags, func(flag string) bool {
			return flag == health.FlagInfo || flag == health.FlagMuted || flag == health.FlagForced || flag == health.FlagUnsupported ||
				strings.HasPrefix(flag, health.FlagSuppressedBy)
		})
}

func text(checks []health.Node, name string) string {
	for i := range checks {
		if checks[i].Name == name {
			return checks[i].Text
		}
	}
	return ""
}

// begin asks hubinit. It counts before, so that a crash in between does not make one too many. The caller holds the lock.
func (r *restarter) begin(ctx context.Context, name, why string, now time.Time) {
	r.done, r.underway = append(r.done, sinceBoot()), true
	if err := r.save(); err != nil {
		r.log.Warn().Err(err).Msg("a healthhub that is started again will not know of this restart")
	}
	said := fmt.Sprintf("the service is restarted (%d of %d in %s): %s failed for %s", len(r.done), r.Max, setting.Words(r.Per), name, setting.Words(r.After))
	if why != "" {
		said += ": " + why
	}
	r.last, r.lastAt = said, now
	r.log.Warn().Str("check", name).Str("reason", why).Int("restart", len(r.done)).Int("max", r.Max).Msg("the service is restarted in its container")
	r.note(said)
	r.parts.Go(func() {
		limited, cancel := context.WithTimeout(ctx, restartLimit)
		defer cancel()
		err := r.init.Restart(limited)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.underway, r.refused = false, ""
		for name := range r.failing {
			r.failing[name] = &failure{since: time.Now(), fresh: true}
		}
		if err != nil && ctx.Err() == nil {
			r.refused = err.Error()
			r.log.Error().Err(err).Msg("the service was not restarted")
			r.note("the service was not restarted: " + r.refused)
		}
	})
}

// node makes hub/restart, none where nothing is to be restarted.
func (r *restarter) node(now time.Time) []health.Node {
	if r.After == 0 || !r.init.Supervised() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	const look = "look at what the service logged before it; a restart mends a hang, not what causes it"
	switch {
	case r.spent != "":
		next := now.Add(r.done[0] + r.Per - sinceBoot())
		return []health.Node{warn("restart", now, "%s fails, and the service was restarted %d times in %s: the next restart is not before %s",
			r.spent, len(r.done), setting.Words(r.Per), next.UTC().Format(time.RFC3339)).do(look)}
	case r.refused != "":
		return []health.Node{warn("restart", now, "the service was not restarted: %s", r.refused).do("restart the container")}
	case r.waits != "":
		return []health.Node{warn("restart", now, "a restart of the service waits: %s", r.waits).do("wait until that is over")}
	case !r.lastAt.IsZero() && now.Sub(r.lastAt) < troubleWindow:
		return []health.Node{warn("restart", now, "%s", r.last).do(look)}
	}
	return []health.Node{node("restart", health.Pass, now, fmt.Sprintf("the service is restarted when a check of class live fails for %s", setting.Words(r.After)))}
}

// restartsFile is what restartFile holds: seconds since the machine booted.
type restartsFile struct {
	Schema int       `json:"schema"`
	Boot   []float64 `json:"boot"`
}

func (r *restarter) load() error {
	data, err := os.ReadFile(filepath.Join(r.dir, restartFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var in restartsFile
	if err == nil {
		err = json.Unmarshal(data, &in)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", restartFile, err)
	}
	for _, s := range in.Boot[max(0, len(in.Boot)-r.Max):] {
		r.done = append(r.done, time.Duration(s*float64(time.Second)))
	}
	return nil
}

func (r *restarter) save() error {
	out := restartsFile{Schema: 1, Boot: []float64{}}
	for _, at := range r.done {
		out.Boot = append(out.Boot, at.Seconds())
	}
	data, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return atomicfile.WriteVolatile(filepath.Join(r.dir, restartFile), append(data, '\n'), 0o600)
}

// sinceBoot is CLOCK_BOOTTIME, which setting the date does not move and which outlives this process.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // there is no Linux without it
	}
	return time.Duration(ts.Nano())
}
