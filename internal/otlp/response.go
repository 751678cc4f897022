// SPDX-License-Identifier: AGPL-3.0-or-later

package otlp

import (
	"encoding/binary"
	"fmt"
)

// ContentType is the media type of every body of OTLP/HTTP with protobuf.
const ContentType = "application/x-protobuf"

// Response is an ExportLogsServiceResponse. Rejected counts records the server
// took notice of but did not keep; a Message without Rejected is a warning.
type Response struct {
	Rejected int64
	Message  string
}

// AppendResponse appends the message; the zero Response has no bytes.
func AppendResponse(dst []byte, r Response) []byte {
	size := sizeString(r.Message)
	if r.Rejected != 0 {
		size += 1 + sizeUvarint(uint64(r.Rejected))
	}
	if size == 0 {
		return dst
	}
	dst = append(dst, 1<<3|wireBytes) // partial_success
	dst = binary.AppendUvarint(dst, uint64(size))
	if r.Rejected != 0 {
		dst = append(dst, 1<<3|wireVarint) // rejected_log_records
		dst = binary.AppendUvarint(dst, uint64(r.Rejected))
	}
	return appendString(dst, 2<<3|wireBytes, r.Message) // error_message
}

// DecodeResponse reads an ExportLogsServiceResponse. No bytes are the zero
// Response: engines that answer 204 or an empty 200 took everything.
func DecodeResponse(data []byte) (Response, error) {
	var r Response
	err := messages(data, 1, func(b []byte) error {
		return fields(b, func(f field) error {
			switch f.num {
			case 1:
				n, err := f.varint()
				r.Rejected = int64(n)
				return err
			case 2:
				return f.str(&r.Message)
			}
			return nil
		})
	})
	if err != nil {
		return Response{}, fmt.Errorf("decoding response: %w", err)
	}
	return r, nil
}

// Status is a google.rpc.Status, the body of every refusal of OTLP/HTTP. Code
// is a gRPC status code (3 is INVALID_ARGUMENT).
type Status struct {
	Code    int32
	Message string
}

// AppendStatus appends the message.
func AppendStatus(dst []byte, s Status) []byte {
	if s.Code != 0 {
		dst = append(dst, 1<<3|wireVarint)
		dst = binary.AppendUvarint(dst, uint64(s.Code))
	}
	return appendString(dst, 2<<3|wireBytes, s.Message)
}

// DecodeStatus reads a Status.
func DecodeStatus(data []byte) (Status, error) {
	var s Status
	err := fields(data, func(f field) error {
		switch f.num {
		case 1:
			n, err := f.varint()
			s.Code = int32(n)
			return err
		case 2:
			return f.str(&s.Message)
		}
		return nil
	})
	if err != nil {
		return Status{}, fmt.Errorf("decoding status: %w", err)
	}
	return s, nil
}
