// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"errors"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
)

// Bounds of what is taken out of one compressed file. Logs become a tenth, rarely a hundredth; deflate can make a thousandth
// of what says nothing.
const (
	maxUnpacked = 32 << 30
	maxRatio    = 400
	freeRatio   = 16 << 20 // so many bytes may have any
)

// What ends the reading of a compressed file before its end.
var (
	errBomb    = errors.New("it holds far more than a log would")
	errDamaged = errors.New("it is damaged, or not written to its end")
)

// unpacker gives the content of a gzip file (RFC 1952), of which there may be several in a row. It keeps nothing but a window
// of 32 KiB.
type unpacker struct {
	file *os.File
	gz   *gzip.Reader
	in   int64 // compressed bytes that were read
	out  int64
	most int64 // of out
}

func unpack(file *os.File) (*unpacker, error) {
	u := &unpacker{file: file, most: maxUnpacked}
	var err error
	if u.gz, err = gzip.NewReader(counting{u}); err != nil {
		return nil, errDamaged
	}
	return u, nil
}

// counting counts what is read of the file.
type counting struct{ u *unpacker }

func (c counting) Read(p []byte) (int, error) {
	n, err := c.u.file.ReadAt(p, c.u.in)
	c.u.in += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// Read fills p as far as there is something. io.EOF: that was all, and its checksum is right.
func (u *unpacker) Read(p []byte) (int, error) {
	n, err := io.ReadFull(u.gz, p)
	u.out += int64(n)
	switch {
	case u.out > u.most || u.out > freeRatio && u.out/maxRatio > u.in:
		return n, errBomb
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && u.ended():
		return n, io.EOF
	}
	return n, errDamaged
}

// ended says whether the file ended where its content does: io.ReadFull has one word for that and for a file that is cut.
func (u *unpacker) ended() bool {
	var one [1]byte
	n, err := u.gz.Read(one[:])
	return n == 0 && errors.Is(err, io.EOF)
}

func (u *unpacker) close() { _ = u.file.Close() } // it was read only
