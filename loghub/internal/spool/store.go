// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"encoding/binary"
	"errors"
	"io"
	"syscall"
)

// store is a tier: where segments and a cursor live. A directory, or a memfd.
type store interface {
	segments() (known, foreign []uint64, err error) // numbers, ascending; foreign: not ours to read, but taken
	create(n uint64) (segment, error)               // fs.ErrExist: the number is taken
	open(n uint64) (segment, error)
	remove(n uint64) error
	cursor() (segment, error) // opened once, kept
	sync() error              // makes what was created so far be found after a crash of the machine
	close() error
}

// segment is one stretch of the log, or the cursor.
type segment interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error) // how far there may be data
	Truncate(size int64) error
	Sync() error
	Close() error
}

// extent is what is known of a segment.
type extent struct {
	size int64 // bytes committed
	head int64 // of them header, link and source frames
	mem  bool  // it is in memory, as a whole
	file bool  // it has a file, of whose bytes…
	disk int64 // …so many are committed ones, and forced down but for what handle.synced says

	records bool // there may be some in it that are not acknowledged
}

// handle is a segment that is written, or was until the last Sync.
type handle struct {
	seg    segment
	number uint64
	disk   bool
	size   int64 // committed
	synced int64 // of those forced down
}

// passes says whether an error is want of descriptors or memory. It says nothing about what was to be opened.
func passes(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// appendHeader appends the header of segment n; parseHeader reads one. Magic,
// version and number stand so in every version.
func appendHeader(dst []byte, n uint64) []byte {
	dst = append(dst, headerMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	return binary.LittleEndian.AppendUint64(dst, n)
}

// parseHeader returns number and version of a segment; ok is false where there is
// no header.
func parseHeader(b []byte) (n uint64, v uint32, ok bool) {
	if len(b) < headerBytes || string(b[:4]) != headerMagic {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint32(b[4:]), true
}
