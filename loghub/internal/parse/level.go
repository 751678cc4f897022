// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

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
	case "trace", "finest", "silly":
		return Trace
	case "debug", "finer", "fine", "dbg":
		return Debug
	case "verbose":
		return Debug + 3
	case "info", "information", "inf", "log", "config":
		return Info
	case "notice":
		return Info + 1
	case "warn", "warning", "wrn":
		return Warn
	case "error", "err", "eror", "severe":
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

// numericSeverity maps the levels of pino and bunyan.
func numericSeverity(n int64) uint8 {
	switch {
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

// findLevel looks for a level word in the first bytes of a text line. It has to
// be set apart as programs do it: in capitals, in brackets, before a colon, or
// behind "level=".
func findLevel(line []byte) (word []byte, number uint8) {
	const reach = 160
	if len(line) > reach {
		line = line[:reach]
	}
	for i := 0; i < len(line); {
		if !letter(line[i]) {
			i++
			continue
		}
		j := i + 1
		for j < len(line) && letter(line[j]) {
			j++
		}
		w := line[i:j]
		if n := severity(w); n != 0 && setApart(line, i, j) {
			return w, n
		}
		i = j
	}
	return nil, 0
}

func setApart(line []byte, i, j int) bool {
	if j < len(line) && (line[j] >= '0' && line[j] <= '9' || line[j] == '_') || i > 0 && (line[i-1] == '_' || line[i-1] == '/' || line[i-1] == '.' || line[i-1] == '-') {
		return false // part of a name
	}
	upper := true
	for _, c := range line[i:j] {
		upper = upper && c < 'a'
	}
	if j < len(line) {
		switch c := line[j]; {
		case c == ':' || c == ']' || c == '>' || c == '|' || c == ')':
			return true
		case c == '=': // "error=…" is a key
			return false
		}
	}
	if i > 0 && (line[i-1] == '=' || line[i-1] == '[' || line[i-1] == '<') {
		return true
	}
	return upper
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func digitByte(c byte) bool { return c >= '0' && c <= '9' }
