// SPDX-License-Identifier: AGPL-3.0-or-later

package parse_test

import (
	"bufio"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/parse"
	"github.com/google/go-cmp/cmp"
)

// TestFixedIsAuto: a format that is fixed by the settings makes the same of its lines as one that is found.
func TestFixedIsAuto(t *testing.T) {
	for _, path := range corpora(t) {
		samples, _ := corpus(t, path)
		for _, s := range samples {
			if s.format != "" || s.pattern != "" || s.took == "text" {
				continue
			}
			s.format = s.took
			p := parse.New(options(t, s))
			if diff := cmp.Diff(s.event, event(p, s.text)); diff != "" || p.Misfits() != 0 {
				t.Errorf("%s: with format %s it becomes another event: %s\n%s", s.at, s.format, s.text, diff)
			}
		}
	}
}

// TestProseIsText: no format takes what people write, whatever it begins with.
func TestProseIsText(t *testing.T) {
	samples, _ := corpus(t, "testdata/prose.txt")
	for _, s := range samples {
		if s.took != "text" {
			t.Errorf("%s: %s takes %q", s.at, s.took, s.text)
		}
	}
	if len(samples) < 50 {
		t.Errorf("%d lines are no corpus", len(samples))
	}
}

// TestYears: a date without a year is the last such date, but for clocks that are a little off.
func TestYears(t *testing.T) {
	tests := []struct{ now, line, want string }{
		{"2026-11-21T12:00:00Z", "Nov 21 12:00:01 vm1 a[1]: x", "2026-11-21T12:00:01Z"},
		{"2027-01-01T00:00:01Z", "Dec 31 23:59:59 vm1 a[1]: x", "2026-12-31T23:59:59Z"},
		{"2026-12-31T23:59:59Z", "Jan  1 00:00:03 vm1 a[1]: x", "2027-01-01T00:00:03Z"},
		{"2027-01-01T00:00:01Z", "<13>Jan  1 00:00:00 a: x", "2027-01-01T00:00:00Z"},
		{"2026-11-21T12:00:00Z", "Nov 25 12:00:00 vm1 a[1]: x", "2025-11-25T12:00:00Z"},
		{"2026-11-21T12:00:00Z", "Feb 29 12:00:00 vm1 a[1]: x", "2024-02-29T12:00:00Z"},
		{"2027-01-01T00:00:01Z", "I1231 23:59:59.000000 1 a.go:1] x", "2026-12-31T23:59:59Z"},
		{"2027-01-01T00:00:01Z", "I20261231 23:59:59.000000 1 a.go:1] x", "2026-12-31T23:59:59Z"},
		{"2026-11-21T00:10:00Z", "23:50:00.000 [main] INFO a.B - x", "2026-11-20T23:50:00Z"},
		{"2026-11-21T23:50:00Z", "00:10:00.000 [main] INFO a.B - x", "2026-11-22T00:10:00Z"},
		{"2026-11-21T12:00:00Z", "23:59:00.000 [main] INFO a.B - x", "2026-11-21T23:59:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.now+" "+tt.line, func(t *testing.T) {
			now, err := time.Parse(time.RFC3339, tt.now)
			if err != nil {
				t.Fatal(err)
			}
			rec := otlp.Record{Observed: uint64(now.UnixNano())}
			parse.New(parse.Options{Loc: time.UTC}).Parse([]byte(tt.line), &rec)
			if got := time.Unix(0, int64(rec.Time)).UTC().Format(time.RFC3339); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// fuzzFormat: whatever a line holds, the event encodes, its keys are unique, and its texts are valid and no longer than the line.
func fuzzFormat(f *testing.F, format string) {
	file, err := os.Open("testdata/" + format + ".txt")
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if line, ok := strings.CutPrefix(lines.Text(), "< "); ok {
			f.Add(line)
		}
	}
	p := parse.New(parse.Options{Loc: time.UTC, Format: format})
	f.Fuzz(func(t *testing.T, line string) {
		if !utf8.ValidString(line) {
			return // package frame repairs lines first
		}
		rec, back := otlp.Record{Observed: observed}, otlp.Record{}
		p.Parse([]byte(line), &rec)
		if err := otlp.DecodeRecord(otlp.AppendRecord(nil, &rec), &back); err != nil {
			t.Fatal(err)
		}
		if p.Mistakes() > 0 {
			t.Fatal("a reader panicked")
		}
		if (rec.Severity == 0) != (rec.SeverityText == "") && format != "access" && format != "haproxy" {
			t.Errorf("severity %d, %q", rec.Severity, rec.SeverityText)
		}
		if rec.Severity > 24 || !utf8.Valid(rec.Body.Bytes) || len(rec.Body.Bytes) > len(line) {
			t.Errorf("severity %d, body %q", rec.Severity, rec.Body.Bytes)
		}
		seen := map[string]bool{}
		for _, kv := range rec.Attributes {
			if seen[kv.Key] || kv.Key == "" {
				t.Errorf("%q stands twice", kv.Key)
			}
			seen[kv.Key] = true
			if !utf8.Valid(kv.Value.Bytes) || !utf8.ValidString(kv.Key) {
				t.Errorf("%q: %q", kv.Key, kv.Value.Bytes)
			}
		}
	})
}

func FuzzAccess(f *testing.F)      { fuzzFormat(f, "access") }
func FuzzApacheError(f *testing.F) { fuzzFormat(f, "apache-error") }
func FuzzDotnet(f *testing.F)      { fuzzFormat(f, "dotnet") }
func FuzzGo(f *testing.F)          { fuzzFormat(f, "go") }
func FuzzHAProxy(f *testing.F)     { fuzzFormat(f, "haproxy") }
func FuzzJava(f *testing.F)        { fuzzFormat(f, "java") }
func FuzzKlog(f *testing.F)        { fuzzFormat(f, "klog") }
func FuzzLogrus(f *testing.F)      { fuzzFormat(f, "logrus") }
func FuzzMySQL(f *testing.F)       { fuzzFormat(f, "mysql") }
func FuzzNginxError(f *testing.F)  { fuzzFormat(f, "nginx-error") }
func FuzzPHP(f *testing.F)         { fuzzFormat(f, "php") }
func FuzzPihole(f *testing.F)      { fuzzFormat(f, "pihole") }
func FuzzPostgres(f *testing.F)    { fuzzFormat(f, "postgres") }
func FuzzPython(f *testing.F)      { fuzzFormat(f, "python") }
func FuzzRedis(f *testing.F)       { fuzzFormat(f, "redis") }
func FuzzRust(f *testing.F)        { fuzzFormat(f, "rust") }
func FuzzSyslog(f *testing.F)      { fuzzFormat(f, "syslog") }
func FuzzZap(f *testing.F)         { fuzzFormat(f, "zap") }
func FuzzZerolog(f *testing.F)     { fuzzFormat(f, "zerolog") }
