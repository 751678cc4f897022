// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/loghub/internal/canary"
	"cloud4.internal/hub/loghub/internal/control"
	"cloud4.internal/hub/loghub/internal/source"
)

// probeDir is where a doctor writes the file that is watched for it, in the run directory. Its own loghub opens it alone.
const probeDir = "doctor"

// Ways by which a canary comes, besides the pipes by their names.
const (
	wayFile    = "file"    // a file that is watched
	wayRenamed = "renamed" // the same, after it was renamed
	wayNew     = "new"     // the next file of that name
	waySyslog  = "syslog"
)

// The conversation of loghub doctor with loghub run: hello, then questions and answers in any order.
type (
	hello struct {
		Texts    map[string]string `json:"texts"`           // way → the canary that is to be sent by it
		Pipes    []string          `json:"pipes,omitempty"` // the service's, by name
		File     string            `json:"file,omitempty"`  // is watched from now on, once it is there
		Alone    bool              `json:"alone,omitempty"` // log.files names none: it is all that is watched
		NoFile   string            `json:"no_file,omitempty"`
		Syslog   string            `json:"syslog,omitempty"` // path of the socket
		NoSyslog string            `json:"no_syslog,omitempty"`
		Asked    bool              `json:"syslog_asked,omitempty"` // log.syslog names a path
		Deaf     bool              `json:"syslog_deaf,omitempty"`  // the socket was to be there, and could not be made
		Facts    facts             `json:"facts"`
	}
	// question asks for one of these.
	question struct {
		Canary string `json:"canary,omitempty"` // name of a pipe: have it made there
		Facts  bool   `json:"facts,omitempty"`
	}
	answer struct {
		News  *canary.News `json:"news,omitempty"`
		Not   *notMade     `json:"not,omitempty"`
		Facts *facts       `json:"facts,omitempty"`
	}
	// notMade is why there is no canary in a pipe.
	notMade struct {
		Pipe string `json:"pipe"`
		Why  string `json:"why"`
	}
)

// facts is what loghub run knows of itself at this moment.
type facts struct {
	Health   health.Node `json:"health"`
	Log      section     `json:"log"`
	Clock    *float64    `json:"clock,omitempty"`    // seconds that the receiver's clock is ahead, at least; nil: it has not said
	TLS      bool        `json:"tls"`                // the identity is shown to the receiver
	Identity string      `json:"identity,omitempty"` // its name; "": there is none
	Until    time.Time   `json:"until,omitzero"`     // end of its certificate
}

// talks says whether somebody may ask: in a container, and wherever there is a directory to ask in.
func (r *runner) talks() bool {
	info, err := os.Stat(r.hub.RunDir())
	return r.hub.Supervised() || err == nil && info.IsDir()
}

// consult answers a doctor until it goes.
func (r *runner) consult(ctx context.Context, c *control.Conn) {
	h := hello{Texts: map[string]string{}, Facts: r.facts(), NoSyslog: r.noSyslog, Deaf: r.deaf}
	h.Asked = r.settings.Syslog != "" && r.settings.Syslog != "auto" && r.settings.Syslog != "off"
	if r.spool == nil { // without a receiver there is no way to its end
		if c.Send(h) == nil {
			r.converse(ctx, c, canary.NewVisit())
		}
		return
	}
	ways := []string{wayFile, wayRenamed, wayNew, waySyslog}
	for _, p := range r.pipes {
		if p.Name() != "hubs" { // takes warnings alone
			h.Pipes = append(h.Pipes, p.Name())
		}
	}
	visit := canary.NewVisit(append(ways, h.Pipes...)...)
	for _, way := range append(ways, h.Pipes...) {
		h.Texts[way] = visit.Text(way)
	}
	r.shared.Canaries.Begin(visit)
	defer r.shared.Canaries.Begin(nil)
	unwatch := r.watchProbe(ctx, &h)
	defer unwatch()
	if r.syslog != nil {
		if h.Syslog = r.syslog.Path(); !r.syslog.Here() {
			h.Deaf = true
			h.NoSyslog = "what is sent to " + h.Syslog + " does not come here: another socket is there, or none"
			h.Syslog = ""
		}
	}
	r.sender.Kick()
	if c.Send(h) != nil {
		return
	}
	r.converse(ctx, c, visit)
}

// converse passes on news, and answers questions.
func (r *runner) converse(ctx context.Context, c *control.Conn, visit *canary.Visit) {
	ctx, cancel := context.WithCancel(ctx)
	var teller sync.WaitGroup
	defer teller.Wait()
	defer cancel()
	teller.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case n := <-visit.News():
				if c.Send(answer{News: &n}) != nil {
					return
				}
			}
		}
	})
	for {
		var q question
		if c.Receive(&q) != nil {
			return
		}
		for _, p := range r.pipes {
			if p.Name() != q.Canary {
				continue
			}
			err := p.Canary(visit.Text(q.Canary) + " by loghub doctor")
			if err != nil && c.Send(answer{Not: &notMade{p.Name(), err.Error()}}) != nil {
				return
			}
		}
		if q.Facts {
			f := r.facts()
			if c.Send(answer{Facts: &f}) != nil {
				return
			}
		}
	}
}

// watchProbe has a file watched for the doctor, by whoever watches log.files.
func (r *runner) watchProbe(ctx context.Context, h *hello) (done func()) {
	dir := filepath.Join(r.hub.RunDir(), probeDir)
	r.removeProbe()
	if err := os.Mkdir(dir, 0o700); err != nil {
		h.NoFile = err.Error()
		return func() {}
	}
	h.File = filepath.Join(dir, "probe.log")
	if r.tails != nil {
		r.tails.Probe(h.File)
		return func() {
			r.tails.Probe("")
			r.removeProbe()
		}
	}
	h.Alone = true
	ctx, cancel := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() {
		if err := source.Probing(ctx, r.shared, h.File); err != nil {
			r.log.Warn().Err(err).Msg("watching a file for a doctor")
		}
	})
	return func() {
		cancel()
		watcher.Wait()
		r.removeProbe()
	}
}

// removeProbe removes what this doctor, or one whose loghub was killed, has left.
func (r *runner) removeProbe() {
	if err := os.RemoveAll(filepath.Join(r.hub.RunDir(), probeDir)); err != nil {
		r.log.Warn().Err(err).Msg("removing the file of a doctor")
	}
}

// facts gathers what is known now.
func (r *runner) facts() facts {
	s := r.report.section()
	node, _ := r.report.latest()
	f := facts{Health: node, Log: s}
	if r.sender != nil {
		if ahead, known := r.sender.Clock(); known {
			seconds := ahead.Seconds()
			f.Clock = &seconds
		}
		f.TLS = r.to.shows()
	}
	if id, err := r.files.ID(); err == nil {
		f.Identity = id.String()
	}
	if cert, err := r.files.Certificate(); err == nil && cert.Leaf != nil {
		f.Until = cert.Leaf.NotAfter
	}
	return f
}
