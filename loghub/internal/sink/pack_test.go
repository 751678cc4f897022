// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"bytes"
	"io"
	"testing"

	"cloud4.internal/hub/internal/otlp"
	"github.com/klauspost/compress/gzip"
)

// TestPacker: small bodies need no compressor, and a compressor that was let go
// comes back.
func TestPacker(t *testing.T) {
	resource := []otlp.KeyValue{{Key: "service.name", Value: otlp.String("web")}}
	var p packer
	for _, size := range []int{100, 100_000, 200_000, 100, -1, 100_000} {
		if size < 0 {
			if !p.release() || p.release() {
				t.Error("what there is was not let go, once")
			}
			continue
		}
		records := bytes.Repeat([]byte("r"), size)
		body, encoding, err := p.pack(resource, otlp.Scope{Name: "loghub"}, records)
		if err != nil {
			t.Fatal(err)
		}
		want := append(otlp.AppendRequest(nil, resource, otlp.Scope{Name: "loghub"}, size), records...)
		if size >= packFrom {
			if encoding != "gzip" || len(body) > size/10 {
				t.Errorf("%d bytes: %q, %d bytes", size, encoding, len(body))
			}
			gz, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(gz); err != nil {
				t.Fatal(err)
			}
		} else if encoding != "" {
			t.Errorf("%d bytes: encoded as %q", size, encoding)
		}
		if !bytes.Equal(body, want) {
			t.Errorf("%d bytes: the body is another one", size)
		}
	}
}
