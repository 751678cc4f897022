// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/frame"
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

// reading makes events of the lines of one file: those of loghub receive and of loghub parse, dead letters, and of any other
// line what its format says.
type reading struct {
	name   string
	lines  *lines.Reader
	filter *where.Filter // nil: all
	auto   bool          // our own lines are recognised
	from   string        // for events that do not say where they are from; "": it goes without saying

	events *jsonline.Reader
	parser *parse.Parser
	clean  []byte

	entry
}

func newReading(name, as string, filter *where.Filter) *reading {
	return &reading{
		name: name, filter: filter, auto: as == "" || as == formatAuto,
		events: jsonline.NewReader(), parser: parse.New(parse.Options{Format: as}),
	}
}

// next finds the next event that is wanted; io.EOF: there is none now.
func (r *reading) next() error {
	for {
		line, err := r.lines.Next()
		if err != nil {
			return err
		}
		if len(line) > 0 && r.read(line) && (r.filter == nil || r.filter.Match(&r.rec)) {
			if r.rec.Time != 0 {
				r.at = r.rec.Time
			}
			return nil
		}
	}
}

// read makes the event of a line; false says that the filter has ruled it out, or that there is nothing in it.
func (r *reading) read(line []byte) bool {
	r.line, r.isJSON = line, r.auto && jsonline.Is(line)
	if r.isJSON {
		if r.filter != nil && !r.filter.Maybe(line) {
			return false
		}
		if r.isJSON = r.events.Read(line, &r.rec) == nil; r.isJSON {
			return true
		}
	}
	if r.auto && jsonline.IsDeadLetter(line) && r.events.ReadDeadLetter(line, &r.rec) == nil {
		return true
	}
	line, r.clean, _ = frame.Text(line, r.clean)
	if len(bytes.TrimSpace(line)) == 0 {
		return false
	}
	r.rec.Observed = uint64(time.Now().UnixNano())
	r.parser.Parse(line, &r.rec)
	r.rec.Observed = r.rec.Time // nobody has seen it before
	if r.from != "" {
		r.rec.Attributes = append(r.rec.Attributes, otlp.KeyValue{Key: event.AttrPath, Value: otlp.String(r.from)})
	}
	return true
}
