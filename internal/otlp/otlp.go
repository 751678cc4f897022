// SPDX-License-Identifier: AGPL-3.0-or-later

// Package otlp owns the protobuf bytes of OpenTelemetry logs: it writes log
// records and export requests, and reads what an OTLP/HTTP client or server
// sends. It also writes requests of metrics: gauges and cumulative sums.
//
// Format: opentelemetry-proto, packages opentelemetry.proto.{common,resource,
// logs,collector.logs}.v1 (field numbers stand beside each constant) and the
// section "OTLP/HTTP" of its specification. Encoding appends to a slice and
// uses neither reflection nor generated code. Repeated fields of protobuf
// concatenate, so a request is a prefix (resource, scope) followed by record
// fields that were encoded earlier, possibly by another process:
//
//	body := otlp.AppendRequest(nil, resource, scope, len(records))
//	body = append(body, records...)
//
// Limits: a decoder takes bounds (see Limits) because its input is foreign;
// strings that are not valid UTF-8 are repaired while encoding, since servers
// reject the whole request otherwise.
//
// Left out: the JSON mapping, other metrics, traces, schema URLs (read over,
// never written).
package otlp

import "math"

// Kind tells which of the AnyValue alternatives a Value holds.
type Kind uint8

// The alternatives of opentelemetry.proto.common.v1.AnyValue.
const (
	KindEmpty  Kind = iota // no value was set
	KindString             // Bytes, UTF-8
	KindBool               // Num is 0 or 1
	KindInt                // Num holds an int64
	KindDouble             // Num holds the bits of a float64
	KindArray              // Array
	KindMap                // Map
	KindBytes              // Bytes
)

// Value is an AnyValue. The zero Value is the empty one. Bytes is shared with
// whoever made the Value, never copied.
type Value struct {
	Kind  Kind
	Bytes []byte
	Num   uint64
	Array []Value
	Map   []KeyValue
}

// KeyValue is one attribute or one entry of a map.
type KeyValue struct {
	Key   string
	Value Value
}

// Scope is an InstrumentationScope: who made the records.
type Scope struct {
	Name, Version string
}

// Record is a LogRecord.
type Record struct {
	// Time is when it happened and Observed when we saw it, in nanoseconds
	// since 1970 UTC; 0 means unknown.
	Time, Observed uint64
	// Severity is the SeverityNumber, 1 to 24; 0 means unspecified.
	Severity uint8
	// SeverityText is the source's own word.
	SeverityText string
	Body         Value
	Attributes   []KeyValue
	// Encoded holds further attributes, written by AppendAttribute. The
	// decoder never sets it.
	Encoded []byte
	// Dropped counts attributes that were left out.
	Dropped uint32
	// Flags holds the W3C trace flags in its lowest eight bits.
	Flags uint32
	// TraceID is 16 and SpanID 8 bytes, or empty.
	TraceID, SpanID []byte
	EventName       string
}

// String makes a string value.
func String(s string) Value { return Value{Kind: KindString, Bytes: []byte(s)} }

// Text makes a string value that shares b.
func Text(b []byte) Value { return Value{Kind: KindString, Bytes: b} }

// Bytes makes a bytes value that shares b.
func Bytes(b []byte) Value { return Value{Kind: KindBytes, Bytes: b} }

// Int makes an integer value.
func Int(n int64) Value { return Value{Kind: KindInt, Num: uint64(n)} }

// Double makes a floating-point value.
func Double(f float64) Value { return Value{Kind: KindDouble, Num: math.Float64bits(f)} }

// Bool makes a boolean value.
func Bool(b bool) Value {
	v := Value{Kind: KindBool}
	if b {
		v.Num = 1
	}
	return v
}

// Array makes a list.
func Array(vs ...Value) Value { return Value{Kind: KindArray, Array: vs} }

// Map makes a map, in the order given.
func Map(kvs ...KeyValue) Value { return Value{Kind: KindMap, Map: kvs} }

// Int returns the integer a KindInt value holds.
func (v Value) Int() int64 { return int64(v.Num) }

// Double returns the number a KindDouble value holds.
func (v Value) Double() float64 { return math.Float64frombits(v.Num) }

// Bool tells whether a KindBool value is true.
func (v Value) Bool() bool { return v.Num != 0 }
