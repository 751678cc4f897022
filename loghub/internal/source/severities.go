// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"sync/atomic"

	"cloud4.internal/hub/loghub/internal/parse"
)

// Severities counts records of each severity that somebody should look at. It only grows.
type Severities struct {
	Warn  int64 `json:"warn"`
	Error int64 `json:"error"`
	Fatal int64 `json:"fatal"`
}

// add counts one record.
func (s *Severities) add(severity uint8) {
	switch {
	case severity < parse.Warn:
	case severity < parse.Error:
		s.Warn++
	case severity < parse.Fatal:
		s.Error++
	default:
		s.Fatal++
	}
}

// Counts are the severities of all sources but the hubs' own, since loghub started: what was shed for want of room
// happened too, what a file held before anybody followed it did not. Sources add to it, others read.
type Counts struct{ warn, error, fatal atomic.Int64 }

func (c *Counts) add(s Severities) {
	if s == (Severities{}) {
		return
	}
	c.warn.Add(s.Warn)
	c.error.Add(s.Error)
	c.fatal.Add(s.Fatal)
}

// Severities gives the counts as they are now.
func (c *Counts) Severities() Severities {
	return Severities{Warn: c.warn.Load(), Error: c.error.Load(), Fatal: c.fatal.Load()}
}

// severities of RFC 5424, section 6.2.1, table 2, as numbers of OpenTelemetry.
var prioritySeverities = [8]uint8{21, 19, 18, 17, 13, 10, 9, 5}

// prioritySeverity is what the <PRI> in front of a message says; 0: there is none.
func prioritySeverity(text []byte) uint8 {
	if len(text) < 3 || text[0] != '<' {
		return 0
	}
	n := 0
	for i, c := range text[1:min(len(text), 5)] {
		switch {
		case c == '>' && i > 0:
			return prioritySeverities[n&7]
		case c < '0' || c > '9':
			return 0
		}
		n = 10*n + int(c-'0')
	}
	return 0
}
