// SPDX-License-Identifier: AGPL-3.0-or-later

package join

// nextRuby goes on with an exception of Ruby. What caused it follows without a mark of its own. Of steps: chain waits for
// the exception.
func (s *state) nextRuby(line []byte) answer {
	switch {
	case rubyHeader(line):
		s.thrown = s.step == chain
		return s.to(ruby, head)
	case s.step == chain:
		return no
	case rubyFrame(line):
		return s.to(ruby, frames)
	case s.step == frames:
		rest, in := indent(line)
		if in > 0 && has(rest, "...") {
			return yes
		}
		return no
	case caret(line):
		return yes
	case starts(line):
		return no
	}
	return maybe
}

// rubyFrame reads "x.rb:1:in 'f'", with or without "from" in front.
func rubyFrame(line []byte) bool {
	rest, _ := indent(line)
	rest, ok := rubyPlace(rest)
	return ok && len(rest) == 0
}

// nextPHP goes on with an exception of PHP. Of steps: chain is behind a warning, which may have a trace.
func (s *state) nextPHP(line []byte) answer {
	rest, in := indent(line)
	switch {
	case has(line, "Stack trace:"), has(line, "[stacktrace]"), has(line, "PHP Stack trace:"), has(line, "PHP  "),
		has(rest, "#") && digits(rest[1:]) > 0:
		return s.to(php, frames)
	case in > 0 && has(rest, "thrown in "):
		return final
	}
	switch s.step {
	case head:
		if !starts(line) {
			return maybe
		}
	case frames:
		switch {
		case blank(line):
			s.step = gap
			return maybe
		}
		return s.nextOfPHP(line)
	case gap:
		return s.nextOfPHP(line)
	}
	return no
}

// nextOfPHP reads what follows the frames: "Next RuntimeException: …", the exception that the one before led to.
func (s *state) nextOfPHP(line []byte) answer {
	switch {
	case has(line, "Next "):
		s.thrown = true
		return s.to(php, head)
	case has(line, "[previous exception]"): // Monolog
		return s.to(php, head)
	case has(line, `"}`):
		return final
	}
	return no
}

// nextRust goes on with a panic of Rust, or the causes and frames of an error (anyhow, eyre).
func (s *state) nextRust(line []byte) answer {
	_, in := indent(line)
	switch {
	case s.step == head:
		s.thrown = true
		return s.to(rust, message)
	case has(line, "note: "):
		return final
	case has(line, "stack backtrace:"), has(line, "Stack backtrace:"), has(line, "Caused by:"), has(line, "Location:"):
		return s.to(rust, frames)
	case blank(line):
		return maybe
	case in > 0:
		return yes
	case s.step == message && !starts(line):
		return maybe
	}
	return no
}
