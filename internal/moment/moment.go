// SPDX-License-Identifier: AGPL-3.0-or-later

// Package moment reads moments of the past as people write them on a command line.
//
//	10m 2h 3d              how long ago
//	03:12 03:12:30         the last time that it was that time
//	2026-03-01             the beginning of the day
//	2026-03-01 03:12:30    seconds may be left out
//	2026-03-01T03:12:00Z   RFC 3339
package moment

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Parse reads a moment. now is what it is counted from, and in the zone of times that say none.
func Parse(text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.Add(-time.Duration(n) * 24 * time.Hour), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	for _, layout := range []string{time.TimeOnly, "15:04"} {
		if clock, err := time.Parse(layout, text); err == nil {
			at := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), clock.Second(), 0, now.Location())
			if at.After(now) {
				at = at.AddDate(0, 0, -1)
			}
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: 03:12, \"2026-03-01 03:12\", 2026-03-01T03:12:00Z, or how long ago, 2h or 3d", text)
}
