// SPDX-License-Identifier: AGPL-3.0-or-later

// Package frame turns a stream of bytes into lines, and raw lines into text.
//
// A line ends with a newline; a carriage return in front of it goes too. A line
// longer than MaxLine is cut into pieces of that size, each but the last marked
// as one that continues. Text strips the escape sequences of ECMA-48 (colours,
// cursor movements, titles) and replaces what is not UTF-8 by U+FFFD.
//
// Left out: joining lines to multi-line records.
package frame

import (
	"bytes"
	"unicode/utf8"
)

// MaxLine is the longest line in bytes, its newline not counted.
const MaxLine = 1 << 20

// Next takes the first line off data, which continues a line that began with
// carried bytes. n is how many bytes of data it takes, its newline included.
// continues says that the line was cut; then n may be 0, when what was carried is
// all a line can have. Without it, n = 0 says that data holds no whole line.
func Next(data []byte, carried int) (line []byte, n int, continues bool) {
	room := max(MaxLine-carried, 0)
	i := bytes.IndexByte(data[:min(len(data), room+1)], '\n')
	if i >= 0 {
		return data[:i], i + 1, false
	}
	if len(data) > room {
		return data[:room], room, true
	}
	return nil, 0, false
}

// Trim drops a carriage return at the end of a line.
func Trim(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// Text returns line without escape sequences and in valid UTF-8. Where there is
// something to change the result is in scratch, which is returned grown.
func Text(line, scratch []byte) (text, grown []byte) {
	if bytes.IndexByte(line, 0x1b) >= 0 {
		scratch = stripEscapes(scratch[:0], line)
		line = scratch
	}
	if !utf8.Valid(line) {
		line = bytes.ToValidUTF8(line, []byte("\uFFFD"))
	}
	return line, scratch
}

// stripEscapes appends line without its escape sequences (ECMA-48 §5.4, §8.3).
func stripEscapes(dst, line []byte) []byte {
	for i := 0; i < len(line); {
		if line[i] != 0x1b {
			dst = append(dst, line[i])
			i++
			continue
		}
		i = skipEscape(line, i+1)
	}
	return dst
}

// skipEscape returns the index behind the sequence whose ESC stands before i.
func skipEscape(line []byte, i int) int {
	if i >= len(line) {
		return i
	}
	switch c := line[i]; {
	case c == '[': // CSI: parameters, intermediates, one final byte
		for i++; i < len(line) && line[i] >= 0x20 && line[i] < 0x40; i++ {
		}
		if i < len(line) && line[i] >= 0x40 && line[i] <= 0x7e {
			i++
		}
		return i
	case c == ']' || c == 'P' || c == '^' || c == '_' || c == 'X': // strings: up to BEL or ST
		for j := i + 1; j < len(line); j++ {
			if line[j] == 0x07 {
				return j + 1
			}
			if line[j] == 0x1b && j+1 < len(line) && line[j+1] == '\\' {
				return j + 2
			}
		}
		return i + 1 // no end: only the introducer goes
	default: // intermediates, one final byte
		for ; i < len(line) && line[i] >= 0x20 && line[i] < 0x30; i++ {
		}
		if i < len(line) && line[i] >= 0x30 && line[i] <= 0x7e {
			i++
		}
		return i
	}
}
