// SPDX-License-Identifier: AGPL-3.0-or-later

package jsonline_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/jsonline"
	"github.com/google/go-cmp/cmp"
)

// What was written comes back, but for what the form does not hold.
func TestRead(t *testing.T) {
	for _, rec := range []otlp.Record{
		{Body: otlp.String("")},
		{Time: 1790000000000000000, Observed: 1790000000000000000, Severity: 9, SeverityText: "INFO", Body: otlp.String("x")},
		{
			Time: 1790000000123456789, Observed: 1790000000000000001, Severity: 13, SeverityText: "WARNING", Body: otlp.String("a \"b\"\\\n\u009b\u202eä"),
			TraceID: []byte("0123456789abcdef"), SpanID: []byte("01234567"), EventName: "e", Dropped: 2,
			Attributes: []otlp.KeyValue{{Key: "n", Value: otlp.Int(-1)}, {Key: "d", Value: otlp.Double(1.5)}, {Key: "m.x", Value: otlp.Map(otlp.KeyValue{Key: "y", Value: otlp.Bool(true)})}},
		},
		{Severity: 18, SeverityText: "CRIT", Body: otlp.String("x")},
		{Severity: 10, SeverityText: "notice", Body: otlp.String("x")},
		{Severity: 13, SeverityText: "CRIT", Body: otlp.String("whose words do not go together")},
		{Severity: 21, Body: otlp.Map(otlp.KeyValue{Key: "only", Value: otlp.String("a map")})},
	} {
		line := jsonline.Append(nil, nil, nil, &rec)
		if !jsonline.Is(line) {
			t.Errorf("not recognised: %s", line)
		}
		var back otlp.Record
		if err := jsonline.NewReader().Read(line[:len(line)-1], &back); err != nil {
			t.Fatal(err)
		}
		if again := jsonline.Append(nil, nil, nil, &back); string(again) != string(line) {
			t.Errorf("%s became %s", line, again)
		}
		if back.Severity != rec.Severity || back.Time != rec.Time {
			t.Errorf("%+v became %+v", rec, back)
		}
	}
}

// Lines of other programs are their parsers' affair.
func TestIs(t *testing.T) {
	for line, want := range map[string]bool{
		`{"time":"2026-11-21T08:00:00Z","level":"warn","message":"x"}`: true,
		`{"time":"2026-11-21T08:00:00.123Z","message":"x"}`:            true,
		`{"message":"x"}`:                                              true,
		`{"level":"warn","message":"x"}`:                               true,
		`{"time":"2026-11-21T08:00:00Z","level":"WARN","msg":"x"}`:     false,
		`{"level":"warn","time":"2026-11-21T08:00:00Z","message":"x"}`: false,
		`{"level":"warning","message":"x"}`:                            false,
		`{"time":"` + strings.Repeat("1", 100) + `","message":"x"}`:    false,
		`{"time":"2026-11-21T08:00:00Z"`:                               false,
		`{"time":"`:                                                    false,
		`{`:                                                            false,
		``:                                                             false,
		`"message":1`:                                                  false,
		`2026-11-21 x`:                                                 false,
	} {
		if got := jsonline.Is([]byte(line)); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

func TestDeadLetter(t *testing.T) {
	rec := otlp.Record{Time: 1790000000000000000, Severity: 17, Body: otlp.String("too much"), Attributes: []otlp.KeyValue{{Key: "n", Value: otlp.Int(1)}}}
	line, err := json.Marshal(map[string]string{"time": "2026-11-21T08:00:00Z", "error": `400: "no"`, "record": base64.StdEncoding.EncodeToString(otlp.AppendRecord(nil, &rec))})
	if err != nil {
		t.Fatal(err)
	}
	if !jsonline.IsDeadLetter(line) || jsonline.Is(line) {
		t.Fatal("not recognised")
	}
	var got otlp.Record
	if err := jsonline.NewReader().ReadDeadLetter(line, &got); err != nil {
		t.Fatal(err)
	}
	want := `{"time":"2026-09-21T14:13:20Z","level":"error","message":"too much","n":1,"hub.dead.error":"400: \"no\""}` + "\n"
	if diff := cmp.Diff(want, string(jsonline.Append(nil, nil, nil, &got))); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{`{"error":"x","record":"!"}`, `{"error":"x","record":"AAAA"}`, `{"error":"x","record":1}`, `{"error":`} {
		if err := jsonline.NewReader().ReadDeadLetter([]byte(bad), &got); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-21T08:00:00Z","level":"warn","message":"x","a":{"b":[1,2.5,null]},"trace_id":"00"}`))
	f.Add([]byte(`{"error":"x","record":"EgA="}`))
	r := jsonline.NewReader()
	f.Fuzz(func(t *testing.T, line []byte) {
		var rec, again otlp.Record
		if err := r.Read(line, &rec); err == nil {
			text := jsonline.Append(nil, nil, nil, &rec)
			if !json.Valid(text) {
				t.Fatalf("%q became %q", line, text)
			}
			if err := r.Read(text[:len(text)-1], &again); err != nil {
				t.Fatalf("%q became %q: %v", line, text, err)
			}
		}
		if err := r.ReadDeadLetter(line, &rec); err == nil && !json.Valid(jsonline.Append(nil, nil, nil, &rec)) {
			t.Fatalf("%q", line)
		}
	})
}
