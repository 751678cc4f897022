// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/loghub/internal/mask"
	"cloud4.internal/hub/loghub/internal/process"
	"cloud4.internal/hub/loghub/internal/sink"
	"cloud4.internal/hub/loghub/internal/source"
	"cloud4.internal/hub/loghub/internal/spool"
)

// Timings of log.json.
const (
	reportEvery = time.Second      // at most, on change
	reportBeat  = 10 * time.Second // at least; sooner at first, when people look
	reportValid = 35 * time.Second
	troubleWait = 10 * time.Second // shorter trouble is none: an identity is on its way, a receiver restarts
	lossShown   = 5 * time.Minute  // how long a loss makes a warning
)

// section is what log.json holds besides the health node.
type section struct {
	Receiver string        `json:"receiver,omitempty"` // address; absent: none
	Stdout   string        `json:"stdout"`             // raw, json or off
	Dropped  int64         `json:"dropped"`            // bytes of the copy that the container's output did not take
	Where    string        `json:"spool_in"`           // directory, "memory" or "none"
	Spool    *spool.Stats  `json:"spool,omitempty"`
	Sender   *sink.State   `json:"sender,omitempty"`
	Sources  []source.Stat `json:"sources"`
	// Durable says in plain words what survives what.
	Durable string `json:"durability,omitempty"`
	// Masked says which secrets are hidden and which are not, by name; absent where log.mask is off.
	Masked *mask.Found `json:"masked,omitempty"`
	// Skipped are files that match log.files and are not read, and patterns that no file matches; SkippedMore counts those besides.
	Skipped     []source.Skip `json:"skipped,omitempty"`
	SkippedMore int           `json:"skipped_more,omitempty"`
	// Severities counts what the container wrote, not the hubs; absent where nothing is parsed.
	Severities *source.Severities `json:"severities,omitempty"`
	// Process is whose pid it is that the file names.
	Process process.Mark `json:"process"`
}

// report keeps log.json up to date.
type report struct {
	r     *runner
	news  chan struct{}
	since time.Time
	last  health.State
	lost  int64
	lostT time.Time
	bad   bool // the last write failed, which was said
	rates rates
	self  process.Mark

	mu     sync.Mutex // guards what follows, which others read
	shown  section    // as last written
	health health.Node
}

// latest is what was last written.
func (p *report) latest() (health.Node, section) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.health, p.shown
}

// rates are how fast sources write.
type rates map[string]rate // source → its last look

type rate struct {
	records int64
	at      time.Time
	rate    float64
}

// rateOver is the shortest time that a rate is taken over.
const rateOver = 2 * time.Second

// fill notes and fills in the rates of the sources there are; others are forgotten.
func (r *rates) fill(stats []source.Stat, now time.Time) {
	next := make(rates, len(stats))
	for i := range stats {
		s := &stats[i]
		last, known := (*r)[s.Name]
		took := now.Sub(last.at)
		switch {
		case !known:
			last = rate{s.Records, now, 0}
		case took >= rateOver:
			last = rate{s.Records, now, max(float64(s.Records-last.records), 0) / took.Seconds()}
		}
		s.Rate, next[s.Name] = last.rate, last
	}
	*r = next
}

func newReport(r *runner) *report {
	return &report{r: r, news: make(chan struct{}, 1), since: time.Now(), self: process.Self()}
}

// changed asks for a new file soon.
func (p *report) changed() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// run writes the file on change and as a heartbeat until ctx is done.
func (p *report) run(ctx context.Context) {
	for wait := reportEvery; ; wait = min(2*wait, reportBeat) {
		p.write()
		beat := time.After(wait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(reportEvery):
		}
		select {
		case <-ctx.Done():
			return
		case <-p.news:
		case <-beat:
		}
	}
}

// write writes the file now.
func (p *report) write() { p.writeFor(reportValid) }

// end writes the file once more, as one that nobody keeps up to date.
func (p *report) end() { p.writeFor(time.Nanosecond) }

func (p *report) writeFor(valid time.Duration) {
	s := p.section()
	p.rates.fill(s.Sources, time.Now())
	node := p.node(s)
	err := health.WriteFile(p.r.hub.RunDir(), health.LogFile, node, s, valid)
	if err != nil && !p.bad {
		p.r.log.Warn().Err(err).Msg("the state of the logs cannot be told")
	}
	p.bad = err != nil
	p.mu.Lock()
	defer p.mu.Unlock()
	p.health, p.shown = node, s
}

func (p *report) section() section {
	r := p.r
	s := section{Receiver: r.to.url, Stdout: r.settings.Stdout, Where: r.where, Durable: r.durable, Sources: []source.Stat{}, Process: p.self}
	for _, out := range r.outputs {
		s.Dropped += out.Dropped()
	}
	if r.shared.Masker != nil {
		found := r.shared.Masker.Found()
		s.Masked = &found
	}
	for _, pipe := range r.pipes {
		s.Sources = append(s.Sources, pipe.Stat())
	}
	if r.tails != nil {
		s.Sources = append(s.Sources, r.tails.Stats()...)
		s.Skipped, s.SkippedMore = r.tails.Skipped()
	}
	if r.syslog != nil {
		s.Sources = append(s.Sources, r.syslog.Stat())
	}
	if r.spool != nil || r.shared.Emit != nil {
		counts := r.shared.Counts.Severities()
		s.Severities = &counts
	}
	if r.spool != nil {
		stats, state := r.spool.Stats(), r.sender.State()
		s.Spool, s.Sender = &stats, &state
	}
	return s
}

// node judges the figures.
func (p *report) node(s section) health.Node {
	now := time.Now()
	n := health.Node{Kind: health.KindHub, Name: "log", ObservedAt: now, Text: "copied to the container's output only"}
	var lost int64
	for _, src := range s.Sources {
		lost += src.Lost + src.LostBytes
	}
	if s.Sender != nil {
		lost += s.Sender.DeadLost
	}
	if lost != p.lost {
		p.lost, p.lostT = lost, now
	}
	if s.Sender != nil {
		n.Text = fmt.Sprintf("%s sent, %d wait", counted(s.Sender.Sent, "event"), s.Spool.Backlog)
		if s.Sender.Dead > 0 {
			n.Text += fmt.Sprintf(", %s (loghub replay --list says why)", counted(s.Sender.Dead, "dead letter"))
		}
	}
	p.judge(&n, s, now)
	if n.State != p.last {
		p.last, p.since = n.State, now
	}
	n.Since = p.since
	return n
}
