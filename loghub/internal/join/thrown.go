// SPDX-License-Identifier: AGPL-3.0-or-later

package join

// nextThrown goes on with an exception of Java, .NET or JavaScript. Of steps: chain waits for the mark below a line of
// source (node), message for the exception behind it.
func (s *state) nextThrown(line []byte) answer {
	rest, in := indent(line)
	if in > 0 && s.below(rest) {
		return yes
	}
	switch {
	case s.braces && in > 0:
		return yes
	case s.braces && has(line, "}"):
		s.braces, s.step = false, frames
		return yes
	case has(line, "Caused by: "), has(line, "Wrapped by: "), has(line, "Suppressed: "):
		return s.to(thrown, head)
	case has(line, "--- End of "), has(line, "Thrown at:"):
		return s.to(thrown, frames)
	case has(line, "Node.js v"):
		return final
	}
	return s.around(line)
}

// below judges an indented line that is no part of a message, and moves on.
func (s *state) below(rest []byte) bool {
	switch {
	case atFrame(rest):
		s.braces = ends(rest, "{")
		s.step = frames
	case has(rest, "Caused by: "), has(rest, "Wrapped by: "), has(rest, "Suppressed: "), has(rest, "---> "):
		s.step = head
	case has(rest, "[cause]: "), has(rest, "[errors]: "):
		s.step, s.braces = frames, true
	case has(rest, "... ") && len(rest) > 4 && digit(rest[4]), has(rest, "--- End of "), has(rest, "[CIRCULAR REFERENCE"):
		s.step = frames
	case s.step == frames && has(rest, "- "): // locks
	default:
		return false
	}
	return true
}

// around judges the lines of a message, and those between exception and frames.
func (s *state) around(line []byte) answer {
	switch {
	case s.step == frames && blank(line):
		s.step = gap
		return maybe
	case s.step == frames, s.step == gap:
		return no
	case s.step == chain && caret(line):
		return s.to(thrown, message)
	case s.step == message && header(line) != notHeader:
		s.thrown = true
		return s.to(thrown, head)
	case (has(line, "Caused by:") || has(line, "Stack backtrace:") || has(line, "Location:")) && ends(line, ":"): // of Rust
		return s.to(rust, frames)
	case s.step == head && rubyFrame(line): // Rails
		return s.to(ruby, frames)
	case starts(line):
		return no
	case ends(line, " {"):
		s.braces = true
	}
	return maybe
}

// nextDotnetLog goes on with `fail: Name[0]`, whose message is indented by six spaces.
func (s *state) nextDotnetLog(line []byte) answer {
	const margin = "      "
	if !has(line, margin) || blank(line) {
		return no
	}
	if s.step == head && header(line[len(margin):]) != notHeader {
		s.step, s.thrown = frames, true
	}
	return yes
}

// afterLogged judges what follows a line that may have been logged together with a trace.
func (s *state) afterLogged(line []byte) answer {
	rest, in := indent(line)
	if in > 0 {
		return s.belowLogged(line, rest)
	}
	if blank(line) {
		s.step = gap
		return maybe
	}
	switch {
	case has(line, "Caused by:") && ends(line, ":"), has(line, "stack backtrace:"), has(line, "Stack backtrace:"):
		return s.to(rust, frames)
	case rubyFrame(line):
		return s.to(ruby, frames)
	case has(line, "Traceback (most recent call last)"):
		return s.to(python, frames)
	case goroutine(line):
		return s.to(golang, frames)
	case has(line, "Stack trace:"), has(line, "[stacktrace]"), has(line, "#0 "), has(line, "PHP Stack trace:"):
		return s.to(php, frames)
	}
	if has(line, "future: <") { // asyncio
		return yes
	}
	switch header(line) {
	case qualified:
		s.thrown = true
		return s.to(thrown, head)
	case simple:
		if s.step == gap {
			return no
		}
		s.thrown = true
		s.to(thrown, head)
		return maybe
	}
	if s.step != gap && classy(line) { // an exception may be called anything
		s.thrown = true
		s.to(thrown, head)
		return maybe
	}
	if s.step != gap && goName(line) {
		s.to(golang, frames)
		return maybe
	}
	return no
}

// belowLogged does it for indented lines.
func (s *state) belowLogged(line, rest []byte) answer {
	switch {
	case s.step == gap:
		return no
	case has(rest, "+ Exception Group Traceback (most recent call last)"):
		return s.to(python, margin)
	case rubyFrame(rest):
		return s.to(ruby, frames)
	case s.below(rest):
		s.thrown = has(rest, "---> ")
		s.in = thrown
		return yes
	}
	return no
}
