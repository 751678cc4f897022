// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"fmt"
	"slices"
	"time"

	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/spiffe"
)

const (
	maxVoices  = 4 // instances of one identity that are heard at one time
	maxRetired = 8 // instances of the past that are told from new ones
)

// peer is who reports by one name, or did before a restart.
type peer struct {
	voices  []voice  // instances that are heard, newest first. More than one: two share an identity
	retired []origin // instances before these, newest last

	// As of the last sum; guarded by summing.
	at    standing
	sum   *rollup.Sum
	fresh bool // sum is of what was reported last
}

// origin is an instance and how far its sequence had come.
type origin struct {
	Instance string `json:"instance"`
	Seq      uint64 `json:"seq"`
	Again    bool   `json:"again,omitempty"` // it was heard once more after another had taken its place
}

// voice is what one instance said last.
type voice struct {
	origin
	node     health.Node
	seen     time.Time // arrival of the last report, with the monotonic clock; zero: not since this start
	wall     time.Time // the same on the wall clock
	valid    time.Duration
	stopping bool
	due      time.Duration // of a job that is done: until the next is due; 0: it is none
}

// Take takes a report from the holder of a certificate. The error is a *Refusal.
func (c *Collector) Take(from spiffe.ID, r *report.Report) error {
	if err := c.may(from, r); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[r.Node.Name]
	if p == nil {
		limit := maxContainers
		if c.kind == health.KindHost {
			limit = maxHosts
		}
		if len(c.peers) >= limit {
			return &Refusal{429, fmt.Sprintf("%d %ss report here already", limit, c.kind)}
		}
		p = new(peer)
		c.peers[r.Node.Name] = p
	}
	now := time.Now()
	if !r.SentAt.IsZero() {
		shift(&r.Node, now.Sub(r.SentAt))
	}
	if err := p.take(r, now); err != nil {
		return err
	}
	c.Poke()
	return nil
}

// maxSkew is how far a sender's clock may be off before its times are told in ours: a report that was long under way is
// not one of another clock.
const maxSkew = 15 * time.Second

// shift moves the times of a tree from its sender's clock to this one, if they differ.
func shift(n *health.Node, by time.Duration) {
	if by.Abs() <= maxSkew {
		return
	}
	for _, t := range []*time.Time{&n.Since, &n.ObservedAt, &n.ValidUntil} {
		if t.IsZero() {
			continue
		}
		if *t = t.Add(by); t.Year() < 1 || t.Year() > 9999 { // has no form in JSON (RFC 3339)
			*t = time.Time{}
		}
	}
	for i := range n.Children {
		shift(&n.Children[i], by)
	}
}

// take hears a report. What is new of whom, and what is old:
//
//   - A higher number of an instance that is heard is news; the same is a retry whose answer was lost; a lower one is refused.
//   - A new instance is a restart: it takes the place of the one before, whose numbers are remembered.
//   - An instance of the past that goes on, with numbers above its last, is no replay: it lives, beside the other. Its first
//     such report may have been under way when the other began; from the second on both are heard, until one is
//     silent or says goodbye.
func (p *peer) take(r *report.Report, now time.Time) error {
	v := voice{
		origin: origin{Instance: r.Instance, Seq: r.Seq}, node: r.Node, seen: now, wall: now.Round(0).UTC(), valid: r.Valid(), stopping: r.Stopping,
	}
	if r.Job != nil {
		v.due = r.Job.Due()
	}
	known := func(o origin) bool { return o.Instance == r.Instance }
	if i := slices.IndexFunc(p.voices, func(v voice) bool { return known(v.origin) }); i >= 0 {
		switch last := p.voices[i].Seq; {
		case r.Seq < last:
			return older(r, last)
		case r.Seq > last:
			p.voices[i], p.fresh = v, false
		}
		return nil
	}
	if i := slices.IndexFunc(p.retired, known); i >= 0 {
		if last := p.retired[i].Seq; r.Seq <= last {
			return older(r, last)
		}
		if was := &p.retired[i]; !was.Again {
			was.Seq, was.Again = r.Seq, true
			return nil
		}
		p.retired = slices.Delete(p.retired, i, i+1)
		p.voices = append(p.voices, v)
	} else {
		p.settle(now)
		if len(p.voices) == 1 {
			p.retire(0)
		}
		p.voices = slices.Insert(p.voices, 0, v)
	}
	for len(p.voices) > maxVoices {
		p.retire(len(p.voices) - 1)
	}
	p.fresh = false
	return nil
}

func older(r *report.Report, last uint64) error {
	return &Refusal{409, fmt.Sprintf("report %d of %s is older than report %d, which is known already", r.Seq, r.Node.Name, last)}
}

// settle lets go of all but one voice that is silent or has said goodbye while others speak.
func (p *peer) settle(now time.Time) {
	for i := len(p.voices) - 1; i >= 0 && len(p.voices) > 1; i-- {
		if !p.voices[i].speaks(now) {
			p.retire(i)
			p.fresh = false
		}
	}
}

// retire remembers a voice as one of the past.
func (p *peer) retire(i int) {
	p.retired = append(p.retired, p.voices[i].origin)
	p.retired = p.retired[max(0, len(p.retired)-maxRetired):]
	p.voices = slices.Delete(p.voices, i, i+1)
}

// speaks reports whether what a voice said holds.
func (v *voice) speaks(now time.Time) bool {
	return !v.stopping && !v.seen.IsZero() && now.Sub(v.seen) <= v.valid
}

// forked is the node of a peer that several instances report as: the worst of what they say.
func (p *peer) forked() health.Node {
	worst := &p.voices[0]
	for i := range p.voices {
		if p.voices[i].node.State > worst.node.State {
			worst = &p.voices[i]
		}
	}
	n := worst.heard()
	n.SetFlag(health.FlagForked, true)
	n.State = max(n.State, health.Warn)
	n.Children = slices.DeleteFunc(slices.Clone(n.Children), func(child health.Node) bool { return child.Name == forkCheck })
	n.Children = append(n.Children, health.Node{
		Kind: health.KindCheck, Name: forkCheck, State: health.Warn, ObservedAt: worst.wall,
		Text: fmt.Sprintf("%d instances report as %s in turns; this is the worst of them", len(p.voices), n.Name),
		Action: "two share one identity: give each its own volume for /var/lib/hub and a token of its own, or let replicas share one " +
			"volume, of which each takes a slot",
	})
	return n
}

// forkCheck is the check in which a node that is forked says so.
const forkCheck = rollup.HubPrefix + "forked"

// Forget lets go of a sender that is away, for good. The error is a *Refusal.
func (c *Collector) Forget(name string) error {
	c.summing.Lock()
	listed := c.expected.exactly(name)
	c.summing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[name]
	switch {
	case listed:
		return &Refusal{409, fmt.Sprintf("%s is on the list of what is expected here: take it out there", name)}
	case p == nil:
		return &Refusal{404, fmt.Sprintf("no %s %q has reported here", c.kind, name)}
	case slices.ContainsFunc(p.voices, func(v voice) bool { return v.speaks(time.Now()) }):
		return &Refusal{409, fmt.Sprintf("%s reports: stop it first", name)}
	}
	delete(c.peers, name)
	c.Poke()
	return nil
}
