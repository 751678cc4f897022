// SPDX-License-Identifier: AGPL-3.0-or-later

package join

import (
	"bytes"

	"cloud4.internal/hub/loghub/internal/frame"
)

// Trace says which line of a group names what was thrown, and in which language.
type Trace struct {
	kind  machine
	line  int
	front *prefix // of the line
}

// Found says whether there is a trace.
func (t Trace) Found() bool { return t.kind != idle }

// Describe takes the type and the first line of the message out of a group's text, whose lines may have been changed
// since, but not their number. What it does not find is empty.
func (t Trace) Describe(text []byte) (name, said []byte) {
	line := text
	for range t.line {
		i := bytes.IndexByte(line, '\n')
		if i < 0 {
			return nil, nil
		}
		line = line[i+1:]
	}
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	line = frame.Trim(line)
	if t.front != nil {
		var ok bool
		if line, ok = t.front.skip(line); !ok {
			return nil, nil
		}
	}
	line, _ = indent(line)
	switch t.kind {
	case thrown, dotnetLog:
		return thrownParts(line)
	case python:
		line = bytes.TrimPrefix(line, []byte("| "))
		if rubyHeader(line) {
			return rubyParts(line)
		}
		return split(line)
	case golang:
		name, said = split(line)
		return name, bytes.TrimSuffix(said, []byte(" [recovered]"))
	case race:
		return []byte("DATA RACE"), nil
	case ruby:
		return rubyParts(line)
	case php:
		return phpParts(line)
	case rust:
		return rustParts(line)
	case logged:
		return loggedParts(line)
	}
	return nil, nil
}

// split parts "name: message".
func split(line []byte) (name, said []byte) {
	if i := bytes.Index(line, []byte(": ")); i >= 0 {
		return line[:i], line[i+2:]
	}
	return bytes.TrimSuffix(line, []byte(":")), nil
}

// after returns what is behind the first mark, or the whole line.
func after(line []byte, mark string) []byte {
	if i := bytes.Index(line, []byte(mark)); i >= 0 {
		return line[i+len(mark):]
	}
	return line
}

// thrownParts reads `Exception in thread "main" a.b.C: message`, `Error [CODE]: message` and the like.
func thrownParts(line []byte) (name, said []byte) {
	if has(line, "Exception in thread ") {
		line = after(line, `" `)
	}
	for _, mark := range []string{"Unhandled exception. ", "Unhandled Exception: ", "Uncaught ", "Caused by: ", "---> "} {
		line = bytes.TrimPrefix(line, []byte(mark))
	}
	n, _ := className(line)
	if n == 0 || !afterName(line[n:]) {
		return nil, nil
	}
	if rest := line[n:]; has(rest, " (") && ends(rest, "):") { // Rails
		return line[:n], rest[2 : len(rest)-2]
	}
	_, said = split(line)
	return line[:n], said
}

func rubyParts(line []byte) (name, said []byte) {
	rest, ok := rubyPlace(line)
	i := bytes.LastIndex(rest, []byte(" ("))
	if !ok || i < 2 || !ends(rest, ")") {
		return nil, nil
	}
	return rest[i+2 : len(rest)-1], rest[2:i]
}

// phpParts reads "… Uncaught Name: message in /x.php:3" and "Next Name: message in …".
func phpParts(line []byte) (name, said []byte) {
	if has(line, "Next ") {
		line = line[len("Next "):]
	} else if bytes.Contains(line, []byte("Uncaught ")) {
		line = after(line, "Uncaught ")
	} else {
		return nil, nil
	}
	name, said = split(line)
	if i := bytes.LastIndex(said, []byte(" in ")); i >= 0 {
		said = said[:i]
	}
	return name, said
}

// rustParts reads the line of the message, or, of a Rust before 1.73, "thread 'x' panicked at 'message', x.rs:1:2".
func rustParts(line []byte) (name, said []byte) {
	if has(line, "thread '") {
		line = after(line, " panicked at '")
		if i := bytes.LastIndex(line, []byte("', ")); i >= 0 {
			line = line[:i]
		}
	}
	return []byte("panic"), line
}

// loggedParts looks into a log line that was followed by frames alone.
func loggedParts(line []byte) (name, said []byte) {
	if i := bytes.Index(line, []byte("panic serving ")); i >= 0 { // net/http
		_, said = split(line[i:])
		return []byte("panic"), said
	}
	if i := bytes.Index(line, []byte("[object] (")); i >= 0 { // Monolog
		line = line[i+len("[object] ("):]
		if n, _ := className(line); n > 0 {
			_, said = split(line[n:])
			_, said = split(said)
			if i := bytes.LastIndex(said, []byte(" at ")); i >= 0 {
				said = said[:i]
			}
			return line[:n], said
		}
	}
	if i := bytes.LastIndex(line, []byte(" (")); i > 0 && ends(line, ")") { // package logger of Ruby
		if n, _ := className(line[i+2:]); n == len(line)-i-3 {
			return line[i+2 : len(line)-1], after(line[:i], " -- : ")
		}
	}
	return thrownParts(fromName(line))
}

// fromName cuts a line in front of the first name of an exception in it.
func fromName(line []byte) []byte {
	for i := range line {
		if (i == 0 || !wordy(line[i-1]) && line[i-1] != '.') && wordy(line[i]) && header(line[i:]) != notHeader {
			return line[i:]
		}
	}
	return nil
}
