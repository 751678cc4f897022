// SPDX-License-Identifier: AGPL-3.0-or-later

// Package spool keeps encoded records, together with the places of the sources
// they were read from, until a receiver has taken them.
//
// Record and position stand in one frame of one log, so there is no second file
// that could disagree with it: what was framed is never read again, what was not
// framed is still in its pipe or file. Format (ours, version 1, little-endian):
//
//	segment  "CLSG" | version u32 | number u64 | frames…
//	frame    magic u16 | kind u8 | severity u8 | length u32 | CRC32C u32 | payload
//	record   source, position, sequence (uvarints) | OTLP log_records field
//	carry    source, position | raw bytes before it that made no record yet
//	mark     source, position, sequence | proof of this place, or nothing
//	source   source, position, sequence | key | state | carry | proof (length-prefixed)
//	forget   source
//
// A record or mark ends the carry up to its position; what of it lies behind stays.
// The checksum covers kind, severity and payload. Every segment begins with a
// source frame for each source there is, so older segments can go once their
// records are acknowledged. The cursor (segment and offset of the first record
// that is not acknowledged) has two slots with a generation and a checksum each;
// it is forced to the disk before a segment is unlinked.
//
// Durability: a Commit survives the death of this process at once, the death of
// the machine after the next Sync. A frame that fails its checksum is skipped to
// the next one that holds, and counted; Open never refuses because of what the
// log holds. A lost cursor sends everything again, under the same record uids.
//
// Limits: segments of 1 MiB (more only when one batch is larger), a batch of
// less than 8 MiB, one writer process, one reader. In memory the segments are
// stretches of one memfd, which may outlive this process.
//
// Left out: what the positions mean, and when to shed: see package source.
package spool

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Sizes of the format.
const (
	segmentBytes  = 1 << 20 // a segment that reached it is followed by the next
	headShare     = 3       // a segment holds so many times what its head takes
	headerBytes   = 16      // of a segment
	frameBytes    = 12      // header of a frame
	maxBatchBytes = 6 << 20 // so that a batch fits in one stretch of the memory store
	frameMagic    = 0xC41F
	headerMagic   = "CLSG"
	version       = 2 // 1 has no links, and is read
)

// kind tells what a frame holds.
type kind uint8

const (
	kindRecord kind = 1 + iota
	kindCarry
	kindMark
	kindSource
	kindForget
	kindLink
	kindEnd // first unused
)

// frame is one frame as read; payload is valid until the next read.
type frame struct {
	kind     kind
	severity uint8
	payload  []byte
}

// beginFrame appends the header of a frame; endFrame fills it in.
func beginFrame(dst []byte, k kind, severity uint8) ([]byte, int) {
	at := len(dst)
	dst = binary.LittleEndian.AppendUint16(dst, frameMagic)
	dst = append(dst, byte(k), severity)
	return append(dst, 0, 0, 0, 0, 0, 0, 0, 0), at
}

func endFrame(dst []byte, at int) {
	f := dst[at:]
	binary.LittleEndian.PutUint32(f[4:], uint32(len(f)-frameBytes))
	binary.LittleEndian.PutUint32(f[8:], checksum(f))
}

// checksum is over kind, severity and payload of a whole frame.
func checksum(f []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, f[2:4]), castagnoli, f[frameBytes:])
}

// parseFrame reads the frame at the beginning of data. n is its whole size; 0
// says that data holds no valid frame here.
func parseFrame(data []byte) (f frame, n int) {
	if len(data) < frameBytes || binary.LittleEndian.Uint16(data) != frameMagic {
		return frame{}, 0
	}
	k := kind(data[2])
	size := binary.LittleEndian.Uint32(data[4:])
	if k == 0 || k >= kindEnd || size > maxBatchBytes || int(size) > len(data)-frameBytes {
		return frame{}, 0
	}
	whole := data[:frameBytes+int(size)]
	if checksum(whole) != binary.LittleEndian.Uint32(data[8:]) {
		return frame{}, 0
	}
	return frame{kind: k, severity: data[3], payload: whole[frameBytes:]}, len(whole)
}

// place is what the payloads of most kinds begin with.
type place struct {
	source, pos, seq uint64
}

// uvarints reads n numbers from the front of a payload.
func uvarints(p []byte, into ...*uint64) (rest []byte, ok bool) {
	for _, v := range into {
		x, n := binary.Uvarint(p)
		if n <= 0 {
			return nil, false
		}
		*v, p = x, p[n:]
	}
	return p, true
}

// blob reads a length-prefixed string of bytes.
func blob(p []byte) (b, rest []byte, ok bool) {
	var n uint64
	if p, ok = uvarints(p, &n); !ok || n > uint64(len(p)) {
		return nil, nil, false
	}
	return p[:n], p[n:], true
}

func appendBlob(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}
