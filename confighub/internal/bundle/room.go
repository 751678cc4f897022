// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"bytes"
	"fmt"
)

// room is what the JSON files of one bundle may still hold together. It is asked before the parser, which makes
// some 300 bytes of each value, though a million equal ones pack to a few kilobytes.
type room struct{ bytes, values int }

func newRoom() *room { return &room{bytes: MaxJSON, values: MaxValues} }

// take takes the room for a file, or says at which line, and why, there is none.
func (r *room) take(raw []byte) (line int, message string) {
	if r.bytes -= len(raw); r.bytes < 0 {
		return 0, fmt.Sprintf("makes the JSON of the bundle larger than %d bytes", MaxJSON)
	}
	values, line, deep := measure(raw, r.values)
	switch r.values -= values; {
	case deep:
		return line, fmt.Sprintf("is nested deeper than %d", maxDepth)
	case r.values < 0:
		return line, fmt.Sprintf("makes the JSON of the bundle hold more than %d values", MaxValues)
	}
	return 0, ""
}

// measure counts the values of raw, taking an empty list for two, and returns the line at which they are more
// than most or, with deep, nested deeper than maxDepth. It runs before the parser, which recurses without a bound
// and would end the process by its stack. Nothing in strings and comments counts.
func measure(raw []byte, most int) (values, line int, deep bool) {
	depth := 0
	values = 1
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{', '[':
			values++
			depth++
		case '}', ']':
			depth--
		case ',':
			values++
		case '"':
			for i++; i < len(raw) && raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
		case '/':
			i = skipComment(raw, i)
		}
		if deep = depth > maxDepth; deep || values > most {
			return values, 1 + bytes.Count(raw[:i], []byte("\n")), deep
		}
	}
	return values, 0, false
}

// skipComment returns the index of the last byte of the comment that opens at i, or i when none does.
func skipComment(raw []byte, i int) int {
	rest := raw[i:]
	end := -1
	switch {
	case bytes.HasPrefix(rest, []byte("//")):
		end = bytes.IndexByte(rest, '\n')
	case bytes.HasPrefix(rest, []byte("/*")):
		if n := bytes.Index(rest[2:], []byte("*/")); n >= 0 {
			end = n + 3
		}
	default:
		return i
	}
	if end < 0 {
		return len(raw)
	}
	return i + end
}
