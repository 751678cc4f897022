// SPDX-License-Identifier: AGPL-3.0-or-later

package jsonline

import (
	"bytes"
	"encoding/json"
	"testing"

	"cloud4.internal/hub/internal/otlp"
)

// FuzzLine: whatever a receiver is sent makes one line of valid JSON for each record, in which what it says itself stands over
// all that was sent under the same name.
func FuzzLine(f *testing.F) {
	const peer = "spiffe://cloud4.internal/host/vm1"
	seed := func(res []otlp.KeyValue, rec otlp.Record) {
		b := otlp.AppendRecord(nil, &rec)
		f.Add(append(otlp.AppendRequest(nil, res, otlp.Scope{}, len(b)), b...))
	}
	forged := otlp.KeyValue{Key: "cloud4.peer", Value: otlp.String("forged")}
	seed([]otlp.KeyValue{forged}, otlp.Record{Time: 1, Body: otlp.String("b\n\xff"), Attributes: []otlp.KeyValue{forged, {Key: "message"}}})
	seed(nil, otlp.Record{Body: otlp.Map(forged, otlp.KeyValue{Value: otlp.Array(otlp.Double(1), otlp.Bytes([]byte{1}))}), SeverityText: "\x00\u2028"})
	first := []otlp.KeyValue{{Key: "cloud4.peer", Value: otlp.String(peer)}}
	f.Fuzz(func(t *testing.T, body []byte) {
		_ = otlp.DecodeRequest(body, otlp.Limits{}, func(src *otlp.Source, rec *otlp.Record) error {
			line := Append(nil, first, src.Resource, rec)
			if bytes.IndexByte(line, '\n') != len(line)-1 {
				t.Fatalf("not one line: %q", line)
			}
			var got map[string]any
			if err := json.Unmarshal(line, &got); err != nil {
				t.Fatalf("%v: %q", err, line)
			}
			if got["cloud4.peer"] != peer {
				t.Fatalf("from %v: %q", got["cloud4.peer"], line)
			}
			return nil
		})
	})
}
