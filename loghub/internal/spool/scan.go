// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// scanner walks the frames of one segment from an offset to a limit. It reads
// ahead in pieces, and grows its buffer only for a frame that needs it.
type scanner struct {
	src   io.ReaderAt
	buf   []byte // data[off-base…] as far as read
	base  int64  // offset of buf[0]
	off   int64  // of the next frame
	limit int64

	skipped int64 // bytes that were no frame, with frames behind them
	holes   int   // how many times that was so
	torn    bool  // the segment ended in bytes that are no frame: a write was cut short
}

const readAhead = 64 << 10

func (s *scanner) reset(src io.ReaderAt, off, limit int64) {
	s.src, s.buf, s.base, s.off, s.limit = src, s.buf[:0], off, off, limit
}

// next returns the next frame; io.EOF at the limit or where nothing was ever
// written. Bytes that are no frame are skipped and counted.
func (s *scanner) next() (frame, error) {
	start := s.off
	for {
		data, err := s.window(frameBytes)
		if err != nil {
			return frame{}, err
		}
		if len(data) < frameBytes || s.off == start && allZero(data[:frameBytes]) {
			s.torn = s.torn || s.off != start || !allZero(data)
			return frame{}, io.EOF
		}
		if size := frameSize(data); size > len(data) {
			if data, err = s.window(size); err != nil {
				return frame{}, err
			}
		}
		if f, n := parseFrame(data); n > 0 {
			if s.off != start {
				s.skipped += s.off - start
				s.holes++
			}
			s.off += int64(n)
			return f, nil
		}
		found, err := s.resync()
		if err != nil {
			return frame{}, err
		}
		if !found {
			s.torn = true
			return frame{}, io.EOF
		}
	}
}

// resync moves to the next place that looks like a frame.
func (s *scanner) resync() (bool, error) {
	s.off++
	for {
		data, err := s.window(2)
		if err != nil || len(data) < 2 {
			return false, err
		}
		if at := bytes.Index(data, []byte{frameMagic & 0xff, frameMagic >> 8}); at >= 0 {
			s.off += int64(at)
			return true, nil
		}
		s.off += int64(len(data) - 1)
	}
}

// window returns what there is from off on, at least want bytes unless the
// limit comes first.
func (s *scanner) window(want int) ([]byte, error) {
	have := s.buf[min(int64(len(s.buf)), s.off-s.base):]
	if len(have) >= want || s.off+int64(len(have)) >= s.limit {
		return have, nil
	}
	n := min(int64(max(want, readAhead)), s.limit-s.off)
	if int64(cap(s.buf)) < n {
		grown := make([]byte, 0, n)
		have = append(grown, have...)
		s.buf = have
	} else {
		copy(s.buf[:len(have)], have)
	}
	kept := len(have)
	s.buf = s.buf[:n]
	s.base = s.off
	got, err := s.src.ReadAt(s.buf[kept:], s.off+int64(kept))
	s.buf = s.buf[:kept+got]
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the spool: %w", err)
	}
	return s.buf, nil
}

// frameSize is the size a header claims, if it may be true.
func frameSize(data []byte) int {
	size := uint32(data[4]) | uint32(data[5])<<8 | uint32(data[6])<<16 | uint32(data[7])<<24
	if size > maxBatchBytes {
		return 0
	}
	return frameBytes + int(size)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
