// SPDX-License-Identifier: AGPL-3.0-or-later

package event

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/limit"
	"cloud4.internal/hub/loghub/internal/parse"
)

// ReasonLimit is the reason of a loss that somebody asked for: more lines of one shape than log.limit lets through.
const ReasonLimit = "over the limit"

// AttrLossExample is the beginning of the first record that was suppressed, masked as all are.
const AttrLossExample = "hub.loss.example"

// LossOf is what a tally says, as a loss.
func LossOf(t limit.Tally) Loss {
	l := Loss{Reason: ReasonLimit, Count: t.Count, Bytes: t.Bytes, First: time.Unix(0, t.First), Last: time.Unix(0, t.Last)}
	l.levels[(t.Severity+3)/4] = t.Count
	return l
}

// Limited makes the record of what was suppressed of a source, at place.
func (b *Builder) Limited(t limit.Tally, rate limit.Rate, source string, place uint64) *otlp.Record {
	l := LossOf(t)
	b.Loss(&l, source, place)
	words := fmt.Sprintf("suppressed %s of %s: more than %d alike in %v", l.counted(), source, rate.Lines, rate.Window)
	if t.Example != "" {
		example := strings.ToValidUTF8(t.Example, "")
		words += ", such as: " + example
		b.rec.Attributes = append(b.rec.Attributes, otlp.KeyValue{Key: AttrLossExample, Value: otlp.String(example)})
	} else {
		words += ", before loghub was started again"
	}
	b.rec.Body = otlp.String(words)
	return &b.rec
}

// Alike says what a record has in common with others that say the same. ok: it may be suppressed at all; a fatal one never is.
func Alike(r *otlp.Record) (shape uint64, text []byte, ok bool) {
	if r.Severity >= parse.Fatal {
		return 0, nil, false
	}
	quotes := false // what is asked of a server stands between them
	for i := range r.Attributes {
		if strings.HasPrefix(r.Attributes[i].Key, "http.") {
			quotes = true
			break
		}
	}
	if r.Body.Kind != otlp.KindString || len(r.Body.Bytes) == 0 {
		return 0, nil, false
	}
	text, _, _ = bytes.Cut(r.Body.Bytes, []byte{'\n'})
	return limit.Shape(r.Body.Bytes, (r.Severity+3)/4, quotes), text, true
}
