// SPDX-License-Identifier: AGPL-3.0-or-later

package join

import "bytes"

// nextGo goes on with a panic, a fatal error or a dump of goroutines.
func (s *state) nextGo(line []byte) answer {
	switch {
	case blank(line):
		if s.step == frames {
			s.step = gap
		}
		return maybe
	case goroutine(line), has(line, "runtime stack:"), register(line):
		return s.to(golang, frames)
	}
	switch s.step {
	case head:
		return s.goMessage(line)
	case frames:
		switch {
		case line[0] == '\t', has(line, "created by "), has(line, "...") && ends(line, "..."), goCall(line):
			return yes
		case goName(line):
			return maybe
		}
	}
	return no
}

// goMessage judges the lines between panic and frames.
func (s *state) goMessage(line []byte) answer {
	switch {
	case has(line, "[signal "), has(line, "[recovered"), has(line, "\t"), has(line, "runtime: sp="), has(line, "PC=0x"):
		return yes
	case has(line, "fatal error: "): // behind what the runtime said first
		s.thrown = true
		return yes
	case starts(line):
		return no
	}
	return maybe
}

// goroutine reads "goroutine 7 [running]:".
func goroutine(line []byte) bool { return has(line, "goroutine ") && ends(line, "]:") }

// goCall reads "net/http.(*conn).serve(0xc000132000, {0x7a2e08, 0xc00011c0f0})".
func goCall(line []byte) bool {
	i := bytes.IndexByte(line, '(')
	if i < 1 || line[len(line)-1] != ')' || bytes.IndexByte(line[:i], ' ') >= 0 {
		return false
	}
	return bytes.IndexByte(line[:i], '.') > 0 || string(line[:i]) == "panic"
}

// goName reads "main.run", as zap and pkg/errors write the frames.
func goName(line []byte) bool {
	return len(line) < 512 && bytes.IndexByte(line, ' ') < 0 && bytes.IndexByte(line, '.') > 0 && wordy(line[0])
}

// register reads "rax    0x0".
func register(line []byte) bool {
	n, _ := className(line)
	rest, in := indent(line[n:])
	return n > 1 && n <= 6 && in > 0 && has(rest, "0x")
}

// nextRace goes on with a report of the data race detector, between two rulers.
func (s *state) nextRace(line []byte) answer {
	switch {
	case s.step == head:
		if !has(line, "WARNING: DATA RACE") {
			return no
		}
		s.thrown = true
		return s.to(race, frames)
	case has(line, "=================="):
		return final
	case blank(line), line[0] == ' ', has(line, "Read at "), has(line, "Write at "), has(line, "Previous "), has(line, "Goroutine "):
		return yes
	}
	return no
}
