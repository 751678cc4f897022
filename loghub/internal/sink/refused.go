// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"context"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/parse"
	"cloud4.internal/hub/loghub/internal/spool"
)

// reasonRefused is why a dead letter is one.
const reasonRefused = "refused by the receiver"

// bury puts record i, which the receiver refuses, out of the way: a loss record takes its place at the receiver, the
// record itself goes to the dead letters. A receiver that does not take the loss record either refuses everything: it is
// the wrong address, and no reason to bury a whole spool.
func (s *Sender) bury(ctx context.Context, d *spool.Delivery, i int, why verdict) verdict {
	record := d.Record(i)
	var refused otlp.Record
	if err := otlp.DecodeRecord(record, &refused); err != nil {
		refused = otlp.Record{} // what a damaged spool may hold
	}
	uid := uidOf(&refused)
	switch v := s.attempt(ctx, otlp.AppendRecord(nil, lossOf(&refused, uid, len(record), why.err))); v.kind {
	case taken:
	case poison:
		why.kind = held
		s.trouble(why)
		return why
	default:
		s.trouble(v)
		return v
	}
	if s.o.Dead != nil {
		if err := s.o.Dead.Add(Letter{Time: time.Now(), Error: why.err.Error(), Record: record}); err != nil {
			s.o.Log.Warn().Err(err).Msg("a dead letter is lost")
		}
	}
	if say, n := s.buried.worth(1); say {
		s.o.Log.Warn().Err(why.err).Int64("records", n).Msg("the receiver refuses records for good: they go to the dead letters")
	}
	s.graves++
	s.acked(d, i, i+1, 0)
	s.answered(record, why.err)
	return verdict{kind: taken}
}

func uidOf(r *otlp.Record) string {
	for _, kv := range r.Attributes {
		if kv.Key == event.AttrUID && kv.Value.Kind == otlp.KindString {
			return string(kv.Value.Bytes)
		}
	}
	return ""
}

// lossOf is the record that says so. Its uid depends on that of the refused one, so that saying it twice is told.
func lossOf(refused *otlp.Record, uid string, bytes int, why error) *otlp.Record {
	now := uint64(time.Now().UnixNano())
	attrs := []otlp.KeyValue{
		{Key: event.AttrLossReason, Value: otlp.String(reasonRefused)},
		{Key: event.AttrLossCount, Value: otlp.Int(1)},
		{Key: event.AttrLossBytes, Value: otlp.Int(int64(bytes))},
	}
	if level := parse.Level(refused.Severity); level != "" {
		attrs = append(attrs, otlp.KeyValue{Key: event.AttrLossWorst, Value: otlp.String(level)})
	}
	if refused.Time != 0 {
		at := otlp.String(time.Unix(0, int64(refused.Time)).UTC().Format(time.RFC3339Nano))
		attrs = append(attrs, otlp.KeyValue{Key: event.AttrLossFirst, Value: at}, otlp.KeyValue{Key: event.AttrLossLast, Value: at})
	}
	if uid != "" {
		attrs = append(attrs, otlp.KeyValue{Key: event.AttrUID, Value: otlp.String(uid + ".refused")})
	}
	severity := max(uint8(parse.Warn), min(refused.Severity, uint8(parse.Error)))
	return &otlp.Record{
		Time: now, Observed: now, Severity: severity, SeverityText: parse.Level(severity), EventName: "hub.loss",
		Body: otlp.String("lost 1 record, " + reasonRefused + ": " + why.Error()), Attributes: attrs,
	}
}
