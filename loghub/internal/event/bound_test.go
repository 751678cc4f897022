// SPDX-License-Identifier: AGPL-3.0-or-later

package event

import (
	"strings"
	"testing"
	"unicode/utf8"

	"cloud4.internal/hub/internal/otlp"
)

// TestBounded: whatever is too large in a record, it is cut, what is not stays, and the record says so.
func TestBounded(t *testing.T) {
	big := strings.Repeat("ä", MaxRecord/2+500_000)
	text := func(s string) otlp.Value { return otlp.Text([]byte(s)) }
	tests := []struct {
		name    string
		rec     otlp.Record
		cut     bool
		dropped uint32
	}{
		{"nothing", otlp.Record{Body: text(big[:MaxRecord-1000])}, false, 0},
		{"the body", otlp.Record{Body: text(big)}, true, 0},
		{"an attribute", otlp.Record{Body: text("short"), Attributes: []otlp.KeyValue{{Key: "a", Value: text(big)}, {Key: "b", Value: text("kept")}}}, true, 0},
		{"a value in an attribute", otlp.Record{Body: text("short"), Attributes: []otlp.KeyValue{
			{Key: "a", Value: otlp.Map(otlp.KeyValue{Key: "x", Value: otlp.Array(text("y"), text(big))})}, {Key: "b", Value: text("kept")}}}, true, 0},
		{"body and attributes", otlp.Record{Body: text(big), Attributes: []otlp.KeyValue{{Key: "a", Value: text(big)}, {Key: "c", Value: text(big)}}}, true, 0},
		{"a name", otlp.Record{Body: text("short"), Attributes: []otlp.KeyValue{{Key: big, Value: otlp.Int(1)}, {Key: "b", Value: text("kept")}}}, true, 1},
		{"a name in an attribute", otlp.Record{Body: text("short"), Attributes: []otlp.KeyValue{
			{Key: "a", Value: otlp.Array(otlp.Map(otlp.KeyValue{Key: big, Value: otlp.Int(1)}))}, {Key: "b", Value: text("kept")}}}, true, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := len(otlp.AppendRecord(nil, &tt.rec))
			short := string(tt.rec.Body.Bytes)
			encoded := otlp.AppendRecord(nil, Bounded(&tt.rec, boundFrom))
			var rec otlp.Record
			if err := otlp.DecodeRecord(encoded, &rec); err != nil {
				t.Fatal(err)
			}
			missing := int64(0)
			for _, kv := range rec.Attributes {
				switch {
				case kv.Key == AttrCut:
					missing = kv.Value.Int()
				case kv.Key == "b" && string(kv.Value.Bytes) != "kept":
					t.Errorf("b is %q", kv.Value.Bytes)
				case !utf8.Valid(kv.Value.Bytes):
					t.Errorf("%s is cut in the middle of a character", kv.Key)
				}
			}
			if len(encoded) > MaxRecord+100 || tt.cut && len(encoded) < MaxRecord/2 && tt.dropped == 0 {
				t.Errorf("it has %d bytes", len(encoded))
			}
			if tt.cut != (missing > 0) || missing > 0 && (missing > int64(before-len(encoded))+100 || missing < int64(before-len(encoded))-100) {
				t.Errorf("%d bytes are said to be missing, of %d there are %d", missing, before, len(encoded))
			}
			if rec.Dropped != tt.dropped || len(short) < 10 && string(rec.Body.Bytes) != short || !utf8.Valid(rec.Body.Bytes) {
				t.Errorf("%d attributes are left out, the body is %.20q", rec.Dropped, rec.Body.Bytes)
			}
		})
	}
	if Bounded(nil, boundFrom) != nil {
		t.Error("a record of nothing")
	}
}
