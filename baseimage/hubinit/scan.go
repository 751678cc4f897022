// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
)

// maxScanBytes bounds the files that the probe reads, maxScanDepth their nesting.
const (
	maxScanBytes = 4 << 20
	maxScanDepth = 64
)

var errNotJSON = errors.New("is not JSON as the hubs write it")

// readFields reads a file of the run directory and sets the wanted values: strings, and numbers as they are written. Their
// names are the keys on the way to them, as in service.state. What stands in arrays has no name; what is missing stays as it was.
//
// The probe runs every few seconds in every container; encoding/json, which all else uses, would take it over its 3 MB.
func readFields(path string, wanted map[string]*string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxScanBytes))
	if err != nil {
		return err
	}
	s := scanner{data: string(data), wanted: wanted}
	if err := s.value("", 0); err != nil || s.next() != 0 {
		return &os.PathError{Op: "reading", Path: path, Err: errNotJSON}
	}
	return nil
}

// scanner walks once over a JSON text (RFC 8259).
type scanner struct {
	data   string // what is left
	wanted map[string]*string
}

// next skips white space and gives the byte that follows; 0 at the end.
func (s *scanner) next() byte {
	s.data = strings.TrimLeft(s.data, " \t\r\n")
	if s.data == "" {
		return 0
	}
	return s.data[0]
}

// value takes a value, whose name is path.
func (s *scanner) value(path string, depth int) error {
	if depth > maxScanDepth {
		return errNotJSON
	}
	var text string
	var err error
	switch s.next() {
	case '{':
		return s.list('}', func() error { return s.member(path, depth) })
	case '[':
		return s.list(']', func() error { return s.value("[]", depth+1) })
	case '"':
		text, err = s.text()
	default:
		end := strings.IndexAny(s.data, ",]} \t\r\n")
		if end < 0 {
			end = len(s.data)
		}
		text, s.data = s.data[:end], s.data[end:]
		if text == "" {
			err = errNotJSON
		}
	}
	if place := s.wanted[path]; place != nil && err == nil {
		*place = text
	}
	return err
}

// list takes an object or an array, up to the byte that closes it.
func (s *scanner) list(end byte, element func() error) error {
	s.data = s.data[1:]
	if s.next() == end {
		s.data = s.data[1:]
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		c := s.next()
		if c != ',' && c != end {
			return errNotJSON
		}
		s.data = s.data[1:]
		if c == end {
			return nil
		}
	}
}

// member takes a key and its value.
func (s *scanner) member(path string, depth int) error {
	if s.next() != '"' {
		return errNotJSON
	}
	key, err := s.text()
	if err != nil || s.next() != ':' {
		return errNotJSON
	}
	s.data = s.data[1:]
	if path != "" {
		key = path + "." + key
	}
	return s.value(key, depth+1)
}

// text takes a string. The escapes that encoding/json writes are Go's too.
func (s *scanner) text() (string, error) {
	end, escaped := 1, false
	for end < len(s.data) && s.data[end] != '"' {
		if s.data[end] == '\\' {
			escaped = true
			end++
		}
		end++
	}
	if end >= len(s.data) {
		return "", errNotJSON
	}
	quoted := s.data[:end+1]
	s.data = s.data[end+1:]
	if !escaped {
		return quoted[1:end], nil
	}
	return strconv.Unquote(quoted)
}
