// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"bytes"
	"errors"
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

	end     int64 // behind the last frame that was found
	skipped int64 // bytes that were no frame, with frames behind them
	holes   int   // how many times that was so
	torn    bool  // the segment ended in bytes that are no frame: a write was cut short
}

const readAhead = 64 << 10

// unreadable stands for bytes that the disk does not give back; it is no frame.
const unreadable = 0xff

func (s *scanner) reset(src io.ReaderAt, off, limit int64) {
	s.src, s.buf, s.base, s.off, s.limit = src, s.buf[:0], off, off, limit
}

// next returns the next frame; io.EOF at the limit, or where there is none any
// more. Bytes that are no frame are skipped and counted.
func (s *scanner) next() (frame, error) {
	start := s.off
	for {
		data := s.window(frameBytes)
		if len(data) < frameBytes {
			s.torn = s.torn || s.off != start || !allZero(data)
			s.reset(s.src, start, s.limit)
			return frame{}, io.EOF
		}
		if size := frameSize(data); size > len(data) {
			data = s.window(size)
		}
		if f, n := parseFrame(data); n > 0 {
			if s.off != start {
				s.skipped += s.off - start
				s.holes++
			}
			s.off += int64(n)
			s.end = s.off
			return f, nil
		}
		first := s.off == start
		zeros, found := s.resync()
		if !found {
			s.torn = s.torn || !zeros || !first
			s.reset(s.src, start, s.limit)
			return frame{}, io.EOF
		}
	}
}

// resync moves to the next place that looks like a frame. zeros says that there was
// nothing but zeros up to there.
func (s *scanner) resync() (zeros, found bool) {
	data := s.window(1)
	zeros = data[0] == 0
	s.off++
	for {
		data := s.window(2)
		if len(data) < 2 {
			return zeros && allZero(data), false
		}
		at := bytes.Index(data, []byte{frameMagic & 0xff, frameMagic >> 8})
		if at >= 0 {
			s.off += int64(at)
			return false, true
		}
		zeros = zeros && allZero(data)
		s.off += int64(len(data) - 1)
	}
}

// window returns what there is from off on, at least want bytes unless the
// limit comes first. Blocks that cannot be read are filled with what is no frame.
func (s *scanner) window(want int) []byte {
	have := s.buf[min(int64(len(s.buf)), s.off-s.base):]
	if len(have) >= want || s.off+int64(len(have)) >= s.limit {
		return have
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
	s.buf = s.buf[:kept+s.read(s.buf[kept:], s.off+int64(kept))]
	return s.buf
}

// read fills p from off, and returns how much of it there is.
func (s *scanner) read(p []byte, off int64) int {
	got := 0
	for got < len(p) {
		n, err := s.src.ReadAt(p[got:], off+int64(got))
		got += n
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		bad := min(int64(len(p)-got), blockBytes-(off+int64(got))%blockBytes)
		for i := range bad {
			p[got+int(i)] = unreadable
		}
		got += int(bad)
	}
	return got
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
