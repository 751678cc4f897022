// SPDX-License-Identifier: AGPL-3.0-or-later

package event

import (
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/mask"
	"cloud4.internal/hub/loghub/internal/parse"
	"github.com/google/go-cmp/cmp"
)

// attrs encodes and decodes a record, as a receiver sees it.
func attrs(t *testing.T, rec *otlp.Record) (otlp.Record, map[string]any) {
	t.Helper()
	var back otlp.Record
	if err := otlp.DecodeRecord(otlp.AppendRecord(nil, rec), &back); err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for _, kv := range back.Attributes {
		switch kv.Value.Kind {
		case otlp.KindInt:
			out[kv.Key] = kv.Value.Int()
		case otlp.KindBool:
			out[kv.Key] = kv.Value.Bool()
		default:
			out[kv.Key] = string(kv.Value.Bytes)
		}
	}
	return back, out
}

func TestLine(t *testing.T) {
	now := time.Date(2026, 11, 21, 8, 0, 0, 5, time.UTC)
	b := New(Options{
		Masker: mask.NewLive([]string{"hunter2hunter2"}), Parse: parse.Options{Loc: time.UTC}, UID: "e1.",
		Attrs: []otlp.KeyValue{{Key: AttrStream, Value: otlp.String("stdout")}},
	})
	b.now = func() time.Time { return now }
	tests := []struct {
		name      string
		line      string
		continues bool
		body      string
		time      time.Time
		attrs     map[string]any
	}{
		{"masked before it is parsed", `{"msg":"hunter2hunter2","hunter2hunter2":1}` + "\r", false, "***", now,
			map[string]any{"log.iostream": "stdout", "log.record.uid": "e1.7", "***": int64(1)}},
		{"cleaned before it is parsed", "\x1b[32m2026-11-21 07:00:00 INFO\x1b[0m x", false, "x", now.Add(-time.Hour - 5),
			map[string]any{"log.iostream": "stdout", "log.record.uid": "e1.7"}},
		{"cut", "piece", true, "piece", now,
			map[string]any{"log.iostream": "stdout", "log.record.uid": "e1.7", "hub.line.continues": true}},
		{"forged", `{"log.record.uid":"x","log.iostream":"y","hub.loss.count":1}`, false, `{"log.record.uid":"x","log.iostream":"y","hub.loss.count":1}`, now,
			map[string]any{"log.iostream": "stdout", "log.record.uid": "e1.7", "app.log.record.uid": "x", "app.log.iostream": "y", "app.hub.loss.count": int64(1)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec, got := attrs(t, b.Group(&join.Group{Text: []byte(tt.line), Lines: 1, Open: tt.continues}, 7))
			if diff := cmp.Diff(tt.attrs, got); diff != "" {
				t.Error(diff)
			}
			if string(rec.Body.Bytes) != tt.body || rec.Time != uint64(tt.time.UnixNano()) || rec.Observed != uint64(now.UnixNano()) {
				t.Errorf("body %q, time %d, observed %d", rec.Body.Bytes, rec.Time, rec.Observed)
			}
		})
	}
	for _, blank := range []string{"", " ", "\t \r", "\x00\x00", "\x1b[0m"} {
		if b.Line([]byte(blank), 7) != nil {
			t.Errorf("%q made a record", blank)
		}
	}
}

func TestLoss(t *testing.T) {
	at := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	var l Loss
	if !l.None() {
		t.Error("the zero loss is one")
	}
	for i, severity := range []uint8{0, 1, 5, 8, 9, 12, 13, 24} {
		l.Add(ReasonQuota, severity, 10, at.Add(time.Duration(i)*time.Second))
	}
	rec, got := attrs(t, New(Options{UID: "e."}).Loss(&l, "stdout", 3))
	want := map[string]any{
		"log.record.uid": "e.3", "hub.loss.reason": ReasonQuota, "hub.loss.count": int64(8), "hub.loss.bytes": int64(80),
		"hub.loss.first": "2026-11-21T08:00:00Z", "hub.loss.last": "2026-11-21T08:00:07Z", "hub.loss.severity": "fatal",
		"hub.loss.none": int64(1), "hub.loss.trace": int64(1), "hub.loss.debug": int64(2), "hub.loss.info": int64(2), "hub.loss.warn": int64(1), "hub.loss.fatal": int64(1),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if rec.Severity != 17 || rec.EventName != "hub.loss" || string(rec.Body.Bytes) != "lost 8 records of stdout: spool full" {
		t.Errorf("%+v", rec)
	}
}
