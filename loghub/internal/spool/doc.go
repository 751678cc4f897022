// SPDX-License-Identifier: AGPL-3.0-or-later

// Package spool keeps encoded records, together with the places of the sources
// they were read from, until a receiver has taken them.
//
// Record and position stand in one frame of one log, so there is no second file
// that could disagree with it: what was framed is never read again, what was not
// framed is still in its pipe or file. Format (ours, version 2, little-endian):
//
//	segment  "CLSG" | version u32 | number u64 | frames…
//	frame    magic u16 | kind u8 | severity u8 | length u32 | CRC32C u32 | payload
//	link     number and size of the segment before, boot, how many source frames follow
//	record   source, position, sequence (uvarints) | OTLP log_records field
//	carry    source, position | raw bytes before it that made no record yet
//	mark     source, position, sequence | proof of this place, or nothing
//	source   source, position, sequence | key | state | carry | proof (length-prefixed)
//	forget   source
//	cursor   two slots: generation, segment, offset u64 | bytes written by the hour | CRC32C u32
//
// A record or mark ends the carry up to its position; what of it lies behind stays.
// The checksum of a frame covers kind, severity and payload. Every segment begins
// with its head: a link and a source frame for each source there is, so older
// segments can go once their records are acknowledged.
//
// # Tiers
//
// A segment is in memory (a stretch of one memfd, which hubinit holds, so that it
// outlives this process) or in a file, or in both: then memory has the whole of it
// and the file a prefix, and it is read once, by its number. OnDisk begins segments in
// files, and in memory while the disk takes none. MemoryFirst begins them in memory; what
// waits for DiskAfter, or when memory is three quarters full, is appended to files with one
// forced write a segment, in the order of the log. The bytes that this writes in 24
// hours are bounded; what Close and Secure write on a stop is not. InMemory sends what
// is found in files, and writes none.
//
// # Outside the log
//
// A batch that its source could read again (Batch.Again: a file of which there is more to read) waits in the process's memory
// for its first chance to be sent, 1.5 MiB of them at most and an eighth of a quota. What is acknowledged there was never
// written: the batch's place alone goes to the log, when all of it is. What is left goes there once it waited for two seconds,
// when its source commits what may not wait, on Sync, Secure and Close. While the receiver does not keep up, or after an attempt
// to send failed, everything that comes goes there at once. What goes there while a request has it is acknowledged there, record
// by record. After a kill its source is read again from the place before it.
//
// # What holds
//
// A Commit to the log survives the death of this process at once. It survives the death of the
// machine after the next Sync (OnDisk), or once it was spilled. A place is never
// restored ahead of a record that the machine's end took: a segment says how long the one
// before it was, and in which life of the machine it was written; where a piece is
// missing that was not forced down, places behind it do not count (records do), and the
// source is read again, under the same uids. Before a file goes, the cursor is forced to the disk,
// and so are the places it held. A cursor that cannot be written keeps only the newest of
// the files that could go; one that is lost sends again what is there, and may read sources
// from their beginning.
//
// Disbelief lasts. Places that did not count once must not count at a later start, when what
// told it is gone: the machine may end again before anything of this life is on the disk. So
// long as no whole head behind them is forced down, which replaces them all,
//
//   - the cursor on the disk does not go past where they begin, the bar, though that in memory
//     does and files go: what is in front of the cursor is believed without what it followed,
//     since who moved it there had seen all of that acknowledged;
//   - files in front of the bar go only up to the newest that holds places. Those behind it
//     may go in any order, and any of them may come back: what is left follows on nothing.
//
// A head replaces what was not believed while it is there. Where none follows it (InMemory), it goes
// when those before it cannot come back: the directory was forced down without them.
// What a killed process has left in files is forced down before new ones say that it is safe; of its
// cursor, the slot that holds is never the one written next. A full disk stops none of this: segments
// begin in memory, and records flow through it, as they do where a disk cannot be forced down. Files
// that such a one does not let go of take no room from what comes.
//
// Places do not add up while nothing is acknowledged. Without records there is room for an eighth more than the quota
// (Commit), and a start, which writes all of them anew, removes what starts before it have left: segments without
// records, at the end of the log. In memory alone each segment without records goes when the next one was begun.
//
// A frame that fails its checksum, or cannot be read, is skipped to the next one that
// holds, and counted. Open never refuses because of what the log or its directory holds,
// but does for want of descriptors or memory that does not pass within a second.
//
// Versions: magic, version and number of a segment stand where they do in each
// version, and each has blocks of its own for its cursor (version n the blocks 2n-3 and
// 2n-2 of 4 KiB), so what a later version wrote is kept, counted and not overwritten, and its
// numbers are not used again. Version 1 (no links, slots of 28 bytes at 0 and 64) is
// read; the first segment begun is of version 2. A later version has to read this one's
// cursor for the segments up to version 2, and its own for others.
//
// Limits: segments of 1 MiB (more only when one batch is larger), a batch of
// less than 8 MiB, one writer process, one reader. A directory that could not be used at
// the start is not tried again before the next one.
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

// beginFrame appends the header of a frame; endFrame fills it in. Frames of a batch are closed, and sealed when they are written.
func beginFrame(dst []byte, k kind, severity uint8) ([]byte, int) {
	at := len(dst)
	dst = binary.LittleEndian.AppendUint16(dst, frameMagic)
	dst = append(dst, byte(k), severity)
	return append(dst, 0, 0, 0, 0, 0, 0, 0, 0), at
}

func endFrame(dst []byte, at int) {
	closeFrame(dst, at)
	seal(dst[at:])
}

// closeFrame fills in the length.
func closeFrame(dst []byte, at int) {
	binary.LittleEndian.PutUint32(dst[at+4:], uint32(len(dst)-at-frameBytes))
}

// seal fills in the checksums of closed frames.
func seal(frames []byte) {
	for len(frames) > 0 {
		_, n := looseFrame(frames)
		binary.LittleEndian.PutUint32(frames[8:], checksum(frames[:n]))
		frames = frames[n:]
	}
}

// checksum is over kind, severity and payload of a whole frame. Package crc32 is made for long stretches: its two first bytes,
// which stand apart, are taken from the table.
func checksum(f []byte) uint32 {
	head := ^uint32(0)
	for _, c := range f[2:4] {
		head = castagnoli[byte(head)^c] ^ head>>8
	}
	return crc32.Update(^head, castagnoli, f[frameBytes:])
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
