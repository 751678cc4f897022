// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// What an imprint covers of a file.
const (
	headBytes = 1024 // of its beginning
	markBytes = 64   // before the place
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// imprint tells whether a file still is the one that was read up to a place. It
// follows the reader, so that nothing has to be read for it again.
type imprint struct {
	at   int64  // the place: so many bytes were read
	head uint32 // CRC32C of the first headBytes of them
	last [markBytes]byte
}

// readImprint makes the imprint of a place in a file.
func readImprint(f io.ReaderAt, at int64) (imprint, error) {
	var p imprint
	head := make([]byte, min(at, headBytes))
	if err := readFull(f, head, 0); err != nil {
		return p, err
	}
	p.add(head)
	if at > headBytes {
		tail := make([]byte, min(at-headBytes, markBytes))
		if err := readFull(f, tail, at-int64(len(tail))); err != nil {
			return p, err
		}
		p.add(tail)
		p.at = at
	}
	return p, nil
}

// add goes on behind data, which was read from the place.
func (p *imprint) add(data []byte) {
	if p.at < headBytes {
		p.head = crc32.Update(p.head, castagnoli, data[:min(int64(len(data)), headBytes-p.at)])
	}
	p.at += int64(len(data))
	if len(data) < markBytes {
		copy(p.last[:], p.last[len(data):])
	}
	data = data[max(len(data)-markBytes, 0):]
	copy(p.last[markBytes-len(data):], data)
}

// inLine says whether the place is in the middle of a line.
func (p *imprint) inLine() bool {
	last := p.last[markBytes-1]
	return p.at > 0 && last != '\n' && last != 0 // zeros are passed over where a line begins
}

// proof is what of an imprint is kept.
func (p *imprint) proof() proof {
	sum := sha256.Sum256(p.last[markBytes-min(p.at, markBytes):])
	return proof{at: p.at, head: p.head, mark: binary.LittleEndian.Uint64(sum[:])}
}

// proof is an imprint as it stands in the spool.
type proof struct {
	at   int64
	head uint32
	mark uint64 // beginning of the SHA-256 of the last markBytes
}

func (p proof) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(p.at))
	dst = binary.LittleEndian.AppendUint32(dst, p.head)
	return binary.LittleEndian.AppendUint64(dst, p.mark)
}

// parseProof reads what append wrote, at the beginning of b; spools of earlier versions have none.
func parseProof(b []byte) (p proof, ok bool) {
	at, n := binary.Uvarint(b)
	if n <= 0 || len(b) < n+12 || at > 1<<62 {
		return proof{}, false
	}
	return proof{at: int64(at), head: binary.LittleEndian.Uint32(b[n:]), mark: binary.LittleEndian.Uint64(b[n+4:])}, true
}

// holds says whether f begins as it did and has the same bytes before the place.
func (p proof) holds(f io.ReaderAt) (bool, error) {
	now, err := readImprint(f, p.at)
	if errors.Is(err, io.EOF) {
		return false, nil // it is shorter
	}
	return err == nil && now.proof() == p, err
}

// readFull reads all of b, or gives io.EOF.
func readFull(f io.ReaderAt, b []byte, off int64) error {
	if n, err := f.ReadAt(b, off); n < len(b) {
		return err
	}
	return nil
}
