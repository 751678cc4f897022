// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"cloud4.internal/hub/internal/otlp"
	"github.com/google/go-cmp/cmp"
)

// lines adds those of the corpus.
func lines(f *testing.F, pattern string, add func(line string)) {
	files, err := filepath.Glob("testdata/" + pattern)
	if err != nil || len(files) == 0 {
		f.Fatal("no corpus", err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if text, ok := strings.CutPrefix(line, "< "); ok {
				add(strings.TrimSuffix(text, "\n"))
			}
		}
	}
}

func newTestParser() *Parser { return New(Options{Loc: time.UTC}) }

func newTestRecord() *otlp.Record { return &otlp.Record{Observed: 1795276800 * 1e9} }

// check is what holds of every record of every line.
func check(t *testing.T, p *Parser, line []byte, rec *otlp.Record) {
	t.Helper()
	if p.Mistakes() > 0 {
		p.read(line, rec) // says where
		t.Fatal("a reader panicked")
	}
	var back otlp.Record
	if err := otlp.DecodeRecord(otlp.AppendRecord(nil, rec), &back); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, kv := range rec.Attributes {
		if seen[kv.Key] {
			t.Errorf("%q stands twice", kv.Key)
		}
		seen[kv.Key] = true
		if reserved(kv.Key) && !strings.HasPrefix(kv.Key, "app.") && (kv.Key != original || rec.Dropped == 0) {
			t.Errorf("the line set %q", kv.Key)
		}
		if kv.Key == "" {
			t.Error("an attribute has no name")
		}
	}
	if rec.Body.Kind == otlp.KindEmpty {
		t.Error("no body")
	}
	if rec.Severity > 24 || rec.Severity == 0 && rec.SeverityText != "" {
		t.Errorf("severity %d %q", rec.Severity, rec.SeverityText)
	}
	if rec.Time > math.MaxInt64 || rec.Dropped > 0 && !seen[original] && len(rec.Body.Bytes) < len(line) {
		t.Errorf("time %d, %d dropped", rec.Time, rec.Dropped)
	}
	if taken := cap(p.arena) + 100*(len(p.valueArena)+len(p.pairArena)); taken > 8*len(line)+200*maxValues+keptBytes {
		t.Errorf("%d bytes took %d", len(line), taken)
	}
}

// FuzzParse: any line makes a record that encodes to valid OTLP with unique keys, none of them ours, and it makes the same
// record whatever its source wrote before.
func FuzzParse(f *testing.F) {
	before := ""
	lines(f, "*.txt", func(line string) {
		f.Add(line, before)
		before = line
	})
	f.Add("{\"a\xff\":\"\xfe\",\"\xc3\":{\"\x80\":1}}", "a\xff=1 b=\xfe")
	f.Fuzz(func(t *testing.T, line, before string) {
		// Package frame repairs lines before they come here; what it left would be repaired by package otlp.
		p, rec := newTestParser(), newTestRecord()
		p.Parse([]byte(line), rec)
		check(t, p, []byte(line), rec)
		want := viewOf(rec)

		p, rec = newTestParser(), newTestRecord()
		p.Parse([]byte(before), rec)
		p.Parse([]byte(line), rec)
		if diff := cmp.Diff(want, viewOf(rec)); diff != "" {
			t.Errorf("behind %q: %s", before, diff)
		}
	})
}

// FuzzJSON: what encoding/json takes for an object we do too, and every member is an attribute or a field.
func FuzzJSON(f *testing.F) {
	lines(f, "json.txt", func(line string) { f.Add(line) })
	f.Fuzz(func(t *testing.T, line string) {
		if !utf8.ValidString(line) || strings.ContainsAny(line, "\n") {
			return
		}
		p, rec := newTestParser(), newTestRecord()
		p.Parse([]byte(line), rec)
		check(t, p, []byte(line), rec)
		var want map[string]any
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		if !json.Valid([]byte(line)) || line[0] != '{' || d.Decode(&want) != nil || strings.Contains(line, "http.log.access") {
			return
		}
		if p.Format() != "json" {
			t.Fatalf("it is %s", p.Format())
		}
		for key, value := range want {
			text, ok := value.(string)
			if !ok || knownKeys[fold(key)].role != roleNone || rec.Dropped > 0 || strings.Contains(line, `\u`) {
				continue
			}
			if !holds(rec, key, text) {
				t.Errorf("%q: %q is lost", key, text)
			}
		}
	})
}

// holds says whether the record has the attribute, under its own name or app.<name>. Of names that stand twice encoding/json
// tells the last.
func holds(rec *otlp.Record, key, value string) bool {
	for _, kv := range rec.Attributes {
		if (kv.Key == key || kv.Key == "app."+key || key == "" && kv.Key == unnamed) && string(kv.Value.Bytes) == value {
			return true
		}
	}
	return false
}

// FuzzLogfmt: a line of pairs loses none of its bare values.
func FuzzLogfmt(f *testing.F) {
	lines(f, "logfmt.txt", func(line string) { f.Add(line, true); f.Add(line, false) })
	f.Fuzz(func(t *testing.T, line string, fixed bool) {
		if !utf8.ValidString(line) || strings.ContainsAny(line, "\n") {
			return
		}
		o := Options{Loc: time.UTC}
		if fixed {
			o.Format = "logfmt"
		}
		p, rec := New(o), newTestRecord()
		p.Parse([]byte(line), rec)
		check(t, p, []byte(line), rec)
		if p.Format() != "logfmt" || strings.ContainsAny(line, `"`) {
			return
		}
		encoded := otlp.AppendRecord(nil, rec)
		for _, pair := range strings.Fields(line) {
			key, value, _ := strings.Cut(pair, "=")
			if _, whole := wholeNumber([]byte(value)); whole || knownKeys[fold(key)].role != roleNone {
				continue
			}
			if !bytes.Contains(encoded, []byte(key)) || !bytes.Contains(encoded, []byte(value)) {
				t.Errorf("%q is lost", pair)
			}
		}
	})
}

// FuzzTime: a time is in the record's range, of no more bytes than there are, and of RFC 3339 the one that package time reads.
func FuzzTime(f *testing.F) {
	for _, s := range []string{
		"2026-11-21T07:55:42.123+01:00", "2026/11/21 07:55:42,5 UTC", "21/Nov/2026:07:55:42 +0100", "Sat, 21 Nov 2026 07:55:42 GMT",
		"Sat Nov 21 07:55:42 UTC 2026", "Nov 21 07:55:42", "Nov  1 2026 07:55:42", "20261121T075542Z", "1790000000.123", "1790000000123456789", "Feb 29 23:59:60",
		"2026-11-21 07:55:42 EST", "Sat Nov 21 07:55:42 PST 2026", "Sat Nov 21 2026 07:55:42 GMT+0100 (CET)", "2000-01-01T00:00:00+00:60",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := newTestParser()
		p.now = 1795276800 * 1e9
		nanos, n := p.anyTime([]byte(s))
		if n < 0 || n > len(s) || nanos > math.MaxInt64 || (nanos == 0) != (n == 0) {
			t.Fatalf("%d in %d bytes", nanos, n)
		}
		want, err := time.Parse(time.RFC3339Nano, s)
		if err == nil && s[13] == ':' && len(s) <= len(time.RFC3339Nano) && want.Year() > 1971 && want.Year() < 2261 && nanos != uint64(want.UnixNano()) {
			// Package time takes 60 minutes in a zone, RFC 3339 does not.
			if _, offset := want.Zone(); offset > -14*3600 && offset < 14*3600 && !strings.HasSuffix(s, ":60") {
				t.Errorf("%d, want %d", nanos, want.UnixNano())
			}
		}
	})
}

// FuzzTrace: ids have their sizes, and are never all zeros.
func FuzzTrace(f *testing.F) {
	lines(f, "text.txt", func(line string) { f.Add(line) })
	f.Fuzz(func(t *testing.T, line string) {
		p, rec := newTestParser(), newTestRecord()
		p.findTrace([]byte(line), rec)
		if n := len(rec.TraceID); n != 0 && n != 16 || n == 16 && len(bytes.Trim(rec.TraceID, "\x00")) == 0 {
			t.Errorf("trace id %x", rec.TraceID)
		}
		if n := len(rec.SpanID); n != 0 && n != 8 || n == 8 && (rec.TraceID == nil || len(bytes.Trim(rec.SpanID, "\x00")) == 0) {
			t.Errorf("span id %x of trace %x", rec.SpanID, rec.TraceID)
		}
	})
}

// FuzzPattern: a pattern that NewPattern takes reads any line.
func FuzzPattern(f *testing.F) {
	f.Add(`^(?P<time>\S+) (?P<level>\w+) (?P<a_int>\d+)(?P<b_float>.*)`, "2026-11-21T07:55:42Z INFO 12 x")
	f.Add(`^(?P<message>.+)$`, "x")
	f.Add(`(?P<trace_id>\w+)-(?P<span_id>\w+)`, "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331")
	f.Fuzz(func(t *testing.T, pattern, line string) {
		if !utf8.ValidString(line) || len(pattern) > 200 {
			return
		}
		pt, err := NewPattern(pattern)
		if err != nil {
			return
		}
		p, rec := New(Options{Loc: time.UTC, Pattern: pt}), newTestRecord()
		p.Parse([]byte(line), rec)
		check(t, p, []byte(line), rec)
		first, _, _ := strings.Cut(line, "\n")
		if took := p.Format() == "pattern"; took != pt.re.MatchString(first) {
			t.Errorf("took %v", took)
		}
	})
}
