// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"strings"
	"testing"

	"cloud4.internal/hub/internal/otlp"
)

// BenchmarkPath is the way of a record through the spool: encoded once into a batch,
// committed, peeked as a request of 512, acknowledged. Nanoseconds are of a record.
func BenchmarkPath(b *testing.B) {
	for _, mode := range []Mode{OnDisk, InMemory, MemoryFirst} {
		b.Run(string(mode), func(b *testing.B) {
			s, err := Open(Options{Mode: mode, Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			src, err := s.Register("a", State{})
			if err != nil {
				b.Fatal(err)
			}
			rec := &otlp.Record{Severity: 9, Body: otlp.String(strings.Repeat("x", 120)), Attributes: []otlp.KeyValue{
				{Key: "http.request.method", Value: otlp.String("GET")}, {Key: "url.path", Value: otlp.String("/index.html")},
				{Key: "http.response.status_code", Value: otlp.Int(200)}}}
			batch := NewBatch(src)
			b.ReportAllocs()
			seq := uint64(0)
			for b.Loop() {
				seq++
				batch.Record(seq*150, seq, rec)
				if seq%256 != 0 { // 64 KiB of a pipe
					continue
				}
				if err := s.Commit(batch); err != nil {
					b.Fatal(err)
				}
				if seq%512 != 0 {
					continue
				}
				d, err := s.Peek(512, 512<<10)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Ack(d, 0, d.Len()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
