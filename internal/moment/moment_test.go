// SPDX-License-Identifier: AGPL-3.0-or-later

package moment_test

import (
	"testing"
	"time"

	"cloud4.internal/hub/internal/moment"
)

func TestParse(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 3, 2, 2, 0, 0, 0, zone)
	for text, want := range map[string]string{
		"2h": "2026-03-02T00:00:00+01:00", "3d": "2026-02-27T02:00:00+01:00", "0s": "2026-03-02T02:00:00+01:00",
		"01:12": "2026-03-02T01:12:00+01:00", "03:12": "2026-03-01T03:12:00+01:00", "03:12:05": "2026-03-01T03:12:05+01:00",
		"2026-03-01 03:12": "2026-03-01T03:12:00+01:00", "2026-03-01": "2026-03-01T00:00:00+01:00", "2026-03-01T03:12:00Z": "2026-03-01T03:12:00Z",
		"": "", "soon": "", "-2h": "", "25:00": "", "d": "",
	} {
		at, err := moment.Parse(text, now)
		if got := at.Format(time.RFC3339); (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("%q: %s, %v, want %s", text, got, err, want)
		}
	}
}
