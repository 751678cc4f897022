// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import "bytes"

// Severity numbers of the OpenTelemetry log data model.
const (
	Trace = 1
	Debug = 5
	Info  = 9
	Warn  = 13
	Error = 17
	Fatal = 21
)

// Level names the severity in six words, "" for 0.
func Level(severity uint8) string {
	switch {
	case severity == 0:
		return ""
	case severity < Debug:
		return "trace"
	case severity < Info:
		return "debug"
	case severity < Warn:
		return "info"
	case severity < Error:
		return "warn"
	case severity < Fatal:
		return "error"
	}
	return "fatal"
}

// Severity is the number of a level as programs write it, in any case: a word or its abbreviation, a word and an offset
// (INFO+2), a letter, or a number of pino, bunyan or Monolog; 0 for anything else.
func Severity(level []byte) uint8 {
	if n := levelWord(level); n != 0 {
		return n
	}
	return abbreviated(level)
}

// severity maps a word of any usual program to the number the data model's
// appendix B gives it; 0 when it is none.
func severity(word []byte) uint8 {
	if len(word) < 3 || len(word) > 11 {
		return 0
	}
	var buf [11]byte
	for i, c := range word {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		buf[i] = c
	}
	switch string(buf[:len(word)]) {
	case "trace", "finest", "silly", "trc", "trce":
		return Trace
	case "debug", "finer", "fine", "dbg", "dbug":
		return Debug
	case "verbose":
		return Debug + 3
	case "info", "information", "inf", "log", "config":
		return Info
	case "notice":
		return Info + 1
	case "warn", "warning", "wrn":
		return Warn
	case "error", "err", "eror", "severe", "fail":
		return Error
	case "crit", "critical":
		return Error + 1
	case "alert", "panic", "dpanic":
		return Error + 2
	case "fatal", "emerg", "emergency", "ftl":
		return Fatal
	}
	return 0
}

// levelWord maps what stands where a level is expected: a word, a word and an offset (slog's INFO+2), a letter (MongoDB's I),
// or a number (pino's "30").
func levelWord(b []byte) uint8 {
	if n := severity(b); n != 0 {
		return n
	}
	if len(b) == 0 || len(b) > 11 {
		return 0
	}
	if len(b) <= 2 {
		return levelLetter(b)
	}
	if at := bytes.IndexAny(b, "+-"); at > 0 {
		base := severity(b[:at])
		r := reader{b[at+1:], true}
		offset := r.number()
		if base == 0 || !r.ok || len(r.b) > 0 {
			return 0
		}
		if b[at] == '-' {
			offset = -offset
		}
		return uint8(min(max(int64(base)+offset, Trace), Fatal+3))
	}
	if r := (reader{b, true}); digitByte(b[0]) {
		if n := r.number(); len(r.b) == 0 {
			return numericSeverity(n)
		}
	}
	return 0
}

// levelLetter reads I, W, …, and the D1 to D5 of MongoDB.
func levelLetter(b []byte) uint8 {
	if len(b) == 2 && (b[0] != 'D' || b[1] < '1' || b[1] > '5') {
		r := reader{b, true}
		if n := r.number(); len(r.b) == 0 && r.ok {
			return numericSeverity(n)
		}
		return 0
	}
	switch b[0] {
	case 'T':
		return Trace
	case 'D':
		return Debug
	case 'I':
		return Info
	case 'W':
		return Warn
	case 'E':
		return Error
	case 'F':
		return Fatal
	}
	return 0
}

// numericSeverity maps the levels of pino and bunyan (10 to 60) and of Monolog (100 to 600).
func numericSeverity(n int64) uint8 {
	switch {
	case n >= 100 && n <= 600 && n%50 == 0:
		return monologSeverity(n)
	case n < 10 || n > 60:
		return 0
	case n < 20:
		return Trace
	case n < 30:
		return Debug
	case n < 40:
		return Info
	case n < 50:
		return Warn
	case n < 60:
		return Error
	}
	return Fatal
}

func monologSeverity(n int64) uint8 {
	switch {
	case n < 200:
		return Debug
	case n < 250:
		return Info
	case n < 300:
		return Info + 1
	case n < 400:
		return Warn
	case n < 500:
		return Error
	case n < 550:
		return Error + 1
	case n < 600:
		return Error + 2
	}
	return Fatal
}

// findLevel looks for a level word in the first bytes of a text line. It has to
// be set apart as programs do it: in capitals, in brackets, before a colon, or
// behind "level=". A letter has to be in brackets.
func findLevel(line []byte) (word []byte, number uint8) {
	const reach = 160
	if len(line) > reach {
		line = line[:reach]
	}
	for i := 0; i < len(line); {
		if kinds[line[i]]&letterByte == 0 {
			i++
			continue
		}
		j := i + 1
		for j < len(line) && kinds[line[j]]&letterByte != 0 {
			j++
		}
		// Most words are in small letters between blanks; of the others few are set apart, so that asks less than their meaning.
		if plain := line[i] >= 'a' && i > 0 && line[i-1] == ' ' && j < len(line) && kinds[line[j]]&plainByte != 0; !plain && setApart(line, i, j) {
			if n := severity(line[i:j]); n != 0 && !everyday(line, i, j) {
				return line[i:j], n
			}
		}
		if j == i+1 && i > 0 && j < len(line) && line[i-1] == '[' && line[j] == ']' { // [I], as Gitea has it
			if n := levelLetter(line[i:j]); n != 0 {
				return line[i:j], n
			}
		}
		i = j
	}
	return nil, 0
}

// Kinds of bytes: letters, and those that stand behind a word of a sentence.
const (
	letterByte = 1 << iota
	plainByte
)

var kinds = func() (is [256]uint8) {
	for c := range is {
		if letter(byte(c)) {
			is[c] |= letterByte
		}
	}
	for _, c := range " ,.;!?'\"" {
		is[c] |= plainByte
	}
	return is
}()

// everyday says whether a level's name is only a word of the sentence: "stack trace: …", "reading config: …".
func everyday(line []byte, i, j int) bool {
	if i == 0 || line[i-1] != ' ' {
		return false
	}
	switch string(line[i:j]) {
	case "trace", "log", "config", "fine", "finer", "information", "notice", "alert", "fail":
		return true
	}
	return false
}

func setApart(line []byte, i, j int) bool {
	before, after := byte(' '), byte(' ')
	if i > 0 {
		before = line[i-1]
	}
	if j < len(line) {
		after = line[j]
	}
	switch before {
	case '_', '/', '.', '-': // part of a name
		return false
	}
	switch {
	case digitByte(after) || after == '_':
		return false
	case after == ':' || after == ']' || after == '>' || after == '|' || after == ')':
		return true
	case after == '=': // "error=…" is a key
		return false
	case before == '=' || before == '[' || before == '<':
		return true
	}
	for _, c := range line[i:j] {
		if c >= 'a' {
			return false
		}
	}
	return true
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func digitByte(c byte) bool { return c >= '0' && c <= '9' }
