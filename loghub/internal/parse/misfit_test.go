// SPDX-License-Identifier: AGPL-3.0-or-later

package parse_test

import (
	"fmt"
	"testing"

	"cloud4.internal/hub/loghub/internal/parse"
	"github.com/google/go-cmp/cmp"
)

func TestMisfits(t *testing.T) {
	for _, tt := range []struct {
		format, pattern, line string
		want                  []string
	}{
		{"json", "", `{"a":1}`, nil},
		{"auto", "", `anything`, nil},
		{"text", "", `anything`, nil},
		{"json", "", `no JSON`, []string{`json 0 "{"`}},
		{"json", "", `{"a":1,"b":}`, []string{"json 11 JSON"}},
		{"json", "", `{"a":1} more`, []string{"json 8 the end"}},
		{"java", "", "2026-11-21 07:55:42,123 [main] OOPS a.B - x", []string{"java 31 a level"}},
		{"java", "", "2026-11-21 07:55:42,123 [main] ERROR a.B x", []string{`java 41 "-"`}},
		{"python", "", "2026-11-21 07:55:42,123 - root - OOPS - x", []string{"python 33 a level"}},
		{"postgres", "", "[x] LOG:  y", []string{"postgres 0 a date like 2026-11-21 or a letter"}},
		{"redis", "", "1:X nothing of it", []string{"redis -1 "}},
		{"", `^job (?P<name>\S+) (?P<took_float>[0-9.]+)s (?P<message>.*)$`, "job backup 1.5s done", nil},
		{"", `^job (?P<name>\S+) (?P<took_float>[0-9.]+)s (?P<message>.*)$`, "job backup soon done", []string{`pattern 11 what matches (?P<took_float>[\.0-9]+)`}},
		{"", `^job (?P<name>\S+) x`, "jab", []string{`pattern 1 "o"`}},
		{"", `^job (?P<name>\S+) x`, "Job", []string{`pattern 0 "j"`}},
		{"", `(?P<a>x)|(?P<b>y)`, "z", []string{"pattern -1 "}},
		{"json", `^job (?P<name>\S+)`, "x", []string{`pattern 0 "j"`, `json 0 "{"`}},
		{"json", `^job (?P<name>\S+)`, `{}`, []string{`pattern 0 "j"`}},
	} {
		var got []string
		for _, m := range parse.Misfits(options(t, sample{format: tt.format, pattern: tt.pattern}), []byte(tt.line)) {
			got = append(got, fmt.Sprint(m.Name, " ", m.At, " ", m.Want))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s %s: %s", tt.format, tt.line, diff)
		}
	}
}

// TestNoMisfits: a line of the corpus is of its format.
func TestNoMisfits(t *testing.T) {
	for _, path := range corpora(t) {
		samples, _ := corpus(t, path)
		for _, s := range samples {
			if s.pattern != "" {
				continue
			}
			s.format = s.took
			if got := parse.Misfits(options(t, s), []byte(s.text)); len(got) > 0 {
				t.Errorf("%s: %v", s.at, got)
			}
		}
	}
}
