// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"bytes"
	"errors"
	"io"

	"cloud4.internal/hub/loghub/internal/join"
	"golang.org/x/sys/unix"
)

// Zero bytes at the place of a line are no line. A file that was truncated under a writer without O_APPEND begins with as
// many of them as it had bytes before, mostly as a hole that takes no room; a file that was made in its full size before
// it is written ends with them. The first kind is passed over, the second waited for.

// zerosPerTurn is how many bytes are looked at for the end of zeros that are no hole.
const zerosPerTurn = 1 << 20

// nuls counts the zero bytes at the beginning of data.
func nuls(data []byte) int {
	return len(data) - len(bytes.TrimLeft(data, "\x00"))
}

// beforeNULs gives what of data stands before the first line that begins with zeros; at the end of a file also before those
// at the end of a line. cut says that there are some.
func beforeNULs(data []byte, end bool) (lines []byte, cut bool) {
	if bytes.IndexByte(data, 0) < 0 {
		return data, false
	}
	lines = data
	if i := bytes.Index(data, []byte("\n\x00")); i >= 0 {
		lines = data[:i+1]
	} else if end {
		lines = bytes.TrimRight(data, "\x00")
	}
	return lines, len(lines) < len(data)
}

// passNULs passes over the zeros at the place, with which data, read from there, begins, as soon as something follows
// them. n = 0: nothing does so far. again says that not all were looked at.
func (t *tail) passNULs(data []byte) (n int64, again bool, err error) {
	if k := nuls(data); k < len(data) {
		return int64(k), false, t.pass(int64(k))
	}
	at := max(t.scanned, t.offset+int64(len(data)))
	next, err := t.f.Seek(at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // a hole up to the end
		t.scanned = t.size
		return 0, false, nil
	case err != nil: // its file system knows no holes
		next = at
	}
	for end := next + zerosPerTurn; next < end; {
		got, err := t.f.ReadAt(t.files.buf, next)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, false, err
		}
		k := nuls(t.files.buf[:got])
		next += int64(k)
		if k < got {
			n = next - t.offset
			return n, false, t.pass(n)
		}
		if got == 0 {
			break
		}
	}
	t.scanned = next
	return 0, next < t.size, nil
}

// pass moves the place over n zeros.
func (t *tail) pass(n int64) error {
	next := t.imprint
	next.addZeros(n)
	t.next = t.offset + n
	t.scanned = 0
	t.n.zeros.Add(n)
	t.ready()
	t.join.Rewind(join.Mark{})
	return t.commitTo(next, nil)
}

// addZeros goes on behind n zero bytes.
func (p *imprint) addZeros(n int64) {
	zeros := make([]byte, min(n, headBytes))
	p.add(zeros)
	if n -= int64(len(zeros)); n > 0 { // behind the first headBytes only the last ones count, which are zeros
		p.at += n
	}
}
