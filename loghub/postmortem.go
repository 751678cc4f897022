// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/lastlines"
	"cloud4.internal/hub/loghub/internal/source"
	"cloud4.internal/hub/loghub/internal/spool"
	"github.com/rs/zerolog"
)

// Timings. An end is told on TERM at the latest.
const (
	deathEvery = time.Second            // between two looks at init.json
	lastWords  = 500 * time.Millisecond // for what stands in the pipes still, while loghub goes on
)

// postmortemKey is of what the spool remembers: the last end told, in the same frame as its event, so that each is told once
// whatever happens to loghub.
const postmortemKey = "postmortem"

// postmortem makes an event of each end of the service, and of a container that ended without a word. Without a spool it
// tells the ends since loghub started.
type postmortem struct {
	runDir string
	shared *source.Shared
	log    zerolog.Logger
	ring   lastlines.Ring

	mu   sync.Mutex // one look at a time
	src  *spool.Source
	boot string      // of the container's life in which the last end was told
	told time.Time   // when that end was
	seen os.FileInfo // init.json at the last look
	said bool        // that there is trouble
}

func newPostmortem(runDir string, shared *source.Shared, log zerolog.Logger) (*postmortem, error) {
	p := &postmortem{runDir: runDir, shared: shared, log: log}
	if shared.Spool == nil {
		p.told = time.Now()
		return p, nil
	}
	st := shared.Spool.Restored()[postmortemKey]
	p.boot, p.told = st.Aux, time.UnixMicro(int64(st.Pos))
	var err error
	p.src, err = shared.Spool.Register(postmortemKey, st)
	return p, err
}

// keep is for what is read from one of the service's pipes, which next gets too, if it is not nil.
func (p *postmortem) keep(pipe string, next func([]byte)) func([]byte) {
	stream := uint8(slices.Index([]string{"stdout", "stderr"}, pipe))
	return func(data []byte) {
		p.ring.Add(stream, data, time.Now())
		if next != nil {
			next(data)
		}
	}
}

// run looks at init.json until ctx is done. The last look is the caller's, who knows when the pipes are empty.
func (p *postmortem) run(ctx context.Context) {
	tick := time.NewTicker(deathEvery)
	defer tick.Stop()
	for {
		p.look(false)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look tells an end that was not told yet; last says that the pipes are empty and there is no other look.
func (p *postmortem) look(last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := os.Stat(filepath.Join(p.runDir, initctl.StateFile))
	if err != nil || p.seen != nil && os.SameFile(info, p.seen) &&
		info.ModTime().Equal(p.seen.ModTime()) && info.Size() == p.seen.Size() {
		return // without hubinit, or as it was
	}
	switch err := p.tellNew(last); {
	case errors.Is(err, errEarly):
		return
	case err != nil:
		if !p.said {
			p.log.Warn().Err(err).Msg("how the service ends cannot be told so far")
		}
		p.said = true // and there may be room at the next look
	default:
		p.seen, p.said = info, false
	}
}

var errEarly = errors.New("the last words may still come")

// tellNew tells the last end, if that is news.
func (p *postmortem) tellNew(last bool) error {
	state, err := initctl.ReadState(p.runDir)
	if err != nil {
		return err
	}
	switch exit := state.Service.LastExit; {
	case exit == nil || !p.news(state.Boot, exit.At):
		return nil
	case !last && time.Since(exit.At) < lastWords:
		return errEarly
	}
	return p.tell(state)
}

// news reports whether an end was not told yet. Places have microseconds.
func (p *postmortem) news(boot string, at time.Time) bool {
	if p.src != nil && boot != p.boot {
		return true
	}
	return at.Truncate(time.Microsecond).After(p.told)
}

func (p *postmortem) tell(state *initctl.State) error {
	exit := state.Service.LastExit
	d := &event.Death{
		At: exit.At, Code: exit.Code, Signal: exit.Signal, OOM: exit.OOM, Restarts: state.Service.Restarts, Asked: exit.Asked,
		Uptime:  time.Duration(exit.Uptime * float64(time.Second)),
		Success: state.ExitCode != nil && *state.ExitCode == 0,
	}
	var next time.Time // when the process after it began
	if state.Service.StartedAt.After(exit.At) {
		next = state.Service.StartedAt
		d.Restarts = max(d.Restarts-1, 0)
	}
	builder := event.New(event.Options{Masker: p.shared.Masker, UID: state.Boot + "exit."})
	lines := p.ring.Lines(event.PostmortemLines, exit.At.Add(-d.Uptime), next)
	place := uint64(exit.At.UnixMicro())
	rec := builder.Postmortem(d, lines, place)
	if p.src != nil {
		if err := p.remember(state.Boot); err != nil {
			return err
		}
		b := spool.NewBatch(p.src)
		b.Record(place, 0, rec)
		if err := p.shared.Spool.Commit(b); err != nil {
			return err
		}
	}
	if p.shared.Emit != nil {
		p.shared.Emit("stderr", rec)
	}
	p.told = exit.At.Truncate(time.Microsecond)
	return nil
}

// remember notes the life that places are of.
func (p *postmortem) remember(boot string) error {
	if boot == p.boot {
		return nil
	}
	if err := p.shared.Spool.Update(p.src, spool.State{Aux: boot}); err != nil {
		return err
	}
	p.boot, p.told = boot, time.Time{}
	return nil
}
