// SPDX-License-Identifier: AGPL-3.0-or-later

package join

import "bytes"

// How far from the beginning of a line is looked for
const (
	levelReach = 96   // its level
	nameReach  = 4096 // the name of an exception
)

func has(line []byte, prefix string) bool {
	return len(line) >= len(prefix) && string(line[:len(prefix)]) == prefix
}

func ends(line []byte, suffix string) bool {
	return len(line) >= len(suffix) && string(line[len(line)-len(suffix):]) == suffix
}

// cutEnd drops the end of the last line.
func cutEnd(text []byte) []byte {
	if n := len(text); n > 0 && text[n-1] == '\n' {
		return text[:n-1]
	}
	return text
}

func indent(line []byte) (rest []byte, in int) {
	for in < len(line) && (line[in] == ' ' || line[in] == '\t') {
		in++
	}
	return line[in:], in
}

func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' && c != 0 {
			return false
		}
	}
	return true
}

func digit(c byte) bool { return c >= '0' && c <= '9' }
func upper(c byte) bool { return c >= 'A' && c <= 'Z' }
func wordy(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || digit(c) || c == '_' || c == '$' }

// digits is how many digits a line begins with.
func digits(line []byte) (n int) {
	for n < len(line) && digit(line[n]) {
		n++
	}
	return n
}

// grave looks for a level from warning on, in capitals. All these words have an R in them, or begin with F: letters that
// are rare in other lines.
func grave(line []byte) bool {
	for i := 0; ; {
		k := bytes.IndexByte(line[i:], 'R')
		if k < 0 {
			break
		}
		var found bool
		if i, found = level(line, i+k); found {
			return true
		}
	}
	for i := 0; ; {
		k := bytes.IndexByte(line[i:], 'F')
		if k < 0 {
			return false
		}
		var found bool
		if i, found = level(line, i+k); found {
			return true
		}
	}
}

// level looks at the word around i, and returns the index behind it.
func level(line []byte, i int) (end int, found bool) {
	from, end := i, i+1
	for from > 0 && upper(line[from-1]) {
		from--
	}
	for end < len(line) && upper(line[end]) {
		end++
	}
	if from > 0 && wordy(line[from-1]) || end < len(line) && wordy(line[end]) {
		return end, false
	}
	switch string(line[from:end]) {
	case "ERROR", "ERR", "WARN", "WARNING", "WRN", "SEVERE", "CRITICAL", "CRIT", "ALERT", "EMERG", "EMERGENCY", "FATAL", "FTL":
		return end, true
	}
	return end, false
}

// names says whether an exception is named in a line: "…Error" or "…Exception" before a colon, a bracket or the end. The
// letter E is rare in other lines.
func names(line []byte) bool {
	line = line[:min(len(line), nameReach)]
	for {
		i := bytes.IndexByte(line, 'E')
		if i < 0 {
			return false
		}
		line = line[i:]
		if has(line, "Error") && afterName(line[len("Error"):]) || has(line, "Exception") && afterName(line[len("Exception"):]) {
			return true
		}
		line = line[1:]
	}
}

// afterName says whether an exception's name may be followed so.
func afterName(rest []byte) bool {
	if len(rest) == 0 {
		return true
	}
	switch rest[0] {
	case ':', ')', '\r':
		return true
	case ' ':
		return has(rest, " (") || has(rest, " [") || has(rest, " {") || has(rest, " in thread ")
	}
	return false
}

// headerKind is how sure it is that a line names an exception.
type headerKind uint8

const (
	notHeader headerKind = iota
	simple               // TypeError: …
	qualified            // java.lang.IllegalStateException: …
)

// header says whether a line is that of an exception: its class, and what it says.
func header(line []byte) headerKind {
	if has(line, "Exception in thread ") {
		return qualified
	}
	name, dots := className(line)
	switch {
	case name == 0 || !afterName(line[name:]):
		return notHeader
	case !ends(line[:name], "Error") && !ends(line[:name], "Exception") && !ends(line[:name], "Throwable"):
		return notHeader
	case dots:
		return qualified
	}
	return simple
}

// classy says whether a line begins with the full name of a class, which by itself says nothing of an exception.
func classy(line []byte) bool {
	if line[0] < 'a' || line[0] > 'z' {
		return false
	}
	n, dots := className(line)
	if !dots || n < len(line) && line[n] != ':' {
		return false
	}
	i := bytes.LastIndexByte(line[:n], '.')
	return i > 0 && i+1 < n && upper(line[i+1])
}

// className measures the name at the beginning of a line.
func className(line []byte) (n int, dots bool) {
	for ; n < len(line); n++ {
		switch c := line[n]; {
		case wordy(c) || c == '+' || c == '`':
		case (c == '.' || c == '\\' || c == '/') && n > 0:
			dots = true
		default:
			return n, dots
		}
	}
	return n, dots
}

// atFrame says whether a line without its indentation is a frame of Java, .NET or JavaScript.
func atFrame(rest []byte) bool {
	return has(rest, "at ") && len(rest) < 4096 && bytes.ContainsAny(rest[3:], "(:<")
}

// caret says whether a line points at another, as compilers do.
func caret(line []byte) bool {
	rest, _ := indent(line)
	for _, c := range rest {
		if c != '^' && c != '~' {
			return false
		}
	}
	return len(rest) > 0
}

// dated says whether a line begins with a time or an address, in brackets or not.
func dated(line []byte) bool {
	if len(line) > 0 && (line[0] == '[' || line[0] == '<') {
		line = line[1:]
	}
	n := digits(line)
	if n == 0 || n >= len(line) {
		return false
	}
	switch line[n] {
	case '-', '/', ':', '.', '>':
		return n >= 2 && n+1 < len(line) && (digit(line[n+1]) || upper(line[n+1]) || line[n] == '>')
	}
	return n >= 10 // seconds since 1970
}

// nodeSource reads the first line of what node prints of an error that nobody caught: "/app/x.js:12".
func nodeSource(line []byte) bool {
	if !has(line, "/") && !has(line, "node:") && !has(line, "file://") || !digit(line[len(line)-1]) {
		return false
	}
	i := bytes.LastIndexByte(line, ':')
	return i > 0 && digits(line[i+1:]) == len(line)-i-1 && bytes.IndexByte(line, ' ') < 0
}

// rubyPlace finds "x.rb:1:in 'f'" and returns what is behind it.
func rubyPlace(line []byte) (rest []byte, ok bool) {
	i := bytes.Index(line, []byte(":in "))
	if i < 1 || i+5 >= len(line) || !digit(line[i-1]) || line[i+4] != '`' && line[i+4] != '\'' {
		return nil, false
	}
	line = line[i+5:]
	i = bytes.IndexByte(line, '\'')
	return line[i+1:], i >= 0
}

// rubyHeader reads "x.rb:1:in 'f': message (Name)".
func rubyHeader(line []byte) bool {
	rest, ok := rubyPlace(line)
	return ok && has(rest, ": ") && ends(rest, ")")
}

func uncaughtPHP(line []byte) bool {
	i := bytes.Index(line, []byte("Uncaught "))
	return i > 0 && bytes.Contains(line[:i], []byte("Fatal error: "))
}
