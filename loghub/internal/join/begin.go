// SPDX-License-Identifier: AGPL-3.0-or-later

package join

import "bytes"

// opening is how a line looks that opens a trace, or may.
type opening struct {
	prefix, suffix string
	within         string // stands between them; "": nothing has to
	state          state
}

// openings by their first byte.
var openings = func() (t [256][]opening) {
	for _, o := range []opening{
		{"Traceback (most recent call last)", "", "", state{in: python, step: frames}},
		{"Fatal Python error: ", "", "", state{in: python, step: message, thrown: true}},
		{"--- Logging error ---", "", "", state{in: python, step: chain}},
		{"panic: ", "", "", state{in: golang, thrown: true}},
		{"fatal error: ", "", "", state{in: golang, thrown: true}},
		{"runtime: goroutine stack exceeds ", "", "", state{in: golang}},
		{"unexpected fault address ", "", "", state{in: golang}},
		{"SIG", "", ": ", state{in: golang}},
		{"goroutine ", "]:", "", state{in: golang, step: frames}},
		{"==================", "", "", state{in: race}},
		{"WARNING: DATA RACE", "", "", state{in: race, step: frames, thrown: true}},
		{"thread '", ":", " panicked at ", state{in: rust}},
		{"thread '", "", " panicked at ", state{in: rust, step: message, thrown: true}},
		{"Exception in thread ", ":", "", state{in: logged}}, // Python; Java goes on in the line
		{"Exception ignored in", "", "", state{in: logged}},  // Python
		{"Task exception was never retrieved", "", "", state{in: logged}},
		{"#<Thread:", ":", "", state{in: ruby, step: chain}},
		{"Caused by: ", "", "", state{in: thrown, thrown: true}},
		{"Unhandled ", "", "", state{in: thrown, thrown: true}},
		{"Uncaught ", "", "", state{in: thrown, thrown: true}},
		{"PHP ", "", "", state{in: php, step: chain, thrown: true}},
		{"error: ", "", "", state{in: logged, thrown: true}},
		{"warn: ", "]", "", state{in: dotnetLog}},
		{"warn: ", "", "", state{in: logged, thrown: true}},
		{"info: ", "]", "", state{in: dotnetLog}},
		{"fail: ", "]", "", state{in: dotnetLog}},
		{"crit: ", "]", "", state{in: dotnetLog}},
		{"dbug: ", "]", "", state{in: dotnetLog}},
		{"trce: ", "]", "", state{in: dotnetLog}},
	} {
		t[o.prefix[0]] = append(t[o.prefix[0]], o)
	}
	return t
}()

// opens finds the opening of a line.
func opens(line []byte) (state, bool) {
	for _, o := range openings[line[0]] {
		if has(line, o.prefix) && ends(line, o.suffix) && (o.within == "" || bytes.Contains(line, []byte(o.within))) {
			return o.state, true
		}
	}
	return state{}, false
}

// plain says in next to no time, of nearly every line, that nothing can begin with it.
func plain(line []byte) bool {
	if len(line) < 5 || line[0] == '{' {
		return true
	}
	switch line[0] {
	case 0:
		return false
	case ' ', '\t':
		_, ok := beginIndented(line)
		return !ok
	}
	if _, ok := opens(line); ok {
		return false
	}
	return !tells(line)
}

// begin says whether something can begin with a line, and what.
func begin(line []byte) (state, bool) {
	if plain(line) {
		return state{}, false
	}
	if line[0] == ' ' || line[0] == '\t' {
		return beginIndented(line)
	}
	if uncaughtPHP(line) {
		return state{in: php, thrown: true}, true
	}
	if s, ok := opens(line); ok {
		return s, true
	}
	switch {
	case julHead(line):
		return state{in: jul}, true
	case rubyHeader(line):
		return state{in: ruby, thrown: true}, true
	case header(line) != notHeader, classy(line):
		return state{in: thrown, thrown: true}, true
	case nodeSource(line):
		return state{in: thrown, step: chain}, true
	case line[0] == '[' && ends(line, "] {") && header(line[1:]) != notHeader: // JavaScript: an error without frames
		return state{in: thrown, step: frames, braces: true, thrown: true}, true
	}
	return state{in: logged, thrown: true}, true
}

// beginIndented knows the few traces whose first line is indented, and what is left of one whose beginning was torn off.
func beginIndented(line []byte) (state, bool) {
	rest, in := indent(line)
	switch {
	case has(rest, "+ Exception Group Traceback (most recent call last)"):
		return state{in: python, step: margin}, true
	case in == 2 && has(rest, `File "`) && bytes.Contains(rest, []byte(`", line `)):
		return state{in: python, step: frames}, true
	case atFrame(rest):
		return state{in: thrown, step: frames}, true
	}
	return state{}, false
}

// tells says whether a line that begins like any other tells of a failure, so that a trace may follow.
func tells(line []byte) bool {
	switch last := line[len(line)-1]; {
	case last == ')':
		if rubyHeader(line) {
			return true
		}
	case last >= '0' && last <= '9':
		if nodeSource(line) {
			return true
		}
	case last == ':':
		if ends(line, "Traceback (most recent call last):") {
			return true
		}
	}
	switch {
	case grave(line[:min(len(line), levelReach)]), names(line), classy(line), julHead(line):
		return true
	case opensBehind(line):
		return true
	case line[0] == '[':
		return bytes.Contains(line[:min(len(line), levelReach)], []byte("] PHP "))
	case len(line) > 20 && line[4] == '/' && line[7] == '/': // package log of Go
		return bytes.Contains(line, []byte("panic"))
	}
	return false
}

// starts says whether a line looks like a log line or a trace of its own, so that it cannot be more of a message.
func starts(line []byte) bool {
	if len(line) == 0 {
		return false
	}
	if _, ok := opens(line); ok || line[0] == '{' {
		return true
	}
	return dated(line) || grave(line[:min(len(line), levelReach)]) || header(line) == qualified
}
