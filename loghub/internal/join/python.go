// SPDX-License-Identifier: AGPL-3.0-or-later

package join

import "bytes"

// nextPython goes on with a traceback. Of steps: message is behind the line that ends a traceback, chain between two of
// them, margin within an exception group.
func (s *state) nextPython(line []byte) answer {
	rest, in := indent(line)
	switch {
	case blank(line):
		if s.step == message || s.step == margin {
			s.step = gap
		}
		return maybe
	case has(line, "During handling of the above exception, "), has(line, "The above exception was the direct cause "):
		return s.to(python, chain)
	case in > 0 && has(rest, "+ Exception Group Traceback ") && (s.step == chain || s.step == margin):
		return s.to(python, margin)
	}
	switch s.step {
	case frames:
		return s.inTraceback(line, in)
	case message:
		return s.afterTraceback(line, in)
	case margin:
		return s.inGroup(rest, in)
	case gap:
		if has(line, "Current thread 0x") || has(line, "Thread 0x") {
			return s.to(python, frames)
		}
	case chain:
		if has(line, "Traceback (most recent call last)") {
			return s.to(python, frames)
		}
	}
	return no
}

func (s *state) inTraceback(line []byte, in int) answer {
	switch {
	case in > 0:
		return yes
	case has(line, "Message: "), has(line, "Arguments: "): // of logging's own failures
		return s.to(python, message)
	case has(line, "> File "), has(line, "Current thread 0x"), has(line, "Thread 0x"), has(line, "Extension modules: "):
		return yes
	case pythonName(line), rubyHeader(line):
		s.thrown = true
		return s.to(python, message)
	}
	return no
}

func (s *state) afterTraceback(line []byte, in int) answer {
	switch {
	case in > 0, has(line, "Arguments: "), has(line, "[SQL: "), has(line, "[parameters: "), has(line, "(Background on this "):
		return yes
	case has(line, "Call stack:"):
		return s.to(python, frames)
	case len(line) < 200 && bytes.IndexByte(line, ' ') < 0 && !starts(line): // pydantic: the field, then what is wrong with it
		return maybe
	}
	return no
}

func (s *state) inGroup(rest []byte, in int) answer {
	if in == 0 || rest[0] != '|' && rest[0] != '+' {
		return no
	}
	s.thrown = in == 2 && has(rest, "| ") && len(rest) > 2 && pythonName(rest[2:])
	return yes
}

// pythonName says whether a line is the name of an exception, alone or before a colon, and not a level.
func pythonName(line []byte) bool {
	n, _ := className(line)
	if n == 0 || digit(line[0]) || n < len(line) && line[n] != ':' {
		return false
	}
	switch string(line[:n]) {
	case "TRACE", "DEBUG", "INFO":
		return false
	}
	return !grave(line[:n])
}
