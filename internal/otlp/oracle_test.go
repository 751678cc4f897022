// SPDX-License-Identifier: AGPL-3.0-or-later

package otlp_test

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"cloud4.internal/hub/internal/otlp"
	collector "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	"google.golang.org/protobuf/proto"
)

// dice makes records out of a fuzzer's bytes; when they are used up it gives zeros.
type dice struct{ data []byte }

func (d *dice) byte() byte {
	if len(d.data) == 0 {
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return b
}

func (d *dice) bytes() []byte {
	n := min(int(d.byte()), len(d.data))
	b := d.data[:n]
	d.data = d.data[n:]
	return b
}

func (d *dice) uint64() uint64 {
	var b [8]byte
	d.data = d.data[copy(b[:], d.data):]
	return binary.LittleEndian.Uint64(b[:])
}

func (d *dice) value(depth int) otlp.Value {
	switch kind := otlp.Kind(d.byte() % 8); {
	case kind == otlp.KindString:
		return otlp.Text(d.bytes())
	case kind == otlp.KindBytes:
		return otlp.Bytes(d.bytes())
	case kind == otlp.KindBool:
		return otlp.Bool(d.byte()%2 == 0)
	case kind == otlp.KindInt:
		return otlp.Int(int64(d.uint64()))
	case kind == otlp.KindDouble:
		return otlp.Double(math.Float64frombits(d.uint64()))
	case kind == otlp.KindArray && depth < 6:
		v := otlp.Array()
		for range d.byte() % 5 {
			v.Array = append(v.Array, d.value(depth+1))
		}
		return v
	case kind == otlp.KindMap && depth < 6:
		return otlp.Map(d.keyValues(depth + 1)...)
	}
	return otlp.Value{}
}

func (d *dice) keyValues(depth int) []otlp.KeyValue {
	var out []otlp.KeyValue
	for range d.byte() % 5 {
		out = append(out, otlp.KeyValue{Key: string(d.bytes()), Value: d.value(depth)})
	}
	return out
}

func (d *dice) record() otlp.Record {
	r := otlp.Record{
		Time: d.uint64(), Observed: d.uint64(), Severity: d.byte() % 25, SeverityText: string(d.bytes()),
		Body: d.value(0), Attributes: d.keyValues(0), Dropped: uint32(d.uint64()), Flags: uint32(d.uint64()), EventName: string(d.bytes()),
	}
	if d.byte()%2 == 0 {
		r.TraceID = append(binary.BigEndian.AppendUint64(nil, d.uint64()), 1, 2, 3, 4, 5, 6, 7, 8)
		r.SpanID = binary.BigEndian.AppendUint64(nil, d.uint64())
	}
	return r
}

// FuzzRecord: a request as we write it means to the oracle what we meant, what the oracle writes means it to us, and both take
// as many bytes.
func FuzzRecord(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(strings.Repeat("\x07\x01ab\xff\x05\x06", 60)))
	f.Add([]byte(strings.Repeat("\x06\x04\x05\x03", 100)))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &dice{data}
		res, scope := d.keyValues(0), otlp.Scope{Name: string(d.bytes()), Version: string(d.bytes())}
		records := []otlp.Record{d.record(), d.record()}
		var frames []byte
		want := &collector.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{{
			Resource:  &resource.Resource{Attributes: attributes(res)},
			ScopeLogs: []*logs.ScopeLogs{{Scope: &common.InstrumentationScope{Name: repaired(scope.Name), Version: repaired(scope.Version)}}},
		}}}
		for i := range records {
			frames = otlp.AppendRecord(frames, &records[i])
			into := want.ResourceLogs[0].ScopeLogs[0]
			into.LogRecords = append(into.LogRecords, meant(&records[i]))
		}
		body := append(otlp.AppendRequest(nil, res, scope, len(frames)), frames...)
		var got collector.ExportLogsServiceRequest
		if err := proto.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(want, &got) {
			t.Fatalf("got  %v\nwant %v", &got, want)
		}
		if size := proto.Size(want); size != len(body) {
			t.Fatalf("%d bytes, the oracle has %d", len(body), size)
		}
		theirs, err := proto.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		same(t, theirs, want)
	})
}

// same decodes a request that the oracle wrote and compares.
func same(t *testing.T, body []byte, want *collector.ExportLogsServiceRequest) {
	t.Helper()
	var all []*logs.LogRecord
	for _, rl := range want.GetResourceLogs() {
		for _, sl := range rl.GetScopeLogs() {
			all = append(all, sl.GetLogRecords()...)
		}
	}
	n := 0
	err := otlp.DecodeRequest(body, otlp.Limits{}, func(_ *otlp.Source, r *otlp.Record) error {
		if n < len(all) && !proto.Equal(understood(all[n]), toProto(r)) {
			t.Fatalf("record %d: got  %v\nwant %v", n, toProto(r), all[n])
		}
		n++
		return nil
	})
	if err == nil && n != len(all) {
		t.Fatalf("%d records, the oracle has %d", n, len(all))
	}
}

// meant is the oracle's form of a record that we write: strings are repaired.
func meant(r *otlp.Record) *logs.LogRecord {
	p := toProto(r)
	p.SeverityText, p.EventName, p.Attributes = repaired(r.SeverityText), repaired(r.EventName), attributes(r.Attributes)
	if p.Body != nil {
		p.Body = repairedAny(r.Body)
	}
	return p
}

func attributes(kvs []otlp.KeyValue) []*common.KeyValue {
	var out []*common.KeyValue
	for _, kv := range kvs {
		out = append(out, &common.KeyValue{Key: repaired(kv.Key), Value: repairedAny(kv.Value)})
	}
	return out
}

func repaired(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func repairedAny(v otlp.Value) *common.AnyValue {
	switch v.Kind {
	case otlp.KindString:
		return toAny(otlp.String(repaired(string(v.Bytes))))
	case otlp.KindArray:
		a := &common.ArrayValue{}
		for _, e := range v.Array {
			a.Values = append(a.Values, repairedAny(e))
		}
		return &common.AnyValue{Value: &common.AnyValue_ArrayValue{ArrayValue: a}}
	case otlp.KindMap:
		return &common.AnyValue{Value: &common.AnyValue_KvlistValue{KvlistValue: &common.KeyValueList{Values: attributes(v.Map)}}}
	}
	return toAny(v)
}

// understood is a record of the oracle's as we read it: ids of another length and numbers that are no severity count as absent.
func understood(p *logs.LogRecord) *logs.LogRecord {
	p = proto.Clone(p).(*logs.LogRecord)
	if len(p.TraceId) != 16 {
		p.TraceId = nil
	}
	if len(p.SpanId) != 8 {
		p.SpanId = nil
	}
	if p.SeverityNumber < 0 || p.SeverityNumber > 24 {
		p.SeverityNumber = 0
	}
	if p.Body != nil && p.Body.Value == nil {
		p.Body = nil
	}
	for _, kv := range p.Attributes {
		if kv.Value == nil {
			kv.Value = &common.AnyValue{}
		}
	}
	return p
}
