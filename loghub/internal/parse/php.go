// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// php reads PHP's error log, with its time or, as on stderr, without; php-fpm's and Monolog's lines are layouts:
//
//	[21-Nov-2026 07:55:42 UTC] PHP Warning:  message in /srv/a.php on line 3
//	[21-Nov-2026 07:55:42] NOTICE: fpm is running, pid 1
//	[2026-11-21T07:55:42.123456+00:00] app.ERROR: message {"user":"ops"} []
//
// A zone other than UTC is taken for the parser's.
func (p *Parser) php(line []byte, rec *otlp.Record) bool {
	b := line
	if len(b) > 0 && b[0] == '[' {
		n := p.daytime(b[1:], rec)
		if n == 0 || !bytes.HasPrefix(b[1+n:], []byte("] ")) {
			return phpConsole(p, line, rec)
		}
		b = b[1+n+2:]
	}
	if p.phpError(b, rec) {
		return true
	}
	clearRecord(rec)
	return phpConsole(p, line, rec)
}

var phpConsole = console("php")

// phpError reads "PHP Warning:  message in /srv/a.php on line 3".
func (p *Parser) phpError(b []byte, rec *otlp.Record) bool {
	b, ok := bytes.CutPrefix(b, []byte("PHP "))
	if !ok {
		return false
	}
	end := bytes.Index(b[:min(len(b), 40)], []byte(":  "))
	if end < 0 {
		return false
	}
	word := b[:end]
	if rec.Severity = phpLevel(word); rec.Severity == 0 {
		return false
	}
	rec.SeverityText = p.intern(word)
	message := b[end+len(":  "):]
	rec.Body = otlp.Text(message)
	if at := bytes.LastIndex(message, []byte(" on line ")); at > 0 {
		r := reader{message[at+len(" on line "):], true}
		number := r.number()
		if in := bytes.LastIndex(message[:at], []byte(" in ")); in >= 0 && r.ok && len(r.b) == 0 {
			p.put(rec, "code.file.path", otlp.Text(message[in+len(" in "):at]))
			p.put(rec, "code.line.number", otlp.Int(number))
		}
	}
	return true
}

// phpLevel maps the kinds of errors as Monolog's ErrorHandler does.
func phpLevel(word []byte) uint8 {
	switch string(word) {
	case "Parse error", "Compile error":
		return Error + 2
	case "Fatal error", "Core error":
		return Error + 1
	case "Recoverable fatal error", "Catchable fatal error":
		return Error
	case "Warning", "Core warning", "Compile warning":
		return Warn
	case "Notice", "Deprecated", "Strict Standards":
		return Info + 1
	}
	return 0
}
