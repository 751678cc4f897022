// SPDX-License-Identifier: AGPL-3.0-or-later

package jsonline_test

import (
	"encoding/json"
	"math"
	"testing"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/jsonline"
	"github.com/google/go-cmp/cmp"
)

func TestAppend(t *testing.T) {
	rec := otlp.Record{
		Time: 1790000000000000000, Observed: 1790000000000000001, Severity: 13, SeverityText: "WARNING",
		Body: otlp.String("a \"b\"\\\n\x01\x7fä"), TraceID: []byte("0123456789abcdef"), EventName: "e", Dropped: 2,
		Attributes: []otlp.KeyValue{
			{Key: "time", Value: otlp.String("forged")}, {Key: "cloud4.peer", Value: otlp.String("forged")}, {Key: "service.name", Value: otlp.String("forged")},
			{Key: "n", Value: otlp.Int(-1)}, {Key: "n", Value: otlp.Int(2)}, {Key: "d", Value: otlp.Double(1.5)}, {Key: "nan", Value: otlp.Double(math.NaN())},
			{Key: "raw", Value: otlp.Bytes([]byte{1, 2})}, {Key: "none", Value: otlp.Value{}},
			{Key: "l", Value: otlp.Array(otlp.Bool(true), otlp.Map(otlp.KeyValue{Key: "x", Value: otlp.Int(1)}, otlp.KeyValue{Key: "x", Value: otlp.Int(2)}))},
		},
	}
	first := []otlp.KeyValue{{Key: "cloud4.peer", Value: otlp.String("spiffe://x")}}
	resource := []otlp.KeyValue{{Key: "service.name", Value: otlp.String("web")}, {Key: "cloud4.peer", Value: otlp.String("forged")}}
	got := string(jsonline.Append([]byte("before "), first, resource, &rec))
	want := `before {"time":"2026-09-21T14:13:20Z","level":"warn","message":"a \"b\"\\\n\u0001\u007fä","severity_text":"WARNING",` +
		`"observed_time":"2026-09-21T14:13:20.000000001Z","trace_id":"30313233343536373839616263646566","event_name":"e",` +
		`"cloud4.peer":"spiffe://x","service.name":"web","n":-1,"d":1.5,"nan":"NaN","raw":"AQI=","none":null,"l":[true,{"x":1}],"dropped_attributes":2}` + "\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzString(f *testing.F) {
	f.Add("a\"\\\x00\xff\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		var back struct{ Message string }
		line := jsonline.Append(nil, nil, nil, &otlp.Record{Body: otlp.String(s)})
		if err := json.Unmarshal(line, &back); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		var want string
		quoted, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(quoted, &want); err != nil {
			t.Fatal(err)
		}
		if back.Message != want {
			t.Errorf("%q became %q, want %q", s, back.Message, want)
		}
	})
}
