// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"bytes"
	"fmt"

	"cloud4.internal/hub/internal/otlp"
	"github.com/klauspost/compress/gzip"
)

// packFrom is the size from which a body is compressed. A compressor takes 0.8 MB,
// which a container that says little had better never need.
const packFrom = 4 << 10

// packer makes the bodies of requests.
type packer struct {
	plain bool         // nothing is compressed
	gz    *gzip.Writer // nil while none is needed
	head  []byte
	buf   bytes.Buffer
}

// pack makes a body of records in encoded form, and names its Content-Encoding, ""
// for none. The body is valid until the next call.
func (p *packer) pack(resource []otlp.KeyValue, scope otlp.Scope, records []byte) (body []byte, encoding string, err error) {
	p.head = otlp.AppendRequest(p.head[:0], resource, scope, len(records))
	p.buf.Reset()
	if p.plain || len(p.head)+len(records) < packFrom {
		p.buf.Write(p.head)
		p.buf.Write(records)
		return p.buf.Bytes(), "", nil
	}
	if p.gz == nil {
		if p.gz, err = gzip.NewWriterLevel(&p.buf, gzip.BestSpeed); err != nil {
			return nil, "", fmt.Errorf("compressing: %w", err)
		}
	} else {
		p.gz.Reset(&p.buf)
	}
	for _, part := range [][]byte{p.head, records} {
		if _, err := p.gz.Write(part); err != nil {
			return nil, "", fmt.Errorf("compressing: %w", err)
		}
	}
	if err := p.gz.Close(); err != nil {
		return nil, "", fmt.Errorf("compressing: %w", err)
	}
	return p.buf.Bytes(), "gzip", nil
}

// release lets go of what large bodies need, and says whether that was anything.
func (p *packer) release() bool {
	large := p.gz != nil || p.buf.Cap() > 4*packFrom
	if large {
		*p = packer{plain: p.plain}
	}
	return large
}
