// SPDX-License-Identifier: AGPL-3.0-or-later

// Package event makes records of the OpenTelemetry log data model out of the raw
// lines of one source: masked, cleaned, parsed, with the attributes that say where
// the line stood.
//
// Every record carries log.record.uid, the name of its place, by which a receiver
// tells duplicates and gaps: "<epoch>.<sequence>" for pipes, and for files
// "<file>.<generation>@<offset>". A loss is a record too, see Loss.
//
// Left out: the resource, which a record gets when it is sent.
package event

import (
	"strconv"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/frame"
	"cloud4.internal/hub/loghub/internal/mask"
	"cloud4.internal/hub/loghub/internal/parse"
)

// Names of attributes that no line can set.
const (
	AttrUID       = "log.record.uid"
	AttrStream    = "log.iostream"
	AttrPath      = "log.file.path"
	AttrFiles     = "hub.files"          // name of the entry in log.files
	AttrContinues = "hub.line.continues" // the line was cut, its next piece follows
	AttrCut       = "hub.line.cut"       // so many bytes of the line's end are missing
	AttrSocket    = "hub.socket"         // path of the socket that the line came by
	AttrPipe      = "hub.pipe"           // "hubs": the line is one of the hubs' own
)

// Builder makes the records of one source; one goroutine uses it.
type Builder struct {
	masker *mask.Live
	parser *parse.Parser
	base   []byte // encoded attributes that every record of the source has
	uid    []byte // prefix of log.record.uid
	rec    otlp.Record
	enc    []byte
	num    []byte
	masked []byte
	clean  []byte
	now    func() time.Time
}

// Options say what the records of a source have in common.
type Options struct {
	Masker *mask.Live // nil: nothing is hidden
	Parse  parse.Options
	UID    string // what log.record.uid begins with, separator included
	Attrs  []otlp.KeyValue
}

// New returns a builder.
func New(o Options) *Builder {
	b := &Builder{masker: o.Masker, parser: parse.New(o.Parse), uid: []byte(o.UID), now: time.Now}
	for _, kv := range o.Attrs {
		b.base = otlp.AppendAttribute(b.base, kv)
	}
	return b
}

// Format names the format that most of the last lines had, "" before the first; misfits counts those that were not of the
// format the settings fix.
func (b *Builder) Format() (name string, misfits int64) { return b.parser.Format(), b.parser.Misfits() }

// Line makes the record of a line at place (sequence number or offset). The
// result is valid until the next call; nil says that the line is blank, which
// makes no record.
func (b *Builder) Line(line []byte, place uint64, continues bool) *otlp.Record {
	line = b.text(line)
	if blank(line) {
		return nil
	}
	b.rec.Observed = uint64(b.now().UnixNano())
	b.parser.Parse(line, &b.rec)
	b.finish(place)
	if continues {
		b.enc = otlp.AppendAttribute(b.enc, otlp.KeyValue{Key: AttrContinues, Value: otlp.Bool(true)})
		b.rec.Encoded = b.enc
	}
	return &b.rec
}

// text is a line masked and cleaned, valid until the next call.
func (b *Builder) text(line []byte) []byte {
	line, b.masked = b.masker.Mask(frame.Trim(line), b.masked)
	line, b.clean = frame.Text(line, b.clean)
	return line
}

// finish adds what does not come from the line.
func (b *Builder) finish(place uint64) {
	if b.rec.Observed == 0 {
		b.rec.Observed = uint64(b.now().UnixNano())
	}
	if b.rec.Time == 0 {
		b.rec.Time = b.rec.Observed
	}
	b.num = strconv.AppendUint(append(b.num[:0], b.uid...), place, 10)
	b.enc = otlp.AppendAttribute(append(b.enc[:0], b.base...), otlp.KeyValue{Key: AttrUID, Value: otlp.Text(b.num)})
	b.rec.Encoded = b.enc
}

func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != 0 {
			return false
		}
	}
	return true
}
