// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"slices"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/parse"
)

// raws makes events of the lines of a log as a source of loghub run does, several lines of a stack trace one event, but for
// what comes from the container: uid, and the time at which a line was read.
type raws struct {
	options parse.Options
	fresh   bool // each event is read as the first of its log
	builder *event.Builder
	join    join.Joiner
	held    []byte // lines that made no event so far, with their ends
	enc     []byte

	// Of the event that take found:
	rec   otlp.Record
	text  []byte // its lines as they came
	first int    // number of its first line, from 1
	next  int    // number of the line behind it
}

func newRaws(o parse.Options, fresh bool) *raws {
	return &raws{options: o, fresh: fresh, builder: event.New(event.Options{Parse: o}), next: 1}
}

// add takes a line. What take found is not valid any more.
func (r *raws) add(line []byte) { r.held = append(append(r.held, line...), '\n') }

// waiting says whether there are lines that made no event so far.
func (r *raws) waiting() bool { return len(r.held) > 0 }

// take finds the next event; false: what is there has to wait for more lines. end says whether there may be some.
func (r *raws) take(end join.End) bool {
	for len(r.held) > 0 && r.join.Take(r.held, end) {
		g := &r.join.Group
		if r.fresh {
			r.builder = event.New(event.Options{Parse: r.options})
		}
		rec := r.builder.Group(g, 0)
		r.first, r.next = r.next, r.next+g.Lines
		r.text = append(r.text[:0], g.Text...)
		if rec != nil {
			r.enc = otlp.AppendRecord(r.enc[:0], rec)
		}
		r.held = append(r.held[:0], r.held[g.Bytes:]...)
		if rec != nil && otlp.DecodeRecord(r.enc, &r.rec) == nil {
			r.strip()
			return true
		}
	}
	return false
}

// strip takes away what the builder adds for the container.
func (r *raws) strip() {
	r.rec.Attributes = slices.DeleteFunc(r.rec.Attributes, func(kv otlp.KeyValue) bool { return kv.Key == event.AttrUID })
	if r.rec.Time == r.rec.Observed { // the line says none
		r.rec.Time = 0
	}
	r.rec.Observed = r.rec.Time // nobody has seen it before
	r.text = bytes.TrimRight(r.text, "\r\n")
}
