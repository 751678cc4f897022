// SPDX-License-Identifier: AGPL-3.0-or-later

package otlp

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Wire types of protobuf.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// Field tags (number<<3 | wire type) of the messages we write.
const (
	anyString = 1<<3 | wireBytes
	anyBool   = 2<<3 | wireVarint
	anyInt    = 3<<3 | wireVarint
	anyDouble = 4<<3 | wireFixed64
	anyArray  = 5<<3 | wireBytes
	anyMap    = 6<<3 | wireBytes
	anyBytes  = 7<<3 | wireBytes

	listValues = 1<<3 | wireBytes // ArrayValue.values, KeyValueList.values

	kvKey   = 1<<3 | wireBytes
	kvValue = 2<<3 | wireBytes

	recTime         = 1<<3 | wireFixed64
	recSeverity     = 2<<3 | wireVarint
	recSeverityText = 3<<3 | wireBytes
	recBody         = 5<<3 | wireBytes
	recAttributes   = 6<<3 | wireBytes
	recDropped      = 7<<3 | wireVarint
	recFlags        = 8<<3 | wireFixed32
	recTraceID      = 9<<3 | wireBytes
	recSpanID       = 10<<3 | wireBytes
	recObserved     = 11<<3 | wireFixed64
	recEventName    = 12<<3 | wireBytes

	scopeName    = 1<<3 | wireBytes
	scopeVersion = 2<<3 | wireBytes

	scopeLogsScope   = 1<<3 | wireBytes
	scopeLogsRecords = 2<<3 | wireBytes

	resourceAttributes    = 1<<3 | wireBytes
	resourceLogsResource  = 1<<3 | wireBytes
	resourceLogsScopeLogs = 2<<3 | wireBytes

	requestResourceLogs = 1<<3 | wireBytes
)

// AppendRecord appends the record as a log_records field of ScopeLogs: tag,
// length, message. Fields made so may be concatenated after AppendRequest.
func AppendRecord(dst []byte, r *Record) []byte {
	const room = 2 // bytes of the length of most records: 128 bytes to 16 KiB
	dst = append(dst, scopeLogsRecords, 0, 0)
	at := len(dst)
	dst = appendRecord(dst, r)
	n := len(dst) - at
	if size := sizeUvarint(uint64(n)); size != room {
		dst = append(dst, 0, 0, 0)
		copy(dst[at-room+size:], dst[at:at+n])
		dst = dst[:at-room+size+n]
	}
	binary.PutUvarint(dst[at-room:], uint64(n))
	return dst
}

// appendRecord appends the fields of a LogRecord. What the records of a source have in common comes first and in one piece, times
// included: a compressor then takes it for one repetition.
func appendRecord(dst []byte, r *Record) []byte {
	if r.Time != 0 {
		dst = append(dst, recTime)
		dst = binary.LittleEndian.AppendUint64(dst, r.Time)
	}
	if r.Observed != 0 {
		dst = append(dst, recObserved)
		dst = binary.LittleEndian.AppendUint64(dst, r.Observed)
	}
	if r.Severity != 0 {
		dst = append(dst, recSeverity, min(r.Severity, 24))
	}
	dst = appendString(dst, recSeverityText, r.SeverityText)
	dst = append(dst, r.Encoded...)
	if r.Body.Kind != KindEmpty {
		dst = append(dst, recBody)
		dst = appendAny(dst, r.Body)
	}
	for i := range r.Attributes {
		dst = appendField(dst, recAttributes, &r.Attributes[i])
	}
	if r.Dropped != 0 {
		dst = append(dst, recDropped)
		dst = binary.AppendUvarint(dst, uint64(r.Dropped))
	}
	if r.Flags != 0 {
		dst = append(dst, recFlags)
		dst = binary.LittleEndian.AppendUint32(dst, r.Flags)
	}
	dst = appendBytes(dst, recTraceID, r.TraceID)
	dst = appendBytes(dst, recSpanID, r.SpanID)
	return appendString(dst, recEventName, r.EventName)
}

// AppendAttribute appends kv as an attributes field of LogRecord, which is
// what Record.Encoded holds.
func AppendAttribute(dst []byte, kv KeyValue) []byte {
	return appendField(dst, recAttributes, &kv)
}

// AppendRequest appends the beginning of an ExportLogsServiceRequest with one
// resource and one scope. Exactly recordBytes bytes of record fields (see
// AppendRecord) have to follow.
func AppendRequest(dst []byte, resource []KeyValue, scope Scope, recordBytes int) []byte {
	res := 0
	for _, kv := range resource {
		res += sizeField(kv)
	}
	sc := sizeString(scope.Name) + sizeString(scope.Version)
	scopeLogs := sizeDelimited(sc) + recordBytes
	resourceLogs := sizeDelimited(res) + sizeDelimited(scopeLogs)

	dst = append(dst, requestResourceLogs)
	dst = binary.AppendUvarint(dst, uint64(resourceLogs))
	dst = append(dst, resourceLogsResource)
	dst = binary.AppendUvarint(dst, uint64(res))
	for i := range resource {
		dst = appendField(dst, resourceAttributes, &resource[i])
	}
	dst = append(dst, resourceLogsScopeLogs)
	dst = binary.AppendUvarint(dst, uint64(scopeLogs))
	dst = append(dst, scopeLogsScope)
	dst = binary.AppendUvarint(dst, uint64(sc))
	dst = appendString(dst, scopeName, scope.Name)
	return appendString(dst, scopeVersion, scope.Version)
}

// maxShort is how long key and string of a field may be together for each of its lengths to be one byte.
const maxShort = 127 - len("k.v.s.")

// appendField appends kv as a KeyValue message under tag. Most are short and ASCII: those are written at once, and what was
// written, whose tags and lengths are below 0x80 too, is looked through in one go.
func appendField(dst []byte, tag byte, kv *KeyValue) []byte {
	key, at := len(kv.Key), len(dst)
	switch value := len(kv.Value.Bytes); {
	case key == 0:
	case kv.Value.Kind == KindString && key+value <= maxShort:
		dst = append(dst, tag, byte(key+value+6), kvKey, byte(key))
		dst = append(dst, kv.Key...)
		dst = append(dst, kvValue, byte(value+2), anyString, byte(value))
		dst = append(dst, kv.Value.Bytes...)
		if ascii(dst[at:]) {
			return dst
		}
	case kv.Value.Kind == KindInt && key <= maxShort-binary.MaxVarintLen64:
		value := 1 + sizeUvarint(kv.Value.Num)
		dst = append(dst, tag, byte(key+value+4), kvKey, byte(key))
		dst = append(dst, kv.Key...)
		if ascii(dst[at:]) {
			return binary.AppendUvarint(append(dst, kvValue, byte(value), anyInt), kv.Value.Num)
		}
	}
	dst = dst[:at]
	value := sizeValue(kv.Value)
	dst = append(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(sizeString(kv.Key)+sizeDelimited(value)))
	dst = appendString(dst, kvKey, kv.Key)
	dst = append(dst, kvValue)
	dst = binary.AppendUvarint(dst, uint64(value))
	return appendValue(dst, kv.Value)
}

// ascii says whether all bytes are below 0x80.
func ascii(b []byte) bool {
	const high = 0x8080808080808080
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b)&high != 0 {
			return false
		}
	}
	var or byte
	for _, c := range b {
		or |= c
	}
	return or < utf8.RuneSelf
}

// appendAny appends v as an AnyValue message with its length, whose tag was appended.
func appendAny(dst []byte, v Value) []byte {
	if v.Kind == KindString { // a body: its bytes are looked through once
		b := validUTF8(v.Bytes)
		dst = binary.AppendUvarint(dst, uint64(sizeDelimited(len(b))))
		dst = append(dst, anyString)
		dst = binary.AppendUvarint(dst, uint64(len(b)))
		return append(dst, b...)
	}
	dst = binary.AppendUvarint(dst, uint64(sizeValue(v)))
	return appendValue(dst, v)
}

// appendValue appends the fields of an AnyValue message.
func appendValue(dst []byte, v Value) []byte {
	switch v.Kind {
	case KindString:
		b := validUTF8(v.Bytes)
		dst = append(dst, anyString)
		dst = binary.AppendUvarint(dst, uint64(len(b)))
		return append(dst, b...)
	case KindBytes:
		dst = append(dst, anyBytes)
		dst = binary.AppendUvarint(dst, uint64(len(v.Bytes)))
		return append(dst, v.Bytes...)
	case KindBool:
		return append(dst, anyBool, byte(v.Num&1))
	case KindInt:
		return binary.AppendUvarint(append(dst, anyInt), v.Num)
	case KindDouble:
		return binary.LittleEndian.AppendUint64(append(dst, anyDouble), v.Num)
	case KindArray:
		dst = append(dst, anyArray)
		dst = binary.AppendUvarint(dst, uint64(sizeArray(v.Array)))
		for _, e := range v.Array {
			dst = appendAny(append(dst, listValues), e)
		}
	case KindMap:
		dst = append(dst, anyMap)
		dst = binary.AppendUvarint(dst, uint64(sizeMap(v.Map)))
		for i := range v.Map {
			dst = appendField(dst, listValues, &v.Map[i])
		}
	}
	return dst
}

func appendString(dst []byte, tag byte, s string) []byte {
	if s == "" {
		return dst
	}
	if !utf8.ValidString(s) {
		s = string(validUTF8([]byte(s)))
	}
	dst = append(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendBytes(dst []byte, tag byte, b []byte) []byte {
	if len(b) == 0 {
		return dst
	}
	dst = append(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// sizeField is the size of kv as a field: tag, length, message.
func sizeField(kv KeyValue) int {
	return sizeDelimited(sizeString(kv.Key) + sizeDelimited(sizeValue(kv.Value)))
}

func sizeValue(v Value) int {
	switch v.Kind {
	case KindString:
		return sizeDelimited(len(validUTF8(v.Bytes)))
	case KindBytes:
		return sizeDelimited(len(v.Bytes))
	case KindBool:
		return 2
	case KindInt:
		return 1 + sizeUvarint(v.Num)
	case KindDouble:
		return 9
	case KindArray:
		return sizeDelimited(sizeArray(v.Array))
	case KindMap:
		return sizeDelimited(sizeMap(v.Map))
	}
	return 0
}

func sizeArray(vs []Value) int {
	n := 0
	for _, v := range vs {
		n += sizeDelimited(sizeValue(v))
	}
	return n
}

func sizeMap(kvs []KeyValue) int {
	n := 0
	for _, kv := range kvs {
		n += sizeField(kv)
	}
	return n
}

func sizeString(s string) int {
	if s == "" {
		return 0
	}
	if !utf8.ValidString(s) {
		return sizeDelimited(len(validUTF8([]byte(s))))
	}
	return sizeDelimited(len(s))
}

// sizeDelimited is the size of a field with a one-byte tag, its length and n
// bytes.
func sizeDelimited(n int) int { return 1 + sizeUvarint(uint64(n)) + n }

func sizeUvarint(x uint64) int { return (bits.Len64(x|1) + 6) / 7 }

// validUTF8 returns b, or a copy with each run of invalid bytes replaced by
// U+FFFD. Both passes of the encoder call it, so that they agree.
func validUTF8(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	return bytes.ToValidUTF8(b, []byte("\uFFFD"))
}
