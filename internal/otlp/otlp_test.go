// SPDX-License-Identifier: AGPL-3.0-or-later

package otlp_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"cloud4.internal/hub/internal/otlp"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	collector "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

func sample() otlp.Record {
	return otlp.Record{
		Time: 1790000000000000001, Observed: 1790000000000000002,
		Severity: 17, SeverityText: "ERROR",
		Body: otlp.String("näher"),
		Attributes: []otlp.KeyValue{
			{Key: "s", Value: otlp.String("")},
			{Key: "b", Value: otlp.Bool(true)},
			{Key: "f", Value: otlp.Bool(false)},
			{Key: "i", Value: otlp.Int(-42)},
			{Key: "d", Value: otlp.Double(math.Pi)},
			{Key: "raw", Value: otlp.Bytes([]byte{0xff, 0, 1})},
			{Key: "list", Value: otlp.Array(otlp.Int(1), otlp.String("x"), otlp.Array(), otlp.Value{})},
			{Key: "map", Value: otlp.Map(otlp.KeyValue{Key: "k", Value: otlp.Map()}, otlp.KeyValue{Value: otlp.Int(300)})},
		},
		Dropped: 300, Flags: 1,
		TraceID: bytes.Repeat([]byte{7}, 16), SpanID: bytes.Repeat([]byte{9}, 8),
		EventName: "e",
	}
}

func TestRecordAgainstOracle(t *testing.T) {
	rec := sample()
	rec.Encoded = otlp.AppendAttribute(nil, otlp.KeyValue{Key: "log.iostream", Value: otlp.String("stdout")})
	res := []otlp.KeyValue{{Key: "service.name", Value: otlp.String("web")}}
	frames := otlp.AppendRecord(nil, &rec)
	frames = otlp.AppendRecord(frames, &otlp.Record{Body: otlp.Text([]byte("bad \xff\xfe end"))})
	body := otlp.AppendRequest(nil, res, otlp.Scope{Name: "loghub", Version: "1"}, len(frames))
	body = append(body, frames...)

	var got collector.ExportLogsServiceRequest
	if err := proto.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	first := toProto(&rec)
	first.Attributes = append([]*common.KeyValue{{Key: "log.iostream", Value: toAny(otlp.String("stdout"))}}, first.Attributes...)
	want := &collector.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{{
		Resource: &resource.Resource{Attributes: []*common.KeyValue{{Key: "service.name", Value: toAny(otlp.String("web"))}}},
		ScopeLogs: []*logs.ScopeLogs{{
			Scope: &common.InstrumentationScope{Name: "loghub", Version: "1"},
			LogRecords: []*logs.LogRecord{first,
				{Body: toAny(otlp.String("bad \uFFFD end"))}},
		}},
	}}}
	if diff := cmp.Diff(want, &got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeWhatTheOracleWrites(t *testing.T) {
	rec := sample()
	req := &collector.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{
		{}, // nothing in it
		{
			Resource:  &resource.Resource{Attributes: []*common.KeyValue{{Key: "host.name", Value: toAny(otlp.String("vm1"))}}},
			SchemaUrl: "https://opentelemetry.io/schemas/1.37.0",
			ScopeLogs: []*logs.ScopeLogs{{
				Scope:      &common.InstrumentationScope{Name: "n", Version: "v"},
				LogRecords: []*logs.LogRecord{toProto(&rec), {}},
			}},
		},
	}}
	body, err := proto.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	var got []otlp.Record
	err = otlp.DecodeRequest(body, otlp.Limits{}, func(src *otlp.Source, r *otlp.Record) error {
		want := otlp.Source{
			Resource: []otlp.KeyValue{{Key: "host.name", Value: otlp.String("vm1")}},
			Scope:    otlp.Scope{Name: "n", Version: "v"},
		}
		if diff := cmp.Diff(want, *src); diff != "" {
			t.Error(diff)
		}
		c := *r
		c.Attributes = append([]otlp.KeyValue(nil), r.Attributes...)
		got = append(got, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]otlp.Record{rec, {}}, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	frame := otlp.AppendRecord(nil, &otlp.Record{Body: otlp.String("x"), Attributes: []otlp.KeyValue{{Key: "a"}, {Key: "b"}}})
	request := func(frames ...[]byte) []byte {
		all := bytes.Join(frames, nil)
		return append(otlp.AppendRequest(nil, nil, otlp.Scope{}, len(all)), all...)
	}
	deep := otlp.Int(1)
	for range 40 {
		deep = otlp.Array(deep)
	}
	tests := []struct {
		name string
		data []byte
		lim  otlp.Limits
		want error
	}{
		{"text", []byte("hello, this is not protobuf"), otlp.Limits{}, otlp.ErrMalformed},
		{"cut", request(frame)[:10], otlp.Limits{}, otlp.ErrMalformed},
		{"field number 0", []byte{0x02, 0}, otlp.Limits{}, otlp.ErrMalformed},
		{"records", request(frame, frame, frame), otlp.Limits{Records: 2}, otlp.ErrLimit},
		{"attributes", request(frame), otlp.Limits{Attributes: 1}, otlp.ErrLimit},
		{"values", request(frame), otlp.Limits{Values: 1}, otlp.ErrLimit},
		{"depth", request(otlp.AppendRecord(nil, &otlp.Record{Body: deep})), otlp.Limits{}, otlp.ErrLimit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := otlp.DecodeRequest(tt.data, tt.lim, func(*otlp.Source, *otlp.Record) error { return nil })
			if !errors.Is(err, tt.want) {
				t.Errorf("error is %v, want %v", err, tt.want)
			}
		})
	}
}

func TestResponse(t *testing.T) {
	for _, want := range []otlp.Response{{}, {Rejected: 3, Message: "too old"}, {Message: "warning"}} {
		b := otlp.AppendResponse(nil, want)
		var p collector.ExportLogsServiceResponse
		if err := proto.Unmarshal(b, &p); err != nil {
			t.Fatal(err)
		}
		oracle := otlp.Response{Rejected: p.GetPartialSuccess().GetRejectedLogRecords(), Message: p.GetPartialSuccess().GetErrorMessage()}
		if diff := cmp.Diff(want, oracle); diff != "" {
			t.Error(diff)
		}
		got, err := otlp.DecodeResponse(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := otlp.DecodeResponse([]byte("<html>")); err == nil {
		t.Error("HTML was taken for a response")
	}
	s, err := otlp.DecodeStatus(otlp.AppendStatus(nil, otlp.Status{Code: 3, Message: "bad"}))
	if diff := cmp.Diff(otlp.Status{Code: 3, Message: "bad"}, s); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// FuzzDecode: whatever arrives never panics, and what we accept means the same
// to the oracle and survives being encoded again.
func FuzzDecode(f *testing.F) {
	rec := sample()
	frame := otlp.AppendRecord(nil, &rec)
	f.Add(append(otlp.AppendRequest(nil, []otlp.KeyValue{{Key: "k", Value: otlp.Int(1)}}, otlp.Scope{Name: "s"}, len(frame)), frame...))
	f.Add([]byte{})
	f.Add([]byte("garbage"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var oracle collector.ExportLogsServiceRequest
		oracleErr := proto.Unmarshal(data, &oracle)
		var again []*logs.LogRecord
		err := otlp.DecodeRequest(data, otlp.Limits{}, func(_ *otlp.Source, r *otlp.Record) error {
			var back otlp.Record
			if err := otlp.DecodeRecord(otlp.AppendRecord(nil, r), &back); err != nil {
				t.Fatalf("our own record: %v", err)
			}
			again = append(again, toProto(&back))
			return nil
		})
		if err != nil || oracleErr != nil {
			return
		}
		var want []*logs.LogRecord
		for _, rl := range oracle.GetResourceLogs() {
			for _, sl := range rl.GetScopeLogs() {
				want = append(want, sl.GetLogRecords()...)
			}
		}
		if len(want) != len(again) {
			t.Fatalf("%d records, the oracle has %d", len(again), len(want))
		}
		for i := range want {
			if want[i].GetTimeUnixNano() != again[i].GetTimeUnixNano() || len(want[i].GetAttributes()) != len(again[i].GetAttributes()) {
				t.Fatalf("record %d: got %v, the oracle has %v", i, again[i], want[i])
			}
		}
	})
}

func BenchmarkAppendRecord(b *testing.B) {
	rec := sample()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = otlp.AppendRecord(buf[:0], &rec)
	}
}

func toProto(r *otlp.Record) *logs.LogRecord {
	p := &logs.LogRecord{
		TimeUnixNano: r.Time, ObservedTimeUnixNano: r.Observed,
		SeverityNumber: logs.SeverityNumber(r.Severity), SeverityText: r.SeverityText,
		DroppedAttributesCount: r.Dropped, Flags: r.Flags,
		TraceId: r.TraceID, SpanId: r.SpanID, EventName: r.EventName,
	}
	if r.Body.Kind != otlp.KindEmpty {
		p.Body = toAny(r.Body)
	}
	for _, kv := range r.Attributes {
		p.Attributes = append(p.Attributes, &common.KeyValue{Key: kv.Key, Value: toAny(kv.Value)})
	}
	return p
}

func toAny(v otlp.Value) *common.AnyValue {
	switch v.Kind {
	case otlp.KindString:
		return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: string(v.Bytes)}}
	case otlp.KindBytes:
		return &common.AnyValue{Value: &common.AnyValue_BytesValue{BytesValue: v.Bytes}}
	case otlp.KindBool:
		return &common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: v.Bool()}}
	case otlp.KindInt:
		return &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: v.Int()}}
	case otlp.KindDouble:
		return &common.AnyValue{Value: &common.AnyValue_DoubleValue{DoubleValue: v.Double()}}
	case otlp.KindArray:
		a := &common.ArrayValue{}
		for _, e := range v.Array {
			a.Values = append(a.Values, toAny(e))
		}
		return &common.AnyValue{Value: &common.AnyValue_ArrayValue{ArrayValue: a}}
	case otlp.KindMap:
		m := &common.KeyValueList{}
		for _, kv := range v.Map {
			m.Values = append(m.Values, &common.KeyValue{Key: kv.Key, Value: toAny(kv.Value)})
		}
		return &common.AnyValue{Value: &common.AnyValue_KvlistValue{KvlistValue: m}}
	}
	return &common.AnyValue{}
}

// TestLengths puts the lengths of a field, a body and a record on both sides of where they take a byte more.
func TestLengths(t *testing.T) {
	check := func(key, value string, body int) {
		t.Helper()
		rec := otlp.Record{Body: otlp.String(strings.Repeat("b", body)), Attributes: []otlp.KeyValue{{Key: key, Value: otlp.String(value)}}}
		frame := otlp.AppendRecord([]byte("before"), &rec)
		var got logs.ScopeLogs
		if err := proto.Unmarshal(bytes.TrimPrefix(frame, []byte("before")), &got); err != nil {
			t.Fatalf("key of %d, value of %d, body of %d bytes: %v", len(key), len(value), body, err)
		}
		if diff := cmp.Diff([]*logs.LogRecord{toProto(&rec)}, got.LogRecords, protocmp.Transform()); diff != "" {
			t.Fatalf("key of %d, value of %d, body of %d bytes (-want +got):\\n%s", len(key), len(value), body, diff)
		}
	}
	for n := range 140 {
		check("key", strings.Repeat("v", n), 0)
		check(strings.Repeat("k", n), "vä", n)
	}
	for _, around := range []int{1 << 14, 1 << 21} {
		for n := around - 40; n < around+4; n++ {
			check("k", "v", n)
		}
	}
}
