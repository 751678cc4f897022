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
		{"masked when it is clean", "key \x1b[1mhunter2\x1b[0mhunter2 \x1b[2Khunter2hunter2", false, "key *** ***", now,
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

func TestGroup(t *testing.T) {
	now := time.Date(2026, 11, 21, 8, 0, 0, 5, time.UTC)
	b := New(Options{Masker: mask.NewLive([]string{"hunter2hunter2"}), Parse: parse.Options{Loc: time.UTC}, UID: "e1."})
	b.now = func() time.Time { return now }
	tests := []struct {
		name     string
		text     string
		severity uint8
		body     string
		attrs    map[string]any
	}{
		{
			"logged", "2026-11-21 07:00:00 ERROR not stored\r\njava.lang.IllegalStateException: no \x1b[1mhunter2hunter2\x1b[0m\r\n\tat a.B.c(B.java:7)\r\n", 17,
			"not stored\njava.lang.IllegalStateException: no ***\n\tat a.B.c(B.java:7)",
			map[string]any{"hub.lines": int64(3), "exception.type": "java.lang.IllegalStateException", "exception.message": "no ***"},
		},
		{
			"without a level", "java.lang.Error\n\tat a.B.c(B.java:7)\n", 17, "java.lang.Error\n\tat a.B.c(B.java:7)",
			map[string]any{"hub.lines": int64(2), "exception.type": "java.lang.Error"},
		},
		{
			"the last exception of several", "2026-11-21 07:00:00 WARNING odd\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: \xff\n", 13,
			"odd\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: \uFFFD",
			map[string]any{"hub.lines": int64(4), "exception.type": "ValueError", "exception.message": "\uFFFD", "hub.line.repaired": true},
		},
		{"not UTF-8", "a\xffb\n", 0, "a\uFFFDb", map[string]any{"hub.line.repaired": true}},
		{"behind a hole", "\x00\x00\x00{\"msg\":\"x\",\"level\":\"info\"}\n", 9, "x", map[string]any{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var j join.Joiner
			if !j.Take([]byte(tt.text), join.Over) || j.Group.Bytes != len(tt.text) {
				t.Fatalf("took %d of %d bytes", j.Group.Bytes, len(tt.text))
			}
			rec, got := attrs(t, b.Group(&j.Group, 7))
			tt.attrs["log.record.uid"] = "e1.7"
			if diff := cmp.Diff(tt.attrs, got); diff != "" {
				t.Error(diff)
			}
			if string(rec.Body.Bytes) != tt.body || rec.Severity != tt.severity {
				t.Errorf("severity %d, body %q", rec.Severity, rec.Body.Bytes)
			}
		})
	}
}

// TestReadAt: a line that waited is as old as it was when it came.
func TestReadAt(t *testing.T) {
	b := New(Options{Parse: parse.Options{Loc: time.UTC}, UID: "e1."})
	at := time.Date(2026, 11, 21, 8, 0, 0, 5, time.UTC)
	b.ReadAt(at)
	if rec := b.Line([]byte("x"), 1); rec.Time != uint64(at.UnixNano()) || rec.Observed != rec.Time {
		t.Errorf("time %d, observed %d", rec.Time, rec.Observed)
	}
	b.ReadAt(time.Time{})
	if rec := b.Line([]byte("x"), 2); rec.Observed <= uint64(at.UnixNano()) && time.Now().After(at) {
		t.Errorf("observed %d", rec.Observed)
	}
}

// TestPieces: a reader can put together again what had to be parted.
func TestPieces(t *testing.T) {
	b := New(Options{Parse: parse.Options{Loc: time.UTC}, UID: "e1."})
	tests := []struct {
		group join.Group
		want  map[string]any
	}{
		{join.Group{Lines: 1, Piece: 1, Open: true}, map[string]any{"hub.line.piece": int64(1), "hub.line.continues": true}},
		{join.Group{Lines: 1, Piece: 2}, map[string]any{"hub.line.piece": int64(2)}},
		{join.Group{Lines: 1000, Cut: true}, map[string]any{"hub.lines": int64(1000), "hub.lines.continue": true}},
		{join.Group{Lines: 1, Part: 2}, map[string]any{"hub.lines.part": int64(2)}},
	}
	for _, tt := range tests {
		tt.group.Text = []byte("x")
		tt.want["log.record.uid"] = "e1.7"
		if _, got := attrs(t, b.Group(&tt.group, 7)); !cmp.Equal(tt.want, got) {
			t.Error(cmp.Diff(tt.want, got))
		}
	}
}

// TestLossOfLines: lines of a file are told as such, and bytes whose lines nobody counted besides.
func TestLossOfLines(t *testing.T) {
	at := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	var l Loss
	l.AddLines(ReasonUnread, 7, 70, at)
	l.AddBytes(ReasonUnread, 30, at)
	rec, got := attrs(t, New(Options{UID: "e@"}).Loss(&l, "/a.log", 3))
	want := map[string]any{
		"log.record.uid": "e@3", "hub.loss.reason": ReasonUnread, "hub.loss.count": int64(7), "hub.loss.bytes": int64(100), "hub.loss.rest": int64(30),
		"hub.loss.first": "2026-11-21T08:00:00Z", "hub.loss.last": "2026-11-21T08:00:00Z",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if words := string(rec.Body.Bytes); words != "lost 7 lines and 30 bytes more of /a.log: gone before it was read" {
		t.Error(words)
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
