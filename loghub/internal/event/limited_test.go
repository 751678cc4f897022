// SPDX-License-Identifier: AGPL-3.0-or-later

package event

import (
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/limit"
	"cloud4.internal/hub/loghub/internal/mask"
	"cloud4.internal/hub/loghub/internal/parse"
	"github.com/google/go-cmp/cmp"
)

// TestAlike: what a line says decides, in whatever format it says it.
func TestAlike(t *testing.T) {
	shape := func(line string) (uint64, bool) {
		b := New(Options{Parse: parse.Options{Loc: time.UTC}, UID: "e1."})
		s, _, ok := Alike(b.Line([]byte(line), 1))
		return s, ok
	}
	const access = `203.0.113.7 - - [21/Nov/2026:07:55:42 +0000] "GET /a HTTP/1.1" 200 612 "-" "curl/8.1"`
	for _, tt := range []struct {
		a, b  string
		alike bool
	}{
		{"refused by 10.0.0.1 after 5 ms", "refused by 10.0.0.22 after 999 ms", true},
		{`{"level":"info","msg":"taken in 5 ms","user":"ops"}`, `{"level":"info","msg":"taken in 6 ms","user":"crew"}`, true},
		{`{"level":"info","msg":"taken"}`, `{"level":"info","msg":"given"}`, false},
		{`{"level":"info","msg":"taken"}`, `{"level":"error","msg":"taken"}`, false},
		{"2026-11-21T07:55:42Z INFO started job 5", "2026-11-21T07:59:01Z INFO started job 77", true},
		{"2026-11-21T07:55:42Z INFO started", "2026-11-21T07:55:42Z ERROR started", false},
		{access, `198.51.100.2 - - [21/Nov/2026:08:00:00 +0000] "GET /a HTTP/1.1" 304 0 "-" "curl/8.1"`, true},
		{access, `203.0.113.7 - - [21/Nov/2026:07:55:42 +0000] "GET /b HTTP/1.1" 200 612 "-" "curl/8.1"`, false},
	} {
		a, ok1 := shape(tt.a)
		b, ok2 := shape(tt.b)
		if !ok1 || !ok2 || (a == b) != tt.alike {
			t.Errorf("%q and %q: %v %v, alike %v", tt.a, tt.b, ok1, ok2, a == b)
		}
	}
	for _, line := range []string{`{"level":"fatal","msg":"no memory"}`, "2026-11-21T07:55:42Z FATAL no memory"} {
		if _, ok := shape(line); ok {
			t.Errorf("%q may be suppressed", line)
		}
	}
}

func TestLimited(t *testing.T) {
	b := New(Options{Masker: mask.NewLive([]string{"hunter2hunter2"}), Parse: parse.Options{Loc: time.UTC}, UID: "e1."})
	rate := limit.Rate{Lines: 1, Window: time.Minute}
	l := limit.New(rate)
	at := time.Date(2026, 11, 21, 7, 55, 42, 0, time.UTC)
	for i := range 3 {
		rec := b.Line([]byte(`{"level":"error","msg":"refused hunter2hunter2\nand more"}`), 1)
		shape, text, ok := Alike(rec)
		if !ok {
			t.Fatal("it may not be suppressed")
		}
		l.Take(limit.Line{Shape: shape, Severity: rec.Severity, At: at.Add(time.Duration(i) * time.Second).UnixNano(), Bytes: 50, Place: 7, Text: text}, at)
	}
	over, _ := l.Due(at, true)
	rec := b.Limited(over, rate, "stdout", 9)
	var got otlp.Record
	if err := otlp.DecodeRecord(otlp.AppendRecord(nil, rec), &got); err != nil {
		t.Fatal(err)
	}
	attrs := map[string]any{}
	for _, kv := range got.Attributes {
		if attrs[kv.Key] = string(kv.Value.Bytes); kv.Value.Kind == otlp.KindInt {
			attrs[kv.Key] = kv.Value.Int()
		}
	}
	if diff := cmp.Diff(map[string]any{
		"hub.loss.reason": "over the limit", "hub.loss.count": int64(2), "hub.loss.bytes": int64(100), "hub.loss.first": "2026-11-21T07:55:43Z",
		"hub.loss.last": "2026-11-21T07:55:44Z", "hub.loss.severity": "error", "hub.loss.error": int64(2), "hub.loss.example": "refused ***", AttrUID: "e1.9",
	}, attrs); diff != "" {
		t.Error(diff)
	}
	if body := string(got.Body.Bytes); body != "suppressed 2 records of stdout: more than 1 alike in 1m0s, such as: refused ***" || got.EventName != "hub.loss" ||
		got.Severity != parse.Error {
		t.Errorf("%s: %q", got.EventName, body)
	}
}
