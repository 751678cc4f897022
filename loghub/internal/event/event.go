// SPDX-License-Identifier: AGPL-3.0-or-later

// Package event makes records of the OpenTelemetry log data model out of the raw
// lines of one source: masked, cleaned, parsed, with the attributes that say where
// the line stood.
//
// Every record carries log.record.uid, the name of its place, by which a receiver
// tells duplicates and gaps: "<epoch>.<sequence>" for pipes, and for files
// "<file>.<generation>@<offset>". A loss is a record too, see Loss.
//
// Several lines that make one record, a trace mostly, stay together in the body: what the first says (without the time
// and level that its format has in front), a newline, the others as they are. What was thrown stands in exception.type
// and exception.message besides (semantic conventions of OpenTelemetry); exception.stacktrace is not sent, since it would
// double the body. A trace without a level of its own is an error.
//
// Left out: the resource, which a record gets when it is sent.
package event

import (
	"slices"
	"strconv"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/canary"
	"cloud4.internal/hub/loghub/internal/frame"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/mask"
	"cloud4.internal/hub/loghub/internal/parse"
)

// Names of attributes that no line can set.
const (
	AttrUID       = "log.record.uid"
	AttrStream    = "log.iostream"
	AttrPath      = "log.file.path"
	AttrFiles     = "hub.files"          // name of the entry in log.files
	AttrContinues = "hub.line.continues" // the line has not ended: its next piece is the source's next record, if it comes
	AttrPiece     = "hub.line.piece"     // from 1 on, where a line comes in pieces
	AttrRepaired  = "hub.line.repaired"  // what was not UTF-8 was replaced by U+FFFD
	AttrCut       = "hub.line.cut"       // so many bytes are missing: of the line's end, or of what is too large in it
	AttrLines     = "hub.lines"          // how many make this record, if more than one
	AttrMore      = "hub.lines.continue" // a limit cut them: they may go on in the source's next record
	AttrPart      = "hub.lines.part"     // from 2 on: they go on with the record before
	AttrSocket    = "hub.socket"         // path of the socket that the line came by
	AttrPipe      = "hub.pipe"           // "hubs": the line is one of the hubs' own
	AttrCanary    = "hub.canary"         // which way a line of loghub doctor took
)

// Names of attributes that the lines of a trace set.
const (
	attrType    = "exception.type"
	attrMessage = "exception.message"
)

// Builder makes the records of one source; one goroutine uses it.
type Builder struct {
	masker   *mask.Live
	canary   *canary.Watch
	followed bool // the last record was a canary
	parser   *parse.Parser
	base     []byte // encoded attributes that every record of the source has
	uid      []byte // prefix of log.record.uid
	rec      otlp.Record
	enc      []byte
	num      []byte
	lines    []byte
	hide     mask.Scratch
	clean    []byte
	now      func() time.Time
	read     time.Time // see ReadAt
}

// Options say what the records of a source have in common.
type Options struct {
	Masker   *mask.Live    // nil: nothing is hidden
	Canaries *canary.Watch // nil: nobody looks for any
	Parse    parse.Options
	UID      string // what log.record.uid begins with, separator included
	Attrs    []otlp.KeyValue
}

// New returns a builder.
func New(o Options) *Builder {
	b := &Builder{masker: o.Masker, canary: o.Canaries, parser: parse.New(o.Parse), uid: []byte(o.UID), now: time.Now}
	for _, kv := range o.Attrs {
		b.base = otlp.AppendAttribute(b.base, kv)
	}
	return b
}

// Format names the format that most of the last lines had, "" before the first; misfits counts those that were not of the
// format the settings fix, and those that a mistake of package parse kept from being read.
func (b *Builder) Format() (name string, misfits int64) {
	return b.parser.Format(), b.parser.Misfits() + b.parser.Mistakes()
}

// Line makes the record of a line at place (sequence number or offset). The
// result is valid until the next call; nil says that the line is blank, which
// makes no record.
func (b *Builder) Line(line []byte, place uint64) *otlp.Record {
	return b.Group(&join.Group{Text: line, Lines: 1}, place)
}

// Group does it for the lines of a group.
func (b *Builder) Group(g *join.Group, place uint64) *otlp.Record {
	text, repaired := b.clear(g)
	if blank(text) {
		return nil
	}
	b.rec.Observed = b.observed()
	b.parser.Parse(text, &b.rec)
	b.finish(place)
	if g.Lines > 1 || g.Piece > 0 || g.Open || g.Part > 0 || repaired {
		b.tell(g, text, repaired)
		b.rec.Encoded = b.enc
	}
	b.follow(text)
	return &b.rec
}

// Canary makes the record of a line of loghub doctor that comes neither by a pipe nor by a file: nothing is learned of its format.
func (b *Builder) Canary(line string, place uint64) *otlp.Record {
	b.rec = otlp.Record{Body: otlp.String(line)}
	b.finish(place)
	b.follow([]byte(line))
	return &b.rec
}

// IsCanary says whether the last record was a canary.
func (b *Builder) IsCanary() bool { return b.followed }

// follow marks the record of a canary, so that people can leave it out, and tells what its uid is.
func (b *Builder) follow(text []byte) {
	leg := b.canary.Leg(text)
	if b.followed = leg != ""; !b.followed {
		return
	}
	b.rec.Severity, b.rec.SeverityText = parse.Debug, parse.Level(parse.Debug)
	b.enc = otlp.AppendAttribute(b.enc, otlp.KeyValue{Key: AttrCanary, Value: otlp.String(leg)})
	b.rec.Encoded = b.enc
	b.canary.Read(leg, string(b.num))
}

// ReadAt says when the next lines were read; the zero time: now.
func (b *Builder) ReadAt(t time.Time) { b.read = t }

func (b *Builder) observed() uint64 {
	if !b.read.IsZero() {
		return uint64(b.read.UnixNano())
	}
	return uint64(b.now().UnixNano())
}

// text is a line masked and cleaned, valid until the next call.
func (b *Builder) text(line []byte) []byte {
	line, _ = b.clear(&join.Group{Text: line, Lines: 1})
	return line
}

// clear masks and cleans the lines of a group. repaired says that they were not UTF-8.
func (b *Builder) clear(g *join.Group) (text []byte, repaired bool) {
	masked := frame.Trim(g.Text)
	if g.Piece > 0 {
		masked = b.masker.MaskPiece(masked, &b.hide, g.Piece, g.Open)
	} else {
		masked = b.masker.Mask(masked, &b.hide)
	}
	text = masked
	if g.Lines > 1 {
		text, b.lines = frame.Unreturn(text, b.lines)
	}
	text, b.clean, repaired = frame.Text(text, b.clean)
	if len(text) != len(masked) { // what was taken out may have stood in a secret
		text = b.masker.Mask(text, &b.hide)
	}
	return text, repaired
}

// tell adds what is special about a group.
func (b *Builder) tell(g *join.Group, text []byte, repaired bool) {
	b.flag(AttrRepaired, repaired)
	b.number(AttrPiece, g.Piece, 1)
	b.flag(AttrContinues, g.Open)
	b.number(AttrLines, g.Lines, 2)
	b.number(AttrPart, g.Part, 2)
	b.flag(AttrMore, g.Cut)
	if !g.Trace.Found() {
		return
	}
	if b.rec.Severity == 0 {
		b.rec.Severity = parse.Error
	}
	name, said := g.Trace.Describe(text)
	b.name(attrType, name)
	b.name(attrMessage, said)
}

func (b *Builder) flag(key string, on bool) {
	if on {
		b.enc = otlp.AppendAttribute(b.enc, otlp.KeyValue{Key: key, Value: otlp.Bool(true)})
	}
}

func (b *Builder) number(key string, n, from int) {
	if n >= from {
		b.enc = otlp.AppendAttribute(b.enc, otlp.KeyValue{Key: key, Value: otlp.Int(int64(n))})
	}
}

// name sets an attribute unless the line's own format did.
func (b *Builder) name(key string, value []byte) {
	value = value[:min(len(value), maxThrown)]
	if len(value) > 0 && !slices.ContainsFunc(b.rec.Attributes, func(kv otlp.KeyValue) bool { return kv.Key == key }) {
		b.enc = otlp.AppendAttribute(b.enc, otlp.KeyValue{Key: key, Value: otlp.Text(value)})
	}
}

// finish adds what does not come from the line.
func (b *Builder) finish(place uint64) {
	if b.rec.Observed == 0 {
		b.rec.Observed = b.observed()
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
