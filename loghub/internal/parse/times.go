// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import "strconv"

// anyTime reads a time at the beginning of b, in whichever of these ways it is written, and returns nanoseconds since 1970, 0
// for none, and how many bytes it took:
//
//	2026-11-21T07:55:42.123+01:00    and with a blank, slashes, a comma before the fraction, without a zone
//	21/Nov/2026:07:55:42 +0100       21 Nov 2026 07:55:42.123      21-Nov-2026 07:55:42
//	Sat, 21 Nov 2026 07:55:42 GMT    Sat Nov 21 07:55:42 2026      Sat Nov 21 07:55:42 UTC 2026
//	Nov 21 07:55:42                  Nov 21 2026 07:55:42
//	20261121T075542Z                 1790000000.123
//
// Numbers are seconds, milliseconds, microseconds or nanoseconds since 1970, as their size suggests. 01/02/2026 is none: it has
// two meanings.
func (p *Parser) anyTime(b []byte) (nanos uint64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	if letter(b[0]) {
		return p.namedTime(b)
	}
	if nanos, n = p.timestamp(b); n > 0 || !digitByte(b[0]) {
		return nanos, n
	}
	if nanos, n = p.namedTime(b); n > 0 {
		return nanos, n
	}
	if nanos, n = p.compactTime(b); n > 0 {
		return nanos, n
	}
	return epochText(b)
}

// namedTime reads a time whose month is a word.
func (p *Parser) namedTime(b []byte) (uint64, int) {
	r := reader{b, true}
	r.weekday()
	var y, m, d int64
	if len(r.b) > 0 && letter(r.b[0]) {
		m = r.month()
		r.blanks()
		d = r.number()
		if q := r; len(q.b) > 5 && q.b[0] == ' ' && q.b[5] == ' ' {
			q.byte(' ')
			if y = q.digits(4); q.ok {
				r = q
			} else {
				y = 0
			}
		}
		r.byte(' ')
	} else {
		d = r.number()
		sep := r.oneOf(" -/")
		m = r.month()
		r.byte(sep)
		y = r.digits(4)
		r.oneOf(" :T")
	}
	secs := r.clock()
	frac := r.fraction()
	if !r.ok {
		return 0, 0
	}
	if y == 0 {
		return p.ctime(b, r, m, d, secs, frac)
	}
	t, ok := unix(y, m, d, secs)
	if !ok {
		return 0, 0
	}
	t = p.real(&r, t)
	return uint64(t*1e9 + frac), len(b) - len(r.b)
}

// ctime reads the rest of a time whose month is a word and whose year stands behind the time of day and perhaps a zone, or lacks.
func (p *Parser) ctime(b []byte, r reader, m, d, secs, frac int64) (uint64, int) {
	t, ok := int64(0), false
	ends := r
	offset, zoned := ends.zone()
	word := ends.zoneName()
	if zoned {
		word = nil
	} else if word != nil {
		ends.b = ends.b[1+len(word):]
	}
	y := ends.trailingYear()
	switch {
	case y == 0 && zoned:
		return 0, 0
	case y == 0: // a word there is no zone, or one that means nothing
		ends = r
		t, ok = p.yearless(m, d, secs)
	default:
		if t, ok = unix(y, m, d, secs); !ok {
			return 0, 0
		}
		switch {
		case zoned:
			t -= offset
		case word != nil:
			t, ok = p.inZone(word, t)
		default:
			t = p.local(t)
		}
	}
	if !ok {
		return 0, 0
	}
	return uint64(t*1e9 + frac), len(b) - len(ends.b)
}

// weekday passes over "Sat " or "Sat, ".
func (r *reader) weekday() {
	if len(r.b) < 5 || !letter(r.b[0]) {
		return
	}
	switch string(r.b[:3]) {
	case "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun":
		r.b = r.b[3:]
		if r.b[0] == ',' {
			r.b = r.b[1:]
		}
		r.blanks()
	}
}

func (r *reader) blanks() {
	if len(r.b) == 0 || r.b[0] != ' ' {
		r.ok = false
	}
	for len(r.b) > 0 && r.b[0] == ' ' {
		r.b = r.b[1:]
	}
}

// oneOf takes one of the bytes.
func (r *reader) oneOf(set string) byte {
	for i := range len(set) {
		if len(r.b) > 0 && r.b[0] == set[i] {
			r.b = r.b[1:]
			return set[i]
		}
	}
	r.ok = false
	return 0
}

// trailingYear reads " 2026" behind the time of day, as ctime(3) writes it; 0 if it is not there.
func (r *reader) trailingYear() int64 {
	if len(r.b) < 5 || r.b[0] != ' ' || len(r.b) > 5 && digitByte(r.b[5]) {
		return 0
	}
	q := reader{r.b[1:], true}
	y := q.digits(4)
	if !q.ok || y < 1971 || y > 2261 {
		return 0
	}
	r.b = q.b
	return y
}

// compactTime reads 20261121T075542Z, 20261121 07:55:42 and 20261121-075542.123.
func (p *Parser) compactTime(b []byte) (uint64, int) {
	r := reader{b, true}
	y, m, d := r.digits(4), r.digits(2), r.digits(2)
	r.oneOf("T -")
	h := r.digits(2)
	colon := len(r.b) > 0 && r.b[0] == ':'
	if colon {
		r.b = r.b[1:]
	}
	minute := r.digits(2)
	if colon {
		r.byte(':')
	}
	s := r.digits(2)
	if !r.ok || h > 23 || minute > 59 || s > 60 {
		return 0, 0
	}
	frac := r.fraction()
	t, ok := unix(y, m, d, h*3600+minute*60+s)
	if !ok {
		return 0, 0
	}
	t = p.real(&r, t)
	return uint64(t*1e9 + frac), len(b) - len(r.b)
}

// epochText reads a number of at least ten digits, or nine of before 2001, with or without a fraction.
func epochText(b []byte) (uint64, int) {
	n := 0
	for n < len(b) && n <= 20 && (digitByte(b[n]) || b[n] == '.') {
		n++
	}
	whole := 0
	for whole < n && b[whole] != '.' {
		whole++
	}
	if whole < 9 || whole > 19 {
		return 0, 0
	}
	if whole == 10 { // seconds: to the last digit
		r := reader{b[:n], true}
		secs := r.digits(whole)
		frac := r.fraction()
		if len(r.b) > 0 || secs < 1e8 || secs >= lastSecond {
			return 0, 0
		}
		return uint64(secs*1e9 + frac), n
	}
	if whole == n && n > 16 {
		v, err := strconv.ParseUint(string(b[:n]), 10, 63)
		if err != nil || v == 0 {
			return 0, 0
		}
		return v, n
	}
	f, err := strconv.ParseFloat(string(b[:n]), 64)
	if err != nil || epoch(f) == 0 {
		return 0, 0
	}
	return epoch(f), n
}
