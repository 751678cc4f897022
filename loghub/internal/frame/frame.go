// SPDX-License-Identifier: AGPL-3.0-or-later

// Package frame turns a stream of bytes into lines, and raw lines into text.
//
// A line ends with a newline; a carriage return in front of it goes too, and the
// zeros that a hole in a file leaves at its beginning. A line longer than MaxLine
// is cut into pieces of that size. Text strips the escape sequences of ECMA-48
// (colours, cursor movements, titles, links), whether they begin with ESC or with
// a control of eight bits, and replaces what is not UTF-8 by U+FFFD.
//
// Left out: joining lines to records, see package join.
package frame

import (
	"bytes"
	"unicode/utf8"
)

// MaxLine is the longest line in bytes, its newline not counted.
const MaxLine = 1 << 20

// Next finds the first line of data, which begins where a line begins and whose first seen bytes are known to hold no
// newline. n is how many bytes the line takes, its newline included; 0 says that data holds no whole line. cut says
// that it is a piece of a line that is longer than MaxLine.
func Next(data []byte, seen int) (line []byte, n int, cut bool) {
	window := data[:min(len(data), MaxLine+1)]
	if i := bytes.IndexByte(window[min(seen, len(window)):], '\n'); i >= 0 {
		i += seen
		return data[:i], i + 1, false
	}
	if len(data) > MaxLine {
		return data[:MaxLine], MaxLine, true
	}
	return nil, 0, false
}

// Trim drops a carriage return at the end of a line, and zeros at its beginning.
func Trim(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	for len(line) > 0 && line[0] == 0 {
		line = line[1:]
	}
	return line
}

// Unreturn drops the carriage returns at the ends of several lines. Where there are some the result is in scratch, which
// is returned grown.
func Unreturn(text, scratch []byte) (lines, grown []byte) {
	if bytes.IndexByte(text, '\r') < 0 {
		return text, scratch
	}
	scratch = scratch[:0]
	for line := range bytes.Lines(text) {
		if n := len(line); n > 1 && line[n-1] == '\n' && line[n-2] == '\r' {
			scratch = append(append(scratch, line[:n-2]...), '\n')
		} else {
			scratch = append(scratch, line...)
		}
	}
	return scratch, scratch
}

// Text returns line without escape sequences and in valid UTF-8; repaired says that it was not. Where there is something
// to change the result is in scratch, which is returned grown.
func Text(line, scratch []byte) (text, grown []byte, repaired bool) {
	valid := utf8.Valid(line)
	if bytes.IndexByte(line, esc) >= 0 || !valid || bytes.IndexByte(line, c1Lead) >= 0 {
		scratch = stripEscapes(scratch[:0], line)
		line = scratch
	}
	if !valid && !utf8.Valid(line) {
		return bytes.ToValidUTF8(line, []byte("\uFFFD")), scratch, true
	}
	return line, scratch, false
}

// Controls that introduce a sequence.
const (
	esc    = 0x1b
	c1Lead = 0xc2 // of a C1 control in UTF-8
)

// stripEscapes appends line without its escape sequences (ECMA-48 §5.4, §8.3).
func stripEscapes(dst, line []byte) []byte {
	for i := 0; i < len(line); {
		switch c := line[i]; {
		case c == esc:
			i = skipEscape(line, i+1)
			continue
		case c == c1Lead && i+1 < len(line) && c1(line[i+1]):
			i = skipC1(line, i+1)
			continue
		case c >= utf8.RuneSelf:
			_, n := utf8.DecodeRune(line[i:])
			if n == 1 && c1(c) {
				if end := skipC1(line, i); end > i+2 { // else it may be a letter of another encoding
					i = end
					continue
				}
			}
			dst = append(dst, line[i:i+n]...)
			i += n
			continue
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}

// c1 says whether a byte is a control of eight bits.
func c1(c byte) bool { return c >= 0x80 && c <= 0x9f }

// skipC1 returns the index behind the sequence that the control at i, which stands for ESC and its byte less 64, begins.
func skipC1(line []byte, i int) int {
	return skipSequence(line, i, line[i]-0x40)
}

// skipEscape returns the index behind the sequence whose ESC stands before i.
func skipEscape(line []byte, i int) int {
	if i >= len(line) {
		return i
	}
	return skipSequence(line, i, line[i])
}

// skipSequence returns the index behind the sequence that c introduces, which stands at i.
func skipSequence(line []byte, i int, c byte) int {
	switch {
	case c == '[': // CSI: parameters, intermediates, one final byte
		for i++; i < len(line) && line[i] >= 0x20 && line[i] < 0x40; i++ {
		}
		if i < len(line) && line[i] >= 0x40 && line[i] <= 0x7e {
			i++
		}
		return i
	case c == ']' || c == 'P' || c == '^' || c == '_' || c == 'X':
		return skipString(line, i+1)
	case line[i] != c: // a C1 control without parameters
		return i + 1
	default: // intermediates, one final byte
		for ; i < len(line) && line[i] >= 0x20 && line[i] < 0x30; i++ {
		}
		if i < len(line) && line[i] >= 0x30 && line[i] <= 0x7e {
			i++
		}
		return i
	}
}

// skipString returns the index behind the string at i, which ends with BEL or ST. One that does not end within its line
// is none: only what introduced it goes.
func skipString(line []byte, i int) int {
	for j := i; j < len(line) && line[j] != '\n'; j++ {
		switch {
		case line[j] == 0x07:
			return j + 1
		case line[j] == esc && j+1 < len(line) && line[j+1] == '\\':
			return j + 2
		case line[j] == c1Lead && j+1 < len(line) && line[j+1] == 0x9c:
			return j + 2
		}
	}
	return i
}
