// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"encoding/binary"
	"time"
)

// What a write costs the disk. A file system writes whole blocks; forcing it down
// also writes the inode and a journal transaction (ext4: descriptor, some blocks,
// commit), as does making and removing a file. An estimate: how the medium deals with
// it below is its own affair.
const (
	blockBytes   = 4 << 10
	journalBytes = 16 << 10
)

// blocks is what writing size bytes at off puts on the disk, in bytes.
func blocks(off, size int64) int64 {
	if size <= 0 {
		return 0
	}
	return ((off+size-1)/blockBytes - off/blockBytes + 1) * blockBytes
}

// window adds up bytes over the last 24 hours, by the hour.
type window struct {
	hour  int64 // since 1970, of the newest bucket
	kib   [24]uint32
	carry int64 // below one KiB
}

const windowBytes = 8 + 24*4

// add counts bytes written now.
func (w *window) add(n int64, now time.Time) {
	w.move(now)
	w.carry += n
	w.kib[w.hour%24] += uint32(w.carry >> 10)
	w.carry &= 1<<10 - 1
}

// move empties the buckets that are older than a day. A clock that was set back
// moves nothing: what was counted stays, and ages from now on.
func (w *window) move(now time.Time) {
	hour := max(now.Unix()/3600, 0)
	if hour <= w.hour-24 || w.hour == 0 {
		w.hour = hour
	}
	for ; w.hour < hour; w.hour++ {
		if hour-w.hour >= 24 {
			w.kib, w.hour = [24]uint32{}, hour
			return
		}
		w.kib[(w.hour+1)%24] = 0
	}
}

// sum is how many bytes were written in the last 24 hours.
func (w *window) sum(now time.Time) int64 {
	w.move(now)
	var n int64
	for _, k := range w.kib {
		n += int64(k) << 10
	}
	return n
}

// merge takes the greater of two countings of the same hours.
func (w *window) merge(o window) {
	if o.hour > w.hour {
		*w, o = o, *w
	}
	for i := range o.kib {
		if hour := o.hour - (o.hour-int64(i)+24)%24; hour > w.hour-24 {
			w.kib[i] = max(w.kib[i], o.kib[i])
		}
	}
}

func (w *window) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(w.hour))
	for _, k := range w.kib {
		dst = binary.LittleEndian.AppendUint32(dst, k)
	}
	return dst
}

func (w *window) decode(b []byte) {
	w.hour = max(0, int64(binary.LittleEndian.Uint64(b)))
	for i := range w.kib {
		w.kib[i] = binary.LittleEndian.Uint32(b[8+4*i:])
	}
}
