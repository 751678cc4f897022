// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/loghub/internal/sink"
	"cloud4.internal/hub/loghub/internal/spool"
)

// TestVerdict: what is wrong is said with what to do about just that, and a full disk also while the receiver is away.
func TestVerdict(t *testing.T) {
	now := time.Now()
	away := &sink.State{Since: now.Add(-time.Minute), Error: "connection refused"}
	full := &spool.Stats{Quota: 100, Trouble: "the disk does not take them"}
	tests := map[string]struct {
		url          string
		st           *sink.State
		sp           *spool.Stats
		lost         time.Time
		text, action string // parts, apart by |
		not          string // in neither
	}{
		"away":                     {"http://127.0.0.1:9", away, &spool.Stats{Quota: 100}, time.Time{}, "connection refused", "see that the receiver (log.otlp) runs|none is lost until the spool is full", "confighub"},
		"no certificate":           {"https://genesis.internal:4318", away, &spool.Stats{Quota: 100}, time.Time{}, "connection refused", "see confighub status", "reachable"},
		"away and full":            {"http://127.0.0.1:9", away, full, time.Time{}, "connection refused|the disk does not take them", "see that the receiver|room and that it can be written in /spool", "\x00"},
		"refused and full":         {"http://127.0.0.1:9", &sink.State{Held: true, Error: "401"}, full, time.Time{}, "401|the disk does not take them", "log.otlp|room", "\x00"},
		"away and lost":            {"http://127.0.0.1:9", away, &spool.Stats{Quota: 100}, now, "connection refused|were lost", "see that the receiver|log.quota", "none is lost"},
		"lost":                     {"http://127.0.0.1:9", &sink.State{OK: true}, &spool.Stats{Quota: 100}, now, "hub.loss", "log.quota", "\x00"},
		"full":                     {"http://127.0.0.1:9", &sink.State{OK: true}, full, time.Time{}, "the disk does not take them", "room", "; the disk"},
		"well":                     {"http://127.0.0.1:9", &sink.State{OK: true}, &spool.Stats{Quota: 100}, time.Time{}, "", "", "disk"},
		"away for a moment":        {"http://127.0.0.1:9", &sink.State{Since: now}, &spool.Stats{Quota: 100}, time.Time{}, "", "", "receiver"},
		"away, just now, but full": {"http://127.0.0.1:9", &sink.State{Since: now}, full, time.Time{}, "the disk does not take them", "room", "receiver"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := &report{r: &runner{files: identity.Open(t.TempDir()), to: receiver{url: tt.url}, where: "/spool"}, lostT: tt.lost}
			var n health.Node
			p.judge(&n, section{Sender: tt.st, Spool: tt.sp}, now)
			for _, part := range strings.Split(tt.text, "|") {
				if !strings.Contains(n.Text, part) {
					t.Errorf("%q is not said: %s", part, n.Text)
				}
			}
			for _, part := range strings.Split(tt.action, "|") {
				if !strings.Contains(n.Action, part) {
					t.Errorf("%q is not advised: %s", part, n.Action)
				}
			}
			if (n.State == health.Warn) != (tt.text != "") || strings.Contains(n.Text+n.Action, tt.not) {
				t.Errorf("%s: %s → %s", n.State, n.Text, n.Action)
			}
		})
	}
}
