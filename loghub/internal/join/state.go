// SPDX-License-Identifier: AGPL-3.0-or-later

package join

// machine names the kind of lines that are held.
type machine uint8

const (
	idle      machine = iota
	logged            // a line that a program may have logged together with a trace
	thrown            // Java, .NET, JavaScript: an exception and its frames, "at …"
	python            //
	golang            //
	race              // Go's data race detector
	ruby              //
	php               //
	rust              //
	dotnetLog         // .NET's console logger, which puts the message into lines of its own
	jul               // java.util.logging, which puts level and message into a second line
)

// answer is what a machine says of a line.
type answer uint8

const (
	no    answer = iota
	maybe        // it belongs to the lines before if a later line does
	yes          //
	final        // yes, and nothing goes on behind it
)

// state is that of a machine.
type state struct {
	in     machine
	step   step
	braces bool // JavaScript: properties up to a brace at the margin
	thrown bool // the line just judged names what was thrown

	front  *prefix // of each line; nil: none
	framed bool    // with one: a frame was seen
}

// step is how far a machine is; each has its own meaning of some of these.
type step uint8

const (
	head    step = iota // behind the first line: the message may go on
	frames              // among the frames
	message             // behind the line that says what was thrown
	gap                 // behind a blank line
	chain               // between two exceptions
	margin              // Python: within an exception group
)

// follow judges a line by those before it, behind the prefix that they have.
func (s *state) follow(line []byte) answer {
	if s.front != nil {
		return s.behind(line)
	}
	return s.next(line)
}

// patience is how many lines are held that may turn out not to belong to those before them.
func (s *state) patience() int {
	if s.front != nil && !s.framed {
		return maxUnsureFront
	}
	return maxUnsure
}

// next judges a line by those before it.
func (s *state) next(line []byte) answer {
	switch s.in {
	case logged:
		return s.afterLogged(line)
	case thrown:
		return s.nextThrown(line)
	case python:
		return s.nextPython(line)
	case golang:
		return s.nextGo(line)
	case race:
		return s.nextRace(line)
	case ruby:
		return s.nextRuby(line)
	case php:
		return s.nextPHP(line)
	case rust:
		return s.nextRust(line)
	case dotnetLog:
		return s.nextDotnetLog(line)
	case jul:
		if julLevel(line) {
			s.thrown = true
			return s.to(logged, head)
		}
	}
	return no
}

// to moves on.
func (s *state) to(in machine, at step) answer {
	s.in, s.step = in, at
	return yes
}
