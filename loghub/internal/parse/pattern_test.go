// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"strings"
	"testing"
)

func TestPatternsThatAreRefused(t *testing.T) {
	for pattern, want := range map[string]string{
		`(?P<a>x`:                     "is no regular expression: missing closing ): \"(?P<a>x\"",
		`(?P<a>x)(?P<a>y)`:            "group a stands twice",
		`(?P<a.b>x)`:                  "names are letters, digits and _",
		`^x (.*)$`:                    "has no named group",
		`(?P<a>.*)`:                   "matches the empty text",
		`^(?P<a>x)?`:                  "matches the empty text",
		`^(?P<service__name>\w+) x`:   "group service__name would be \"service.name\", which no line may say",
		`^(?P<observed_time>\w+) x`:   "which no line may say",
		`^(?P<a_int>\d+) (?P<a>\d+)$`: "groups a_int and a are both a",
		`^(?P<_int>\d+)$`:             "would be \"\"",
	} {
		if _, err := NewPattern(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want … %s …", pattern, err, want)
		}
	}
}

// A line without a pattern's prefix is not searched.
func TestPatternGate(t *testing.T) {
	for _, tt := range []struct {
		pattern, prefix string
		begins          bool
	}{
		{`^job (?P<a>.)`, "job ", true},
		{`^(?P<a>job) x`, "", true},
		{`^(?i)job (?P<a>.)`, "", true},
		{`job=(?P<a>.)`, "job=", false},
		{`(?P<a>\d+) ms`, "", false},
	} {
		pt, err := NewPattern(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if string(pt.prefix) != tt.prefix || pt.begins != tt.begins {
			t.Errorf("%s: %q, %v", tt.pattern, pt.prefix, pt.begins)
		}
	}
}
