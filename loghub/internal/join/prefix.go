// SPDX-License-Identifier: AGPL-3.0-or-later

package join

import (
	"bytes"
	"encoding/binary"
)

// prefix is what stands in front of each line of a trace, put there by a logger, by journald or by docker compose: "web-1 | ",
// "2026-11-21T07:55:42.123Z ", "Nov 21 07:55:42 vm1 shop[7]: ", "[2026-11-21 07:55:42] ERROR: ". But for the figures of the
// time it is the same on each.
type prefix struct {
	before string // the time; it has one of the two or both
	form   string // of the time, see stamps
	behind string // the time
}

// How many beginnings of what was logged are tried for one trace, how far into a line they may be, and how many lines with a
// prefix wait for the first frame: an ordinary event that names an exception is not to wait for long.
const (
	maxPrefixes    = 6
	prefixReach    = 160
	maxUnsureFront = 3
)

// skip returns what stands behind the prefix.
func (p *prefix) skip(line []byte) (rest []byte, ok bool) {
	if !has(line, p.before) {
		return nil, false
	}
	rest = line[len(p.before):]
	if p.form != "" {
		n := stampOf(rest, p.form)
		if n == 0 {
			return nil, false
		}
		rest = rest[n:]
	}
	if !has(rest, p.behind) { // of a blank line somebody may have taken the blanks
		return nil, has([]byte(p.behind), string(rest)) && blank([]byte(p.behind)[len(rest):])
	}
	return tabbed(rest[len(p.behind):]), true
}

// tabbed puts back the tabs that a line begins with where rsyslog has written #011 for them.
func tabbed(line []byte) []byte {
	n := 0
	for has(line[n*len("#011"):], "#011") {
		n++
	}
	if n == 0 {
		return line
	}
	return append(bytes.Repeat([]byte{'\t'}, n), line[n*len("#011"):]...)
}

// fixed is how many bytes stand in front of a line's time, and the form of that. A line may have one of the two.
func fixed(line []byte) (before, n int, form string) {
	i := tag(line)
	if i < len(line) && line[i] == '[' {
		i++
	}
	if n, form = stamp(line[i:]); n > 0 {
		return i, n, form
	}
	if word := levelSize(line[i:]); word > 0 {
		if n, form = stamp(line[i+word:]); n > 0 {
			return i + word, n, form
		}
	}
	return tag(line), 0, ""
}

// tag is the size of "web-1  | " or "<13>".
func tag(line []byte) int {
	i := 0
	if len(line) > 2 && line[0] == '<' {
		if n := digits(line[1:]); n > 0 && n+1 < len(line) && line[n+1] == '>' {
			return n + 2
		}
		return 0
	}
	for i < len(line) && i < 64 && (wordy(line[i]) || line[i] == '-' || line[i] == '.') {
		i++
	}
	_, in := indent(line[i:])
	if i == 0 || i+in+1 >= len(line) || line[i+in] != '|' || line[i+in+1] != ' ' {
		return 0
	}
	return i + in + 2
}

// levelSize is the size of a word in capitals in front of a time: "ERROR ", "ERROR] [".
func levelSize(line []byte) int {
	n := 0
	for n < len(line) && n < 9 && upper(line[n]) {
		n++
	}
	if n < 3 {
		return 0
	}
	for n < len(line) && n < 16 && (line[n] == ' ' || line[n] == ':' || line[n] == ']' || line[n] == '[' || line[n] == '\t') {
		n++
	}
	return n
}

// prefixed looks whether two lines, of which the first may be the head of a trace, have a prefix, and go together behind it.
// Where they do it goes on with that.
func (j *Joiner) prefixed(first, line []byte) answer {
	if !hints(line) && !names(first) && !opensBehind(first) {
		return no
	}
	before, n, form := fixed(first)
	if before+n == 0 || !bytes.HasPrefix(line, first[:before]) {
		return no
	}
	m := 0
	if form != "" {
		if m = stampOf(line[before:], form); m == 0 {
			return no
		}
	}
	a, b := first[before+n:], line[before+m:]
	k := 0
	for k < len(a) && k < len(b) && k < prefixReach && a[k] == b[k] {
		k++
	}
	for range maxPrefixes {
		for k > 0 && !sets(a[k-1]) {
			k--
		}
		if verdict := j.split(a[k:], tabbed(b[k:])); verdict != no {
			p := &prefix{before: string(first[:before]), form: form, behind: string(a[:k])}
			j.now.front = p
			if j.trace.Found() {
				j.trace.front = p
			}
			j.sure = j.trace
			return verdict
		}
		if k == 0 {
			break
		}
		k--
	}
	return no
}

// hints says in little time of nearly every line that it does not go on with a log line, whatever its prefix is: with a frame
// or what is indented, the name of an exception, or the beginning of a traceback.
func hints(line []byte) bool {
	if len(line) == 0 {
		return true
	}
	switch line[len(line)-1] {
	case ':', '\'', ' ':
		return true
	}
	if bytes.IndexByte(line, '\t') >= 0 || names(line) {
		return true
	}
	if i := bytes.IndexByte(line, '#'); i >= 0 && has(line[i:], "#0") {
		return true
	}
	return twoBlanks(line[:min(len(line), prefixReach)])
}

// twoBlanks says whether two blanks stand together.
func twoBlanks(line []byte) bool {
	const ones, high, blanks = 0x0101010101010101, 0x8080808080808080, 0x2020202020202020
	i := 0
	for ; i+9 <= len(line); i += 8 { // a byte of both is zero where one is a blank and the next one too
		both := (binary.LittleEndian.Uint64(line[i:]) ^ blanks) | (binary.LittleEndian.Uint64(line[i+1:]) ^ blanks)
		if (both-ones)&^both&high != 0 {
			return true
		}
	}
	for i++; i < len(line); i++ {
		if line[i-1] == ' ' && line[i] == ' ' {
			return true
		}
	}
	return false
}

// opensBehind says whether a trace opens behind what machines put in front of a line: a name, a time, what syslog says.
func opensBehind(line []byte) bool {
	const date = len("2026-11-21 07:55:42")
	if i := bytes.IndexByte(line[:min(len(line), 40)], '|'); i > 0 && i+2 < len(line) {
		line = line[i+2:]
	}
	switch {
	case len(line) < 5:
		return false
	case len(line) > date && line[4] == '-' && line[7] == '-':
		i := bytes.IndexByte(line[date:], ' ')
		line = line[date+i+1:]
	case len(line) > date && line[3] == ' ' && line[6] == ' ':
		if i := bytes.Index(line, []byte("]: ")); i > 0 {
			line = line[i+len("]: "):]
		}
	}
	if len(line) == 0 {
		return false
	}
	_, ok := opens(line)
	return ok
}

// sets says whether a prefix may end with c.
func sets(c byte) bool {
	return c == ' ' || c == '\t' || c == ':' || c == '|' || c == ']' || c == '>' || c == ')'
}

// split judges two lines without their prefix. What looks like an exception may be a log line in front of one.
func (j *Joiner) split(first, line []byte) answer {
	if s, ok := begin(first); ok && s.in != logged {
		if verdict := j.pair(s, line); verdict != no {
			return verdict
		}
	}
	return j.pair(state{in: logged, thrown: true}, line)
}

// pair judges a line behind one that leaves the machine in s, and goes on from there if they go together.
func (j *Joiner) pair(s state, line []byte) answer {
	trace := Trace{}
	if s.thrown {
		trace, s.thrown = Trace{kind: s.in}, false
	}
	verdict := s.sure(s.next(line), line)
	if verdict != no {
		j.now, j.trace = s, trace
	}
	return verdict
}

// behind judges a line behind the prefix that the lines before have.
func (s *state) behind(line []byte) answer {
	rest, ok := s.front.skip(line)
	if !ok {
		return no
	}
	return s.sure(s.next(rest), rest)
}

// sure takes no line with a prefix for a part of a trace that has no frame: what logs an event puts the same in front of it.
func (s *state) sure(verdict answer, line []byte) answer {
	if verdict == no || s.framed {
		return verdict
	}
	if verdict != maybe && framed(line) {
		s.framed = true
		return verdict
	}
	return maybe
}

// framed says whether a line is a frame, or what no event says.
func framed(line []byte) bool {
	rest, in := indent(line)
	switch {
	case len(rest) == 0:
		return false
	case in > 0 && (atFrame(rest) || has(rest, `File "`) || bytes.Contains(rest, []byte(".go:"))):
		return true
	case goroutine(rest), has(rest, "#0 "), has(rest, "note: run with "):
		return true
	}
	if i := bytes.Index(rest, []byte(": ")); in > 0 && i > 0 && digits(rest) == i { // of Rust
		return true
	}
	return rubyFrame(rest) && (in > 0 || has(rest, "from "))
}
