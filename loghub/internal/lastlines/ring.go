// SPDX-License-Identifier: AGPL-3.0-or-later

// Package lastlines remembers the last bytes that a service wrote, for the moment when it is asked what its last words were.
//
// The readers of its streams hand over what they read, as it is; a copy of some 16 KiB is all that it costs, whatever the rate.
// Only when somebody asks are the bytes cut into lines, in the order in which the lines ended, streams never mixed within one.
//
// Lines are as the service wrote them: neither masked nor cleaned. The first line of a stream is left out where its beginning
// is not there any more, since half a secret would not be recognised as one.
//
// Left out: what was read by an earlier process.
package lastlines

import (
	"bytes"
	"sync"
	"time"
)

// Sizes of a ring.
const (
	ringBytes  = 16 << 10
	ringPieces = 128 // pieces of different streams or moments that are told apart
	sameMoment = 10 * time.Millisecond
)

// Ring keeps the last bytes of a few streams. The zero Ring is empty and ready.
type Ring struct {
	mu     sync.Mutex
	buf    []byte // made by the first Add
	end    int    // of the newest byte in buf
	pieces []piece
	torn   [streams]bool // the oldest byte kept of the stream is no beginning of a line, as far as is known
}

const streams = 4

// piece is a run of bytes of one stream.
type piece struct {
	stream uint8
	n      int
	at     time.Time // when its first byte came
}

// Add keeps what was read from a stream (0 to 3) at a time.
func (r *Ring) Add(stream uint8, data []byte, at time.Time) {
	if len(data) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buf == nil {
		r.buf, r.pieces = make([]byte, ringBytes), make([]piece, 0, ringPieces)
	}
	if over := len(data) - ringBytes; over > 0 {
		r.tear(stream, data[over-1])
		data = data[over:]
	}
	r.makeRoom(len(data))
	if n := len(r.pieces); n > 0 && r.pieces[n-1].stream == stream && at.Sub(r.pieces[n-1].at) < sameMoment {
		r.pieces[n-1].n += len(data)
	} else {
		r.pieces = append(r.pieces, piece{stream, len(data), at})
	}
	n := copy(r.buf[r.end:], data)
	copy(r.buf, data[n:])
	r.end = (r.end + len(data)) % ringBytes
}

// makeRoom drops the oldest bytes so that n more fit.
func (r *Ring) makeRoom(n int) {
	used := 0
	for _, p := range r.pieces {
		used += p.n
	}
	for used+n > ringBytes || len(r.pieces) == ringPieces {
		oldest := &r.pieces[0]
		drop := oldest.n
		if len(r.pieces) < ringPieces {
			drop = min(drop, used+n-ringBytes)
		}
		r.tear(oldest.stream, r.buf[(r.end-used+drop-1+2*ringBytes)%ringBytes])
		used -= drop
		if oldest.n -= drop; oldest.n == 0 {
			r.pieces = r.pieces[:copy(r.pieces, r.pieces[1:])]
		}
	}
}

// tear notes that a stream's bytes up to last are gone.
func (r *Ring) tear(stream uint8, last byte) { r.torn[stream] = last != '\n' }

// Lines gives the last lines, at most so many, of what came from from on and before to; a zero time is no bound. A last line
// without an end counts. The newest is the last one.
func (r *Ring) Lines(most int, from, to time.Time) [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines [][]byte
	var open [streams][]byte // the line of each stream that has no end yet
	torn := r.torn
	at := r.end
	for _, p := range r.pieces {
		at -= p.n
	}
	at = (at + ringBytes) % ringBytes
	for _, p := range r.pieces {
		data := append(bytes.Clone(r.buf[at:min(at+p.n, ringBytes)]), r.buf[:max(at+p.n-ringBytes, 0)]...)
		at = (at + p.n) % ringBytes
		switch {
		case p.at.Before(from):
			torn[p.stream] = data[len(data)-1] != '\n'
			continue
		case !to.IsZero() && !p.at.Before(to):
			continue
		}
		for line, rest, ended := bytes.Cut(data, newline); len(data) > 0; line, rest, ended = bytes.Cut(data, newline) {
			data = rest
			open[p.stream] = append(open[p.stream], line...)
			if !ended {
				break
			}
			if !torn[p.stream] {
				lines = append(lines, open[p.stream])
			}
			open[p.stream], torn[p.stream] = nil, false
		}
	}
	for i, line := range open {
		if len(line) > 0 && !torn[i] {
			lines = append(lines, line)
		}
	}
	return lines[max(len(lines)-most, 0):]
}

var newline = []byte{'\n'}
