// SPDX-License-Identifier: AGPL-3.0-or-later

package event

import (
	"encoding/binary"
	"fmt"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/parse"
)

// Attributes of a loss record.
const (
	AttrLossReason = "hub.loss.reason"
	AttrLossCount  = "hub.loss.count"    // records, or lines of a file; absent when only bytes are known
	AttrLossBytes  = "hub.loss.bytes"    // all of them
	AttrLossRest   = "hub.loss.rest"     // of the bytes, those that AttrLossCount does not cover; absent when it covers all, or none
	AttrLossFirst  = "hub.loss.first"    // time of the first lost record, RFC 3339
	AttrLossLast   = "hub.loss.last"     // and of the last
	AttrLossWorst  = "hub.loss.severity" // the worst level among them
	attrLossLevel  = "hub.loss."         // + level: how many of that level
)

// Reasons of a loss.
const (
	ReasonQuota   = "spool full"               // the quota of the spool
	ReasonWrite   = "spool not writable"       // disk full or broken
	ReasonRestart = "restarted while shedding" // only the bytes are known
	ReasonDrained = "read by hubinit"          // loghub was away; they are in the container's own output
	ReasonSlow    = "spool too slow"           // it stood still for longer than a socket's messages have room to wait
	ReasonUnread  = "gone before it was read"  // a file was truncated or deleted
	ReasonPacked  = "in a compressed file that is damaged"
	ReasonBomb    = "in a compressed file that holds more than a log would"
	ReasonDamaged = "spool damaged" // frames that failed their checksum; a frame is a record or a place
)

// Loss adds up what a source could not keep. The zero Loss is none.
type Loss struct {
	Reason string    `json:"reason"`
	Count  int64     `json:"count,omitempty"` // records; of ReasonUnread lines
	Bytes  int64     `json:"bytes"`
	Rest   int64     `json:"rest,omitempty"` // of them those whose lines nobody counted
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
	levels [7]int64  // by severity/4: 0 none, 1 trace … 6 fatal
}

// Add counts one record of a severity and the bytes of its line.
func (l *Loss) Add(reason string, severity uint8, bytes int, at time.Time) {
	l.AddLines(reason, 1, int64(bytes), at)
	l.levels[(severity+3)/4]++
}

// AddLines counts lines, of so many bytes, that nobody read.
func (l *Loss) AddLines(reason string, lines, bytes int64, at time.Time) {
	if l.None() {
		l.First = at
	}
	l.Reason, l.Last = reason, at
	l.Count += lines
	l.Bytes += bytes
}

// AddBytes counts bytes whose lines nobody saw.
func (l *Loss) AddBytes(reason string, bytes int64, at time.Time) {
	l.AddLines(reason, 0, bytes, at)
	l.Rest += bytes
}

// Merge adds a loss that came after l.
func (l *Loss) Merge(o Loss) {
	if o.None() {
		return
	}
	if l.None() {
		*l = o
		return
	}
	l.Reason, l.Last = o.Reason, o.Last
	l.Count += o.Count
	l.Bytes += o.Bytes
	l.Rest += o.Rest
	for i, n := range o.levels {
		l.levels[i] += n
	}
}

// None says whether nothing was lost.
func (l *Loss) None() bool { return l.Count == 0 && l.Bytes == 0 }

// Append adds the loss to dst, so that it outlives the process: the reason with its length, then uvarints.
func (l *Loss) Append(dst []byte) []byte {
	dst = append(binary.AppendUvarint(dst, uint64(len(l.Reason))), l.Reason...)
	for _, n := range []int64{l.Count, l.Bytes, l.Rest, l.First.UnixNano(), l.Last.UnixNano()} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	for _, n := range l.levels {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	return dst
}

// ParseLoss reads what Append wrote at the front of b; ok is false where there is none.
func ParseLoss(b []byte) (l Loss, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return Loss{}, false
	}
	l.Reason, b = string(b[n:n+int(size)]), b[n+int(size):]
	var first, last int64
	into := []*int64{&l.Count, &l.Bytes, &l.Rest, &first, &last}
	for i := range l.levels {
		into = append(into, &l.levels[i])
	}
	for _, v := range into {
		x, n := binary.Uvarint(b)
		if n <= 0 {
			return Loss{}, false
		}
		*v, b = int64(x), b[n:]
	}
	l.First, l.Last = time.Unix(0, first), time.Unix(0, last)
	return l, true
}

// Loss makes the record of a loss at place, named source. Its severity is warn,
// or error when something as bad was lost.
func (b *Builder) Loss(l *Loss, source string, place uint64) *otlp.Record {
	attrs := []otlp.KeyValue{
		{Key: AttrLossReason, Value: otlp.String(l.Reason)},
		{Key: AttrLossBytes, Value: otlp.Int(l.Bytes)},
		{Key: AttrLossFirst, Value: otlp.String(l.First.UTC().Format(time.RFC3339Nano))},
		{Key: AttrLossLast, Value: otlp.String(l.Last.UTC().Format(time.RFC3339Nano))},
	}
	words := fmt.Sprintf("lost %d bytes of %s: %s", l.Bytes, source, l.Reason)
	if l.None() {
		words = fmt.Sprintf("lost nobody knows how many bytes of %s: %s", source, l.Reason)
	}
	severity := uint8(parse.Warn)
	if l.Count > 0 {
		words = fmt.Sprintf("lost %s of %s: %s", l.counted(), source, l.Reason)
		attrs = append(attrs, otlp.KeyValue{Key: AttrLossCount, Value: otlp.Int(l.Count)})
		if l.Rest > 0 {
			attrs = append(attrs, otlp.KeyValue{Key: AttrLossRest, Value: otlp.Int(l.Rest)})
		}
		worst := ""
		for i, n := range l.levels {
			if n == 0 {
				continue
			}
			name := "none"
			if i > 0 {
				name = parse.Level(uint8(i*4 - 3))
				worst = name
			}
			attrs = append(attrs, otlp.KeyValue{Key: attrLossLevel + name, Value: otlp.Int(n)})
		}
		if worst != "" {
			attrs = append(attrs, otlp.KeyValue{Key: AttrLossWorst, Value: otlp.String(worst)})
		}
		if l.levels[5]+l.levels[6] > 0 {
			severity = parse.Error
		}
	}
	b.rec = otlp.Record{Severity: severity, SeverityText: parse.Level(severity), Body: otlp.String(words), Attributes: attrs, EventName: "hub.loss"}
	b.finish(place)
	return &b.rec
}

// counted says what was lost in words.
func (l *Loss) counted() string {
	what := "record"
	if l.Reason == ReasonUnread {
		what = "line"
	}
	if l.Count > 1 {
		what += "s"
	}
	words := fmt.Sprintf("%d %s", l.Count, what)
	if l.Rest > 0 {
		words += fmt.Sprintf(" and %d bytes more", l.Rest)
	}
	return words
}
