// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/jsonline"
	"cloud4.internal/hub/loghub/internal/lines"
	"cloud4.internal/hub/loghub/internal/parse"
	"cloud4.internal/hub/loghub/internal/where"
)

// formatAuto is the format that is found out.
const formatAuto = "auto"

// checkFormat says what is wrong with the name of a format.
func checkFormat(name string) error {
	if name != "" && name != formatAuto && !slices.Contains(parse.Formats(), name) {
		return fmt.Errorf("must be auto or one of %s, got %q", strings.Join(parse.Formats(), ", "), name)
	}
	return nil
}

// entry is an event of a file. It is valid until the next one of the same reading.
type entry struct {
	rec    otlp.Record
	at     uint64 // its time, or that of the one before; nanoseconds
	line   []byte
	isJSON bool // line is one of ours
}

// joinQuiet is how long a pipe has nothing to read before lines that may go on are taken as they stand.
const joinQuiet = 300 * time.Millisecond

// reading makes events of the lines of one file: those of loghub receive and of loghub parse, dead letters, and of any other
// line what its format says.
type reading struct {
	name   string
	lines  *lines.Reader
	follow bool
	filter *where.Filter // nil: all
	auto   bool          // our own lines are recognised
	from   string        // for events that do not say where they are from; "": it goes without saying

	events *jsonline.Reader
	raws   *raws
	ahead  []byte // a line of ours behind raw ones that made no event yet
	ends   int    // looks that found nothing, one after another

	entry
}

// next finds the next event that is wanted; io.EOF: there is none now.
func (r *reading) next() error {
	for {
		ok, err := r.any()
		if err != nil {
			return err
		}
		if ok && (r.filter == nil || r.filter.Match(&r.rec)) {
			if r.rec.Time != 0 {
				r.at = r.rec.Time
			}
			return nil
		}
	}
}

// any makes a step towards the next event, and says whether that is it.
func (r *reading) any() (bool, error) {
	if r.ahead != nil {
		if r.takeRaw(join.Over) {
			return true, nil
		}
		line := r.ahead
		r.ahead = nil
		return r.ours(line), nil
	}
	if r.takeRaw(join.More) {
		return true, nil
	}
	r.lines.Patience(0)
	if r.raws.waiting() {
		r.lines.Patience(joinQuiet)
	}
	line, err := r.lines.Next()
	switch {
	case err == nil:
		r.ends = 0
	case errors.Is(err, lines.ErrQuiet):
		return r.takeRaw(join.Quiet), nil
	case errors.Is(err, io.EOF) && r.atEnd():
		return true, nil
	default:
		return false, err
	}
	switch {
	case !r.auto || !jsonline.Is(line) && !jsonline.IsDeadLetter(line):
		r.raws.add(line)
	case r.raws.waiting():
		r.ahead = line
	default:
		return r.ours(line), nil
	}
	return false, nil
}

// atEnd takes what waits at the end of a file: at once, or if it is followed, at the second look.
func (r *reading) atEnd() bool {
	end := join.Over
	if r.follow {
		if r.ends++; r.ends < 2 {
			return false
		}
		end = join.Quiet
	}
	return r.takeRaw(end)
}

// ours reads a line of ours; false says that it is not wanted. One that is none after all is raw.
func (r *reading) ours(line []byte) bool {
	r.line, r.isJSON = line, jsonline.Is(line)
	switch {
	case r.isJSON && r.filter != nil && !r.filter.Maybe(line):
		return false
	case r.isJSON && r.events.Read(line, &r.rec) == nil:
		return true
	case !r.isJSON && r.events.ReadDeadLetter(line, &r.rec) == nil:
		return true
	}
	r.raws.add(line)
	return false
}

// takeRaw makes an event of raw lines.
func (r *reading) takeRaw(end join.End) bool {
	if !r.raws.take(end) {
		return false
	}
	r.rec, r.isJSON = r.raws.rec, false
	if r.from != "" {
		r.rec.Attributes = append(r.rec.Attributes, otlp.KeyValue{Key: event.AttrPath, Value: otlp.String(r.from)})
	}
	return true
}
