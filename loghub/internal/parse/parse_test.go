// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"github.com/google/go-cmp/cmp"
)

// want is an event in the words of a test.
type want struct {
	Time  string
	Level string
	Word  string
	Body  string
	Attrs map[string]any
	Trace string
}

func viewOf(rec *otlp.Record) want {
	w := want{Level: Level(rec.Severity), Word: rec.SeverityText, Body: string(rec.Body.Bytes), Trace: hex.EncodeToString(rec.TraceID)}
	if rec.Time != 0 {
		w.Time = time.Unix(0, int64(rec.Time)).UTC().Format(time.RFC3339Nano)
	}
	for _, kv := range rec.Attributes {
		if w.Attrs == nil {
			w.Attrs = map[string]any{}
		}
		w.Attrs[kv.Key] = plain(kv.Value)
	}
	return w
}

func plain(v otlp.Value) any {
	switch v.Kind {
	case otlp.KindString:
		return string(v.Bytes)
	case otlp.KindInt:
		return v.Int()
	case otlp.KindDouble:
		return v.Double()
	case otlp.KindBool:
		return v.Bool()
	case otlp.KindArray:
		out := []any{}
		for _, e := range v.Array {
			out = append(out, plain(e))
		}
		return out
	case otlp.KindMap:
		out := map[string]any{}
		for _, kv := range v.Map {
			out[kv.Key] = plain(kv.Value)
		}
		return out
	}
	return nil
}

type attrs = map[string]any

func TestParse(t *testing.T) {
	berlin := time.FixedZone("CET", 3600)
	tests := []struct {
		name string
		line string
		want want
	}{
		{"zerolog", `{"level":"warn","user":"ops","n":3,"time":"2026-11-21T07:55:42.5+01:00","message":"it \"is\" \u00e4\ud83d\ude00\n"}`,
			want{Time: "2026-11-21T06:55:42.5Z", Level: "warn", Word: "warn", Body: "it \"is\" ä😀\n", Attrs: attrs{"user": "ops", "n": int64(3)}}},
		{"slog", `{"time":"2026-11-21T07:55:42.123456789Z","level":"INFO","msg":"hi","source":{"function":"main.f","line":7}}`,
			want{Time: "2026-11-21T07:55:42.123456789Z", Level: "info", Word: "INFO", Body: "hi", Attrs: attrs{"source": attrs{"function": "main.f", "line": int64(7)}}}},
		{"zap", `{"level":"dpanic","ts":1790000000.25,"caller":"a.go:1","msg":"boom","stacktrace":"x\ny"}`,
			want{Time: "2026-09-21T14:13:20.25Z", Level: "error", Word: "dpanic", Body: "boom", Attrs: attrs{"caller": "a.go:1", "stacktrace": "x\ny"}}},
		{"pino", `{"level":50,"time":1790000000123,"pid":1,"msg":"m"}`,
			want{Time: "2026-09-21T14:13:20.123Z", Level: "error", Word: "50", Body: "m", Attrs: attrs{"pid": int64(1)}}},
		{"trace", `{"msg":"m","trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"zz"}`,
			want{Body: "m", Trace: "0af7651916cd43dd8448eb211c80319c", Attrs: attrs{"app.span_id": "zz"}}},
		{"reserved and double", `{"msg":"m","message":"second","service.name":"x","log.record.uid":"y","cloud4.peer":"z","a":1,"a":2,"time":"no time"}`,
			want{Body: "m", Attrs: attrs{"app.message": "second", "app.service.name": "x", "app.log.record.uid": "y", "app.cloud4.peer": "z", "a": int64(1), "app.a": int64(2), "app.time": "no time"}}},
		{"no message", `{"a":[1,-2.5,true,null,"x",[]],"big":12345678901234567890,"e":1e3}`,
			want{Body: `{"a":[1,-2.5,true,null,"x",[]],"big":12345678901234567890,"e":1e3}`, Attrs: attrs{"a": []any{int64(1), -2.5, true, nil, "x", []any{}}, "big": "12345678901234567890", "e": 1000.0}}},
		{"deep", `{"msg":"m","a":{"b":{"c":{"d":{"e":{"f":{"g":{"h":{"i":[1,{"j":"]"}]}}}}}}}}}`,
			want{Body: "m", Attrs: attrs{"a": attrs{"b": attrs{"c": attrs{"d": attrs{"e": attrs{"f": attrs{"g": attrs{"h": attrs{"i": `[1,{"j":"]"}]`}}}}}}}}}}},
		{"broken JSON", `{"level":"error","msg":"cut`, want{Body: `{"level":"error","msg":"cut`}},
		{"JSON and more", `{"msg":"m"} ERROR tail`, want{Level: "error", Word: "ERROR", Body: `{"msg":"m"} ERROR tail`}},

		{"text", "just words", want{Body: "just words"}},
		{"brackets", "[2026-11-21T07:55:42Z] [warn] x", want{Time: "2026-11-21T07:55:42Z", Level: "warn", Word: "warn", Body: "[2026-11-21T07:55:42Z] [warn] x"}},
		{"logfmt", `level=debug msg="x"`, want{Level: "debug", Word: "debug", Body: "x"}},
		{"go panic", "panic: runtime error", want{Level: "error", Word: "panic", Body: "panic: runtime error"}},
		{"words in passing", "no error here, the info page; error_log=x /var/log/error.log", want{Body: "no error here, the info page; error_log=x /var/log/error.log"}},
		{"no such day", "2026-13-41 07:55:42 x", want{Body: "2026-13-41 07:55:42 x"}},
	}
	p := New(Options{Loc: berlin})
	var rec otlp.Record
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p.Parse([]byte(tt.line), &rec)
			if diff := cmp.Diff(tt.want, viewOf(&rec)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLocalTimeAcrossTheChange(t *testing.T) {
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err) // the machine's zoneinfo is part of every Go installation
	}
	p := New(Options{Loc: loc})
	for _, tt := range []struct{ now, line, want string }{
		{"2027-01-01T00:00:00Z", "2026-10-25 01:59:59 x", "2026-10-24T23:59:59Z"},
		{"2027-01-01T00:00:00Z", "2026-10-25 03:00:00 x", "2026-10-25T02:00:00Z"},
		{"2027-01-01T00:00:00Z", "2026-07-01 12:00:00 x", "2026-07-01T10:00:00Z"},
		{"2027-01-01T00:00:00Z", "2026-10-25 02:30:00 x", "2026-10-25T01:30:00Z"}, // long ago: the second of the two
		{"2026-10-25T00:30:05Z", "2026-10-25 02:30:00 x", "2026-10-25T00:30:00Z"}, // as it is written: the first time
		{"2026-10-25T01:30:05Z", "2026-10-25 02:30:00 x", "2026-10-25T01:30:00Z"}, // and the second
		{"2027-01-01T00:00:00Z", "2026-10-24 12:00:00 x", "2026-10-24T10:00:00Z"},
		{"2027-01-01T00:00:00Z", "2026-10-25 12:00:00 x", "2026-10-25T11:00:00Z"},
		{"2027-01-01T00:00:00Z", "2026-03-29 01:59:59 x", "2026-03-29T00:59:59Z"},
		{"2027-01-01T00:00:00Z", "2026-03-29 02:30:00 x", "2026-03-29T01:30:00Z"}, // there is none: as if the clocks had not changed
		{"2027-01-01T00:00:00Z", "2026-03-29 03:00:00 x", "2026-03-29T01:00:00Z"},
	} {
		now, err := time.Parse(time.RFC3339, tt.now)
		if err != nil {
			t.Fatal(err)
		}
		rec := otlp.Record{Observed: uint64(now.UnixNano())}
		p.Parse([]byte(tt.line), &rec)
		if got := viewOf(&rec).Time; got != tt.want {
			t.Errorf("%s at %s: %s, want %s", tt.line, tt.now, got, tt.want)
		}
	}
}

func TestManyAttributesAreCounted(t *testing.T) {
	line := []byte(`{"msg":"m"`)
	for i := range 200 {
		line = append(line, `,"k`...)
		line = append(line, byte('0'+i/100), byte('0'+i/10%10), byte('0'+i%10))
		line = append(line, `":1`...)
	}
	var rec otlp.Record
	line = append(line, '}')
	New(Options{}).Parse(line, &rec)
	if len(rec.Attributes) != maxAttributes+1 || rec.Dropped != 200-maxAttributes {
		t.Errorf("%d attributes, %d dropped", len(rec.Attributes), rec.Dropped)
	}
	if last := rec.Attributes[maxAttributes]; last.Key != original || !bytes.Equal(last.Value.Bytes, line) {
		t.Errorf("what was dropped is nowhere: %s %s", last.Key, last.Value.Bytes)
	}
}

// A line that whoever asks a web server can have written must not take a hundred times its size.
func TestManyValuesStayText(t *testing.T) {
	list := "[" + strings.Repeat("1,", 300000) + "1]"
	for name, value := range map[string]string{"list": list, "below": `{"a":{"b":` + list + `,"c":1}}`} {
		t.Run(name, func(t *testing.T) {
			line := []byte(`{"msg":"m","small":{"x":[1,2]},"large":` + value + `,"level":"warn"}`)
			var rec otlp.Record
			p := New(Options{})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			p.Parse(line, &rec)
			runtime.ReadMemStats(&after)
			if made := after.TotalAlloc - before.TotalAlloc; made > uint64(len(line)) {
				t.Errorf("a line of %d bytes took %d", len(line), made)
			}
			encoded := otlp.AppendRecord(nil, &rec)
			if len(rec.Attributes) != 2 || rec.Attributes[0].Value.Kind != otlp.KindMap || !bytes.Contains(encoded, []byte(list)) {
				t.Errorf("%d attributes in %d bytes: something is lost", len(rec.Attributes), len(encoded))
			}
			if got := Level(rec.Severity); got != "warn" {
				t.Errorf("what stands behind it is lost: level %q", got)
			}
		})
	}
}

// What a parser keeps for the next line has a bound, whatever the lines are.
func TestMemoryIsGivenBack(t *testing.T) {
	p := New(Options{Loc: time.UTC})
	var rec otlp.Record
	for i := range 3 * maxKeys {
		p.Parse(fmt.Appendf(nil, `{"msg":"m","id-%d":{"inner-%d":1},"level":"info"}`, i, i), &rec)
	}
	if len(p.known) > maxKeys || len(p.keys) > maxKeys || len(p.order) > maxAttributes {
		t.Errorf("%d keys, %d words, %d places", len(p.known), len(p.keys), len(p.order))
	}
	p.Parse([]byte(`{"msg":"`+strings.Repeat(`\n`, 1<<19)+`","list":[`+strings.Repeat("[1],", maxValues/2-1)+`1],"`+strings.Repeat("k", 1<<19)+`":1}`), &rec)
	if len(rec.Body.Bytes) != 1<<19 || len(rec.Attributes) != 2 {
		t.Fatalf("body of %d bytes, %d attributes", len(rec.Body.Bytes), len(rec.Attributes))
	}
	p.Parse([]byte(`{}`), &rec)
	if cap(p.arena) > keptBytes || cap(p.valueArena)+cap(p.valueStack) > 2*keptValues || len(p.known) > maxKeys {
		t.Errorf("%d bytes and %d values are kept", cap(p.arena), cap(p.valueArena))
	}
	for key := range p.known {
		if len(key) > maxKey {
			t.Errorf("a key of %d bytes is kept", len(key))
		}
	}
}

func TestSeveralLines(t *testing.T) {
	for text, want := range map[string]want{
		"{\"msg\":\"boom\",\"a\":1}\n\tat x\n":                  {Body: "boom\n\tat x\n", Attrs: attrs{"a": int64(1)}},
		"{\"msg\":\"a\\tb\",\"c\":\"d\\te\"}\nrest":             {Body: "a\tb\nrest", Attrs: attrs{"c": "d\te"}},
		"ERROR boom\nat x":                                      {Level: "error", Word: "ERROR", Body: "ERROR boom\nat x"},
		"\nERROR boom":                                          {Body: "\nERROR boom"},
		"1:M 21 Nov 2026 07:55:42.123 * x\n2026-01-01 00:00:00": {Time: "2026-11-21T07:55:42.123Z", Level: "info", Word: "notice", Body: "x\n2026-01-01 00:00:00", Attrs: attrs{"process.pid": int64(1), "redis.role": "master"}},
	} {
		var rec otlp.Record
		New(Options{Loc: time.UTC}).Parse([]byte(text), &rec)
		if diff := cmp.Diff(want, viewOf(&rec)); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func TestFixedFormat(t *testing.T) {
	p := New(Options{Loc: time.UTC, Format: "redis"})
	var rec otlp.Record
	if got := p.Format(); got != "" {
		t.Errorf("before the first line it is %q", got)
	}
	for _, line := range []string{`1:M 21 Nov 2026 07:55:42.123 * x`, `{"msg":"m"}`, `1:M 21 Nov 2026 07:55:42.123 * x`} {
		p.Parse([]byte(line), &rec)
	}
	if p.Format() != "redis" || p.Misfits() != 1 {
		t.Errorf("%s, %d misfits", p.Format(), p.Misfits())
	}
	if p.Parse([]byte(`{"msg":"m"}`), &rec); string(rec.Body.Bytes) != `{"msg":"m"}` || len(rec.Attributes) > 0 {
		t.Errorf("a line of another format became %v", viewOf(&rec))
	}
}

// A mistake of ours costs a line its reading, and nothing else.
func TestPanicOfAReader(t *testing.T) {
	p := New(Options{Loc: time.UTC})
	p.fixed = &format{name: "broken", read: func(p *Parser, line []byte, rec *otlp.Record) bool {
		rec.Severity = Info
		return line[0] == line[10]
	}}
	var rec otlp.Record
	p.Parse([]byte("short\nrest"), &rec)
	if diff := cmp.Diff(want{Body: "short\nrest"}, viewOf(&rec)); diff != "" {
		t.Error(diff)
	}
	if p.Parse([]byte("longer than ten"), &rec); p.Mistakes() != 1 || p.Misfits() != 1 || string(rec.Body.Bytes) != "longer than ten" {
		t.Errorf("%d mistakes, %d misfits, body %s", p.Mistakes(), p.Misfits(), rec.Body.Bytes)
	}
}

// A source that changes its way of writing is told by what it writes now.
func TestFormatFollows(t *testing.T) {
	p := New(Options{Loc: time.UTC})
	var rec otlp.Record
	for range 100000 {
		p.Parse([]byte(`{"msg":"m"}`), &rec)
	}
	for i := range 100 {
		p.Parse([]byte(`words`), &rec)
		if i < 10 && p.Format() != "json" {
			t.Fatalf("%d lines made it %s", i, p.Format())
		}
	}
	if got := p.Format(); got != "text" {
		t.Errorf("it still is %q", got)
	}
}

func TestTimeThatCannotBe(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for line, want := range map[string]want{
		"2026-11-23 11:59:59 x":                          {Time: "2026-11-23T11:59:59Z", Body: "2026-11-23 11:59:59 x"},
		"2026-11-23 12:00:01 x":                          {Body: "2026-11-23 12:00:01 x", Attrs: attrs{"app.time": "2026-11-23T12:00:01Z"}},
		"2000-01-01 00:00:00 x":                          {Time: "2000-01-01T00:00:00Z", Body: "2000-01-01 00:00:00 x"},
		`{"msg":"m","ts":915148799.5}`:                   {Body: "m", Attrs: attrs{"app.time": "1998-12-31T23:59:59.5Z"}},
		`{"msg":"m","time":"2261-01-01T00:00:00.5Z"}`:    {Body: "m", Attrs: attrs{"app.time": "2261-01-01T00:00:00.5Z"}},
		"2026-02-29 00:00:00 x":                          {Body: "2026-02-29 00:00:00 x"},
		"2024-02-29 00:00:00 x":                          {Time: "2024-02-29T00:00:00Z", Body: "2024-02-29 00:00:00 x"},
		"2026-06-30 23:59:60 x":                          {Time: "2026-07-01T00:00:00Z", Body: "2026-06-30 23:59:60 x"},
		"2026-11-21 07:55:42-05 x":                       {Time: "2026-11-21T12:55:42Z", Body: "2026-11-21 07:55:42-05 x"},
		"2026-11-21 07:55:42 -05 x":                      {Time: "2026-11-21T07:55:42Z", Body: "2026-11-21 07:55:42 -05 x"},
		"2026-11-21 07:55:42 -12345 x":                   {Time: "2026-11-21T07:55:42Z", Body: "2026-11-21 07:55:42 -12345 x"},
		"2026-11-21 07:55:42.123456789012 +01:30 x":      {Time: "2026-11-21T06:25:42.123456789Z", Body: "2026-11-21 07:55:42.123456789012 +01:30 x"},
		"01/02/2026 07:55:42 nobody knows which it is":   {Body: "01/02/2026 07:55:42 nobody knows which it is"},
		"2026-11-21 25:00:00 there is no such hour here": {Body: "2026-11-21 25:00:00 there is no such hour here"},
	} {
		rec := otlp.Record{Observed: uint64(now.UnixNano())}
		New(Options{Loc: time.UTC}).Parse([]byte(line), &rec)
		if diff := cmp.Diff(want, viewOf(&rec)); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	}
}

func TestYearless(t *testing.T) {
	for _, tt := range []struct {
		now  string
		m, d int64
		want string
	}{
		{"2026-11-21T12:00:00Z", 11, 21, "2026-11-21"},
		{"2026-11-21T12:00:00Z", 11, 22, "2026-11-22"},
		{"2026-11-21T12:00:00Z", 11, 24, "2025-11-24"},
		{"2026-12-31T23:59:00Z", 1, 1, "2027-01-01"},
		{"2027-01-01T00:00:30Z", 12, 31, "2026-12-31"},
		{"2026-11-21T12:00:00Z", 2, 29, "2024-02-29"},
		{"2026-11-21T12:00:00Z", 2, 30, ""},
	} {
		now, err := time.Parse(time.RFC3339, tt.now)
		if err != nil {
			t.Fatal(err)
		}
		p := New(Options{Loc: time.UTC})
		p.now = uint64(now.UnixNano())
		secs, ok := p.yearless(tt.m, tt.d, 0)
		got := ""
		if ok {
			got = time.Unix(secs, 0).UTC().Format(time.DateOnly)
		}
		if got != tt.want {
			t.Errorf("%02d-%02d at %s: %s, want %s", tt.m, tt.d, tt.now, got, tt.want)
		}
	}
}
