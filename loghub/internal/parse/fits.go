// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import "bytes"

// fits says whether a line may have the layout, from its shape alone and without a trace in any record. stamp is the size of
// the date and time that the line begins with, behind its bracket if it has one.
func (l *layout) fits(line []byte, stamp int) bool {
	b := line
	for i := range l.steps {
		s := &l.steps[i]
		n := 0
		switch s.part {
		case partText:
			if n = len(s.text); len(b) < n || string(b[:n]) != s.text {
				return false
			}
		case partBlanks:
			if n = blanks(b); n == 0 {
				return false
			}
		case partMaybeBlanks:
			n = blanks(b)
		case partTime, partISOTime, partSQLTime:
			if len(line)-len(b) > 1 {
				return true // not where a line begins: only match will tell
			}
			if n = stamp; n == 0 || !s.separates(b) {
				return false
			}
		case partDaytime:
			return len(b) > 20 && b[2] == '-' && b[6] == '-' // how far it goes only match will tell
		case partMessage, partPairs, partObjects:
			return true
		default:
			if n = s.extent(b); n == 0 {
				return false
			}
		}
		b = b[n:]
	}
	return true
}

// separates says whether what stands in and around the date is what the step wants.
func (s *step) separates(b []byte) bool {
	switch s.part {
	case partISOTime:
		return b[10] != ' '
	case partSQLTime:
		return b[10] == ' ' && b[4] == '-'
	}
	return true
}

// extent is how much of b a part would take, 0 for none, as far as its shape tells.
func (s *step) extent(b []byte) int {
	switch s.part {
	case partClock:
		r := reader{b, true}
		r.clock()
		r.fraction()
		return r.took(b)
	case partKitchen:
		return kitchen(b)
	case partLevel, partCapitals, partThree, partFour:
		return s.word(b)
	case partLetter:
		return min(1, letters(b))
	case partNumber:
		r := reader{b, true}
		r.number()
		return r.took(b)
	case partName, partModule, partWord:
		return s.name(b)
	case partCaller:
		_, _, n := callerSize(b)
		return n
	}
	return s.until(b)
}

// took is how much of b a reader has read, 0 if it failed.
func (r *reader) took(b []byte) int {
	if !r.ok {
		return 0
	}
	return len(b) - len(r.b)
}

// word is the size of what may be a level: letters, capitals if it must be, and slog's +2 behind them.
func (s *step) word(b []byte) int {
	n := letters(b)
	switch {
	case n < 3 || s.part != partLevel && (b[0] >= 'a' || b[n-1] >= 'a'):
		return 0
	case s.part == partThree && n != 3 || s.part == partFour && n != 4 || s.part == partCapitals && n == 3:
		return 0
	}
	if s.part == partCapitals && n+1 < len(b) && (b[n] == '+' || b[n] == '-') && digitByte(b[n+1]) {
		if n += 2; n < len(b) && digitByte(b[n]) {
			return 0
		}
	}
	return n
}

// name is the size of a name of the step's kind.
func (s *step) name(b []byte) int {
	n := name(b)
	switch s.part {
	case partWord:
		if i := bytes.IndexByte(b[:n], s.stop); i >= 0 {
			return i
		}
	case partModule:
		if !module(b[:n]) {
			return 0
		}
	}
	return n
}

// until is how much stands before the character behind the part.
func (s *step) until(b []byte) int {
	return max(bytes.IndexByte(b[:min(len(b), maxUntil)], s.stop), 0)
}
