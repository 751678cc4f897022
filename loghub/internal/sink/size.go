// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

// Bounds of a batch, unpacked. A batch begins small, and grows while the backlog fills it and the receiver takes it: each
// request has costs that do not depend on its size, a forced write on the other side among them.
const (
	firstRecords = 512
	firstBytes   = 256 << 10
	maxRecords   = 4096
	maxBytes     = 1 << 20
	minRecords   = 16
	minBytes     = 16 << 10
)

// size is how large the next batch may be.
type size struct {
	records, bytes int
	ceiling        int // bytes; what is as large was refused for it. 0: nothing was
}

func newSize() size { return size{records: firstRecords, bytes: firstBytes} }

// full says whether a batch had as much as it may.
func (s *size) full(records, bytes int) bool { return records >= s.records || bytes >= s.bytes*3/4 }

// took is told of a batch that was acknowledged.
func (s *size) took(records, bytes int) {
	if !s.full(records, bytes) {
		return
	}
	s.records = min(2*s.records, maxRecords)
	grown := min(2*s.bytes, maxBytes)
	if s.ceiling == 0 || grown < s.ceiling {
		s.bytes = grown
	}
}

// refused is told of a batch that was too large. What was refused is never tried again in this run.
func (s *size) refused(bytes int) {
	if s.ceiling == 0 || bytes < s.ceiling {
		s.ceiling = bytes
	}
	s.bytes = max(min(s.bytes, s.ceiling/2), minBytes)
}

// failed is told of a request that got no answer: on a slow line a smaller one may.
func (s *size) failed() {
	s.records = max(s.records/2, minRecords)
	s.bytes = max(s.bytes/2, minBytes)
}
