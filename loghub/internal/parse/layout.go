// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"
	"fmt"
	"strings"

	"cloud4.internal/hub/internal/otlp"
)

// layout is how a program's console lines are laid out, compiled from text such as
//
//	{time} [{thread}] {level} {logger} - {message}
//
// A blank stands for one or more blanks, an underscore for none or more, "{{" for a brace before a part, anything else for
// itself. The parts:
//
//	{time}      date and time, see Parser.timestamp; {isotime} with T, {sqltime} with a blank and dashes between them
//	{clock}     07:55:42.123 of today
//	{kitchen}   7:55AM; too coarse to be the event's time
//	{daytime}   21-Nov-2026 07:55:42.123, a zone behind it or not
//	{level}     a word for a severity; {LEVEL} one in capitals, slog's WARN+2 too; {LVL} abbreviated (INF); {code} likewise
//	            (ERRO); {letter} its first
//	{pid}       digits: process.pid; {tid} thread.id, {digits} ignored
//	{logger}    a name without blanks; {module} one that no word of a message is; {channel} and {function} end where what
//	            follows begins
//	{caller}    file:line
//	{thread}    whatever stands before the character behind it, blanks around it left out: thread.name; {process} and {-}
//	            (ignored) likewise
//	{trace}     ids of trace and span with a dash between them, or blanks
//	{message}   the rest, searched for a level if there was none; {pairs} the rest, key=value at its end as attributes;
//	            {objects} likewise with JSON objects
//
// It is matched from left to right and never goes back.
type layout struct {
	format  string
	begins  shape
	outline outline
	steps   []step
}

type step struct {
	part part
	attr string // name of the attribute
	text string // what stands there (partText)
	stop byte   // the character behind it
}

// part is one kind of step.
type part uint8

const (
	partText part = iota
	partBlanks
	partMaybeBlanks
	partTime
	partISOTime
	partSQLTime
	partClock
	partKitchen
	partDaytime
	partLevel
	partCapitals
	partThree
	partFour
	partLetter
	partNumber
	partName
	partModule
	partWord
	partCaller
	partUntil
	partTrace
	partMessage
	partPairs
	partObjects
)

var parts = map[string]struct {
	part part
	attr string
}{
	"time": {part: partTime}, "isotime": {part: partISOTime}, "sqltime": {part: partSQLTime}, "clock": {part: partClock},
	"kitchen": {part: partKitchen}, "daytime": {part: partDaytime},
	"level": {part: partLevel}, "LEVEL": {part: partCapitals}, "LVL": {part: partThree}, "code": {part: partFour},
	"letter": {part: partLetter},
	"pid":    {partNumber, "process.pid"}, "tid": {partNumber, "thread.id"}, "line": {partNumber, "code.line.number"},
	"digits": {part: partNumber},
	"logger": {partName, "logger"}, "module": {partModule, "logger"}, "channel": {partWord, "logger"},
	"function": {partWord, "code.function.name"},
	"caller":   {part: partCaller},
	"thread":   {partUntil, "thread.name"}, "process": {partUntil, "process.executable.name"}, "-": {part: partUntil},
	"trace": {part: partTrace}, "message": {part: partMessage}, "pairs": {part: partPairs}, "objects": {part: partObjects},
}

// compile reads the text of a layout; what is no layout is a mistake of ours.
func compile(format string, begins shape, text string) layout {
	l := layout{format: format, begins: begins}
	for text != "" {
		name, rest, isPart := strings.Cut(strings.TrimPrefix(text, "{"), "}")
		switch kind, known := parts[name]; {
		case strings.HasPrefix(text, "{{"):
			l.steps, text = append(l.steps, step{text: "{"}), text[1:]
		case text[0] == '{' && isPart && known:
			s := step{part: kind.part, attr: kind.attr}
			if rest != "" {
				s.stop = rest[0]
			}
			l.steps, text = append(l.steps, s), rest
		case text[0] == '{' && isPart:
			panic(fmt.Sprintf("parse: layout of %s: no part is called %q", format, name))
		case text[0] == ' ':
			l.steps, text = append(l.steps, step{part: partBlanks}), text[1:]
		case text[0] == '_':
			l.steps, text = append(l.steps, step{part: partMaybeBlanks}), text[1:]
		default:
			n := strings.IndexAny(text, "{ _")
			if n < 0 {
				n = len(text)
			}
			l.steps, text = append(l.steps, step{text: text[:n]}), text[n:]
		}
	}
	l.outline = l.outlined()
	return l
}

// match reads line by l; false may leave rec half filled.
func (l *layout) match(p *Parser, line []byte, rec *otlp.Record) bool {
	rec.Time, rec.Severity, rec.SeverityText, rec.TraceID, rec.SpanID, rec.Attributes = 0, 0, "", nil, nil, rec.Attributes[:0]
	b := line
	for i := range l.steps {
		s := &l.steps[i]
		n := 0
		switch s.part {
		case partText:
			if n = len(s.text); len(b) < n || string(b[:n]) != s.text {
				return false
			}
		case partBlanks, partMaybeBlanks:
			if n = blanks(b); n == 0 && s.part == partBlanks {
				return false
			}
		case partTime, partISOTime, partSQLTime:
			if n = p.stamp(line, b, rec); n == 0 || !s.separates(b) {
				return false
			}
		case partMessage:
			rec.Body = otlp.Text(b)
			p.levelWithin(b, rec)
			return true
		case partPairs:
			p.pairs(b, rec)
			return true
		case partObjects:
			p.objects(b, rec)
			return true
		default:
			if n = s.value(p, b, rec); n == 0 {
				return false
			}
		}
		b = b[n:]
	}
	rec.Body = otlp.Text(b)
	return len(b) == 0
}

// value reads a part that is neither fixed nor the rest, and returns its size, 0 for none.
func (s *step) value(p *Parser, b []byte, rec *otlp.Record) int {
	switch s.part {
	case partClock:
		return p.clockToday(b, rec)
	case partKitchen:
		return kitchen(b)
	case partDaytime:
		return p.daytime(b, rec)
	case partLevel, partCapitals, partThree, partFour:
		return s.level(p, b, rec)
	case partNumber:
		r := reader{b, true}
		v := r.number()
		n := r.took(b)
		if n > 0 && s.attr != "" {
			p.put(rec, s.attr, otlp.Int(v))
		}
		return n
	case partName, partModule, partWord:
		n := s.name(b)
		if n > 0 {
			p.put(rec, s.attr, otlp.Text(b[:n]))
		}
		return n
	case partCaller:
		return p.caller(b, rec)
	case partLetter:
		return p.levelLetter(b, rec)
	case partTrace:
		return s.trace(p, b, rec)
	}
	return s.field(p, b, rec)
}

// level reads a word that is a severity.
func (s *step) level(p *Parser, b []byte, rec *otlp.Record) int {
	n := s.word(b)
	if n == 0 {
		return 0
	}
	letters := letters(b)
	number := severity(b[:letters])
	if s.part == partThree || s.part == partFour {
		number = abbreviated(b[:n])
	}
	if number == 0 {
		return 0
	}
	if letters < n {
		number = shifted(number, b[letters:n])
	}
	rec.Severity, rec.SeverityText = number, p.intern(b[:n])
	return n
}

// levelLetter reads the first letter of a level.
func (p *Parser) levelLetter(b []byte, rec *otlp.Record) int {
	if len(b) == 0 {
		return 0
	}
	if rec.Severity = levelLetter(b[:1]); rec.Severity == 0 {
		return 0
	}
	rec.SeverityText = p.intern(b[:1])
	return 1
}

// shifted is a severity so much above or below another as "+2" or "-1" says.
func shifted(number uint8, by []byte) uint8 {
	d := int(by[1] - '0')
	if by[0] == '-' {
		d = -d
	}
	return uint8(min(max(int(number)+d, Trace), Fatal+3))
}

// maxUntil is how long a part may be whose end is only known by what follows it.
const maxUntil = 128

func (s *step) field(p *Parser, b []byte, rec *otlp.Record) int {
	n := s.until(b)
	if v := bytes.TrimSpace(b[:n]); len(v) > 0 && s.attr != "" {
		p.put(rec, s.attr, otlp.Text(v))
	}
	return n
}

// trace reads "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331" or as many blanks.
func (s *step) trace(p *Parser, b []byte, rec *otlp.Record) int {
	n := s.until(b)
	if n != 32+1+16 {
		return 0
	}
	if len(bytes.TrimSpace(b[:n])) == 0 || b[32] == '-' && p.setTraceID(rec, b[:32]) && p.setSpanID(rec, b[33:n]) {
		return n
	}
	return 0
}

// put appends an attribute whose key the format knows to collide with nothing.
func (p *Parser) put(rec *otlp.Record, key string, v otlp.Value) {
	attach(rec, key, &v)
}

// caller reads "dir/file.go:12" and returns its size, 0 for none.
func (p *Parser) caller(b []byte, rec *otlp.Record) int {
	file, line, n := callerSize(b)
	if n > 0 {
		p.put(rec, "code.file.path", otlp.Text(file))
		p.put(rec, "code.line.number", otlp.Int(line))
	}
	return n
}

func callerSize(b []byte) (file []byte, line int64, size int) {
	n := 0
	for n < len(b) && n < maxUntil && b[n] != ':' && b[n] > ' ' {
		n++
	}
	if n == 0 || n+1 >= len(b) || b[n] != ':' || bytes.IndexByte(b[:n], '.') < 0 {
		return nil, 0, 0
	}
	r := reader{b[n+1:], true}
	line = r.number()
	return b[:n], line, r.took(b)
}

func blanks(b []byte) int {
	n := 0
	for n < len(b) && b[n] == ' ' {
		n++
	}
	return n
}

func letters(b []byte) int {
	n := 0
	for n < len(b) && n < 16 && letter(b[n]) {
		n++
	}
	return n
}

// name is the size of a word made of what names of loggers, classes, modules and hosts are made of. A colon belongs to it
// only within (a::b).
func name(b []byte) int {
	n := 0
	for n < len(b) && n <= maxUntil {
		c := b[n]
		if !nameBytes[c] {
			break
		}
		n++
	}
	for n > 0 && b[n-1] == ':' {
		n--
	}
	if n > maxUntil {
		return 0
	}
	return n
}

// module says whether a name is that of a module for certain: "a.b", "a::b", "a_b", "root". Any other may be the first word of a
// message, "spawned: 'web'".
func module(b []byte) bool {
	return bytes.IndexByte(b, '.') >= 0 || bytes.IndexByte(b, '_') >= 0 || bytes.IndexByte(b, ':') >= 0 || string(b) == "root"
}

var nameBytes = func() (is [256]bool) {
	for c := range is {
		is[c] = c >= 0x80 || letter(byte(c)) || digitByte(byte(c)) || strings.IndexByte("_.$:/@<>*-#+&", byte(c)) >= 0
	}
	return is
}()

// levelWithin looks for a level in a message whose layout has none.
func (p *Parser) levelWithin(message []byte, rec *otlp.Record) {
	if rec.Severity != 0 {
		return
	}
	if word, n := findLevel(message); n != 0 {
		rec.Severity, rec.SeverityText = n, p.intern(word)
	}
}
