// SPDX-License-Identifier: AGPL-3.0-or-later

package dashboard

import (
	"fmt"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/internal/health"
)

const (
	stripSpan   = 24 * time.Hour
	stripWide   = 480 // units across: 3 minutes each
	minBand     = 6   // units that trouble is wide at least, however short
	maxBands    = 60  // in one strip; what is shorter and later is merged
	maxTroubles = 3   // that a strip tells in words
)

// strip is a day of one node.
type strip struct {
	Bands []band
	Up    string // "99.8 %" of the time that is recorded, pass or warn
	Words string // the same as a sentence, for who cannot see it
}

// band is a time in one state. How high it stands tells the state too.
type band struct {
	State      string
	X, W, Y, H float64
}

var bandHeights = map[string]float64{"pass": 5, "starting": 7, "warn": 9, "unknown": 11, "fail": 14}

const stripHigh = 14

// diary is the events of all nodes by path.
type diary struct {
	now    time.Time
	begin  time.Time // of what is noted
	events map[string][]record.Event
	all    []record.Event
}

func newDiary(events []record.Event, now time.Time) *diary {
	d := &diary{now: now, events: make(map[string][]record.Event, len(events)), all: events}
	for _, e := range events {
		d.events[e.Path] = append(d.events[e.Path], e)
	}
	if len(events) > 0 {
		d.begin = events[0].At
	}
	return d
}

// spell is a time in a state.
type spell struct {
	state    string
	from, to time.Time
}

// spells are what is known of the last stripSpan, oldest first.
func (d *diary) spells(path string, n *health.Node) []spell {
	start := d.now.Add(-stripSpan)
	var back []spell
	end, state := d.now, n.State.String()
	add := func(from time.Time) {
		if from.Before(start) {
			from = start
		}
		if state != "" && from.Before(end) {
			back = append(back, spell{state, from, end})
		}
		end = from
	}
	events := d.events[path]
	for i := len(events) - 1; i >= 0 && end.After(start); i-- {
		if e := events[i]; !e.At.After(end) {
			add(e.At)
			state = name(e.From)
		}
	}
	if end.After(start) {
		switch {
		case len(back) == 0 && !n.Since.IsZero(): // nothing noted: it says itself since when
			add(n.Since)
		case len(back) > 0 && state != "":
			add(d.begin)
		}
	}
	out := make([]spell, 0, len(back))
	for i := len(back) - 1; i >= 0; i-- {
		if last := len(out) - 1; last >= 0 && out[last].state == back[i].state {
			out[last].to = back[i].to
			continue
		}
		out = append(out, back[i])
	}
	return out
}

// strip draws a node's day; nil if nothing is noted.
func (d *diary) strip(path string, n *health.Node) *strip {
	if d == nil {
		return nil
	}
	spells := d.spells(path, n)
	if len(spells) == 0 {
		return nil
	}
	start := d.now.Add(-stripSpan)
	x := func(t time.Time) float64 { return float64(t.Sub(start)) / float64(stripSpan) * stripWide }
	s := &strip{}
	var known, up time.Duration
	var troubles []string
	for _, p := range spells {
		length := p.to.Sub(p.from)
		known += length
		if p.state == "pass" || p.state == "warn" {
			up += length
		}
		if p.state != "pass" {
			troubles = append(troubles, fmt.Sprintf("%s from %s to %s UTC", p.state, p.from.UTC().Format("15:04"),
				p.to.UTC().Format("15:04")))
		}
		if len(s.Bands) == maxBands {
			s.Bands = s.Bands[1:]
		}
		left, right := x(p.from), x(p.to)
		if p.state != "pass" && p.state != "starting" && right-left < minBand { // short trouble is still to be seen
			left = max(0, right-minBand)
			right = left + minBand
		}
		high := bandHeights[p.state]
		s.Bands = append(s.Bands, band{p.state, tenth(left), tenth(right - left), stripHigh - high, high})
	}
	s.Words = "Last 24 hours: " + share(up, known) + " up"
	if known >= stripSpan/2 { // of less it would say too much
		s.Up = share(up, known)
	}
	if len(troubles) > maxTroubles {
		left := len(troubles) - maxTroubles
		troubles = append(troubles[left:], fmt.Sprintf("and %d times before", left))
	}
	if len(troubles) > 0 {
		s.Words += "; " + strings.Join(troubles, ", ")
	}
	if known < stripSpan-time.Minute {
		s.Words += "; known since " + spells[0].from.UTC().Format("15:04") + " UTC"
	}
	s.Words += "."
	return s
}

func tenth(x float64) float64 { return float64(int(x*10+.5)) / 10 }

// share is a part in percent that is 100 only if it is all, and 0 only if it is nothing.
func share(part, whole time.Duration) string {
	switch {
	case whole <= 0:
		return ""
	case part >= whole:
		return "100 %"
	case part <= 0:
		return "0 %"
	}
	p := float64(part) / float64(whole) * 100
	return fmt.Sprintf("%.1f %%", min(max(p, .1), 99.9))
}
