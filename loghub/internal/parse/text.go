// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import "cloud4.internal/hub/internal/otlp"

// text is the format of last resort: the line is the body.
func (p *Parser) text(line []byte, rec *otlp.Record) bool {
	rec.Body = otlp.Text(line)
	at := line
	if len(at) > 0 && at[0] == '[' {
		at = at[1:]
	}
	rec.Time, _ = p.timestamp(at)
	if word, n := findLevel(line); n != 0 {
		rec.Severity = n
		rec.SeverityText = p.intern(word)
	}
	return true
}
