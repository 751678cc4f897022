// SPDX-License-Identifier: AGPL-3.0-or-later

package event

import (
	"slices"
	"unicode/utf8"

	"cloud4.internal/hub/internal/otlp"
)

const (
	// MaxRecord bounds an encoded record: with what else stands in a batch it fits in the spool, and so in a request to a
	// receiver. A line of the longest has room in it four times.
	MaxRecord = 4 << 20
	// boundFrom is of how many bytes a record is made, at least, that can get larger than that. A secret of eight bytes
	// becomes a name of 54, and what is thrown stands in two places.
	boundFrom = 256 << 10
	// maxThrown bounds what of a record stands in it twice.
	maxThrown = 64 << 10
	// maxKeys bounds the names within one attribute.
	maxKeys = 16 << 10
)

// Bounded cuts a record that was made of so many bytes to MaxRecord: an attribute with a giant name goes, and the longest of
// the texts lose their ends. AttrCut tells how many bytes that took. r may be nil.
func Bounded(r *otlp.Record, bytes int) *otlp.Record {
	if r == nil || bytes < boundFrom {
		return r
	}
	size := len(otlp.AppendRecord(nil, r))
	if size <= MaxRecord {
		return r
	}
	whole := size
	n := len(r.Attributes)
	r.Attributes = slices.DeleteFunc(r.Attributes, func(kv otlp.KeyValue) bool { return len(kv.Key)+keys(kv.Value) > maxKeys })
	r.Dropped += uint32(n - len(r.Attributes))
	for size = len(otlp.AppendRecord(nil, r)); size > MaxRecord; {
		longest := &r.Body
		texts(&r.Body, func(v *otlp.Value) { longest = longer(longest, v) })
		for i := range r.Attributes {
			texts(&r.Attributes[i].Value, func(v *otlp.Value) { longest = longer(longest, v) })
		}
		if len(longest.Bytes) == 0 {
			break
		}
		text := longest.Bytes[:max(len(longest.Bytes)-(size-MaxRecord), 0)]
		for len(text) > 0 && len(text) < len(longest.Bytes) && !utf8.RuneStart(longest.Bytes[len(text)]) {
			text = text[:len(text)-1]
		}
		size -= len(longest.Bytes) - len(text)
		longest.Bytes = text
	}
	r.Encoded = otlp.AppendAttribute(r.Encoded, otlp.KeyValue{Key: AttrCut, Value: otlp.Int(int64(whole - size))})
	return r
}

// keys is how long the names in a value are.
func keys(v otlp.Value) (n int) {
	for _, kv := range v.Map {
		n += len(kv.Key) + keys(kv.Value)
	}
	for _, e := range v.Array {
		n += keys(e)
	}
	return n
}

// texts calls fn for every text in a value.
func texts(v *otlp.Value, fn func(v *otlp.Value)) {
	switch v.Kind {
	case otlp.KindString, otlp.KindBytes:
		fn(v)
	case otlp.KindMap:
		for i := range v.Map {
			texts(&v.Map[i].Value, fn)
		}
	case otlp.KindArray:
		for i := range v.Array {
			texts(&v.Array[i], fn)
		}
	}
}

func longer(a, b *otlp.Value) *otlp.Value {
	if len(b.Bytes) > len(a.Bytes) {
		return b
	}
	return a
}
