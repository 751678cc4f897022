// SPDX-License-Identifier: AGPL-3.0-or-later

package otlp

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// field is one field of a protobuf message: its number, wire type and, by
// type, its number or its bytes.
type field struct {
	num  uint64
	wire byte
	n    uint64
	data []byte
}

// fields calls each for every field of a message.
func fields(data []byte, each func(field) error) error {
	for len(data) > 0 {
		tag, n, err := uvarint(data)
		if err != nil {
			return err
		}
		data = data[n:]
		f := field{num: tag >> 3, wire: byte(tag & 7)}
		if f.num == 0 || f.num > 1<<29-1 {
			return fmt.Errorf("%w: field number %d", ErrMalformed, f.num)
		}
		if n, err = f.read(data); err != nil {
			return err
		}
		data = data[n:]
		if err := each(f); err != nil {
			return err
		}
	}
	return nil
}

// messages calls each for every field of a message that has this number and
// holds bytes, as a message within a message does. Others are read over.
func messages(data []byte, num uint64, each func([]byte) error) error {
	return fields(data, func(f field) error {
		if f.num != num {
			return nil
		}
		b, err := f.bytes()
		if err != nil {
			return err
		}
		return each(b)
	})
}

// read takes the value behind the tag and returns how many bytes it has.
func (f *field) read(data []byte) (int, error) {
	switch f.wire {
	case wireVarint:
		x, n, err := uvarint(data)
		f.n = x
		return n, err
	case wireFixed64:
		if len(data) < 8 {
			break
		}
		f.n = binary.LittleEndian.Uint64(data)
		return 8, nil
	case wireFixed32:
		if len(data) < 4 {
			break
		}
		f.n = uint64(binary.LittleEndian.Uint32(data))
		return 4, nil
	case wireBytes:
		size, n, err := uvarint(data)
		if err != nil {
			return 0, err
		}
		if size > uint64(len(data)-n) {
			break
		}
		f.data = data[n : n+int(size) : n+int(size)]
		return n + int(size), nil
	default:
		return 0, fmt.Errorf("%w: wire type %d", ErrMalformed, f.wire)
	}
	return 0, fmt.Errorf("%w: field %d ends early", ErrMalformed, f.num)
}

func (f field) want(wire byte) error {
	if f.wire != wire {
		return fmt.Errorf("%w: field %d has wire type %d, want %d", ErrMalformed, f.num, f.wire, wire)
	}
	return nil
}

func (f field) bytes() ([]byte, error)  { return f.data, f.want(wireBytes) }
func (f field) varint() (uint64, error) { return f.n, f.want(wireVarint) }

func (f field) fixed64(into *uint64) error {
	*into = f.n
	return f.want(wireFixed64)
}

func (f field) fixed32(into *uint32) error {
	*into = uint32(f.n)
	return f.want(wireFixed32)
}

// utf8 returns the bytes of a string field; proto3 wants them valid.
func (f field) utf8() ([]byte, error) {
	if err := f.want(wireBytes); err != nil {
		return nil, err
	}
	if !utf8.Valid(f.data) {
		return nil, fmt.Errorf("%w: field %d is not valid UTF-8", ErrMalformed, f.num)
	}
	return f.data, nil
}

func (f field) str(into *string) error {
	b, err := f.utf8()
	*into = string(b)
	return err
}

// id takes a trace or span id; one of another length counts as absent, as the
// data model asks.
func (f field) id(into *[]byte, size int) error {
	b, err := f.bytes()
	if len(b) == size {
		*into = b
	} else {
		*into = nil
	}
	return err
}
