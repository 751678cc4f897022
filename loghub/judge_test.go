// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/loghub/internal/spool"
)

// TestUnread: a spool keeps a canary out as far as it keeps lines out, which it does not while all that is there may go.
func TestUnread(t *testing.T) {
	for name, tt := range map[string]struct {
		kind           string
		bytes, backlog int64
		want           string
	}{
		"file":             {wayFile, 75, 1, "files wait from 70 % on"},
		"file, may go":     {wayFile, 75, 0, "no event was made of it"},
		"pipe":             {"", 75, 1, "no event was made of it"},
		"fuller":           {"", 85, 1, "is shed from 80 % on"},
		"fuller, may go":   {"", 85, 0, "no event was made of it"},
		"rotation, may go": {wayNew, 99, 0, "no event was made of it"},
	} {
		f := facts{Log: section{Spool: &spool.Stats{Quota: 100, Bytes: tt.bytes, Backlog: tt.backlog}}}
		if text, action := (&way{kind: tt.kind}).unread(0, f, time.Second); !strings.Contains(text, tt.want) || action == "" {
			t.Errorf("%s: %q, %q", name, text, action)
		}
	}
}
