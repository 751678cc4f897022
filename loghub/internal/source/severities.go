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
