// SPDX-License-Identifier: AGPL-3.0-or-later

package where_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/jsonline"
	"cloud4.internal/hub/loghub/internal/where"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// event is what the tables ask about.
func event() *otlp.Record {
	return &otlp.Record{
		Time: uint64(now.Add(-5 * time.Minute).UnixNano()), Observed: uint64(now.UnixNano()), Severity: 13, SeverityText: "WARNING",
		Body: otlp.String(`upstream "db" timed out`), TraceID: []byte("0123456789abcdef"), EventName: "e",
		Attributes: []otlp.KeyValue{
			{Key: "service.name", Value: otlp.String("web")}, {Key: "http.response.status_code", Value: otlp.Int(502)},
			{Key: "url.path", Value: otlp.String("/a/b (c)")}, {Key: "took", Value: otlp.Double(1.5)}, {Key: "text", Value: otlp.String("17")},
			{Key: "ok", Value: otlp.Bool(false)}, {Key: "user", Value: otlp.Map(otlp.KeyValue{Key: "id", Value: otlp.Int(7)})},
			{Key: "list", Value: otlp.Array(otlp.Int(1), otlp.String("x"))}, {Key: "and", Value: otlp.Int(1)}, {Key: "empty", Value: otlp.String("")},
		},
	}
}

var matches = map[string]bool{
	`severity>=warn`: true, `severity>warn`: false, `severity=warn`: true, `level<error`: true, `level<=info`: false, `severity!=warn`: false,
	`level=WARNING`: true, `level=Warning`: true, `level>=NOTICE`: true, `level=NOTICE`: false, `severity<ERR`: true, `severity>=CRIT`: false,
	`severity<panic`: true, `severity<=INFORMATION`: false, `level=WRN`: true, `level!=W`: false, `level>=emerg`: false, `level>=verbose`: true,
	`severity=13`: true, `severity>13`: false, `severity`: true,
	`service.name=web`: true, `service.name = web`: true, `service.name="web"`: true, `service.name='web'`: true, `service.name=we`: false,
	`service.name!=web`: false, `service.name==web`: true, `nothing=web`: false, `nothing!=web`: true, `nothing`: false, `not nothing`: true,
	`nothing~x`: false, `nothing!~x`: true, `empty=""`: true, `empty`: true, `service.name~""`: true,
	`http.response.status_code>=500`: true, `http.response.status_code<500`: false, `http.response.status_code=502`: true,
	`http.response.status_code=5.02e2`: true, `http.response.status_code!=502`: false, `http.response.status_code~50`: true,
	`took>1`: true, `took<=1.5`: true, `text>16`: true, `text=17`: true, `text=017`: false, `service.name>1`: false,
	`message~timed`: true, `message~Timed`: false, `message=~"(?i)TIMED"`: true, `message=~'up\w+'`: true, `message!~timed`: false,
	`message~"\"db\""`: true, `message~'"db"'`: true, `url.path~/b`: true, `url.path="/a/b (c)"`: true,
	`ok=false`: true, `ok`: true, `user.id=7`: true, `user.name`: false, `user~id`: true, `list~"\"x\""`: true,
	`"and"=1`: true, `trace_id`: true, `trace_id=30313233343536373839616263646566`: true, `span_id`: false, `severity_text=WARNING`: true, `event_name=e`: true,
	`time>=10m`: true, `time>=1m`: false, `time<2026-11-21T12:00:00Z`: true, `time>=11:50`: true, `time="2026-11-21 11:55"`: true, `observed_time>1m`: true,
	`service.name=web and severity>=error`: false, `service.name=web or severity>=error`: true, `SERVICE.NAME=web`: false,
	`not service.name=db and took`: true, `not (service.name=web or took)`: false, `not not took`: true,
	`nothing or took and nothing or ok`: true, `(nothing or took) and (nothing)`: false, `took AND ok OR nothing`: true,
}

func TestMatch(t *testing.T) {
	line := jsonline.Append(nil, nil, nil, event())
	for text, want := range matches {
		f, err := where.Compile(text, now)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := f.Match(event()); got != want {
			t.Errorf("%s: %v", text, got)
		}
		if want && !f.Maybe(line) {
			t.Errorf("%s: ruled out by its line", text)
		}
	}
}

// What a line rules out does not match: for every test of the table, its combinations and many events.
func TestMaybeIsSound(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var tests []string
	for text := range matches {
		tests = append(tests, text)
	}
	values := []otlp.Value{
		otlp.String("web"), otlp.String("/a/b (c)"), otlp.String(`"service.name":"web"`), otlp.String("17"), otlp.String(""), otlp.String(`x\`),
		otlp.Int(502), otlp.Int(7), otlp.Int(-1), otlp.Double(1.5), otlp.Double(502), otlp.Double(1e300), otlp.Bool(false), {}, otlp.Array(otlp.String("x")),
		otlp.Map(otlp.KeyValue{Key: "id", Value: otlp.Int(7)}), otlp.Map(otlp.KeyValue{Key: "service.name", Value: otlp.String("web")}),
	}
	names := []string{"service.name", "http.response.status_code", "url.path", "took", "text", "ok", "user", "user.id", "list", "empty", "nothing", "and", "id"}
	levels := []struct {
		severity uint8
		text     string
	}{{0, ""}, {1, ""}, {5, "DEBUG"}, {8, "VERBOSE"}, {10, "NOTICE"}, {13, "WARNING"}, {17, ""}, {18, "CRIT"}, {19, "panic"}, {21, "EMERG"}, {17, "WARN"}}
	reader := jsonline.NewReader()
	ruledOut := 0
	for range 20000 {
		rec := event()
		level := levels[random.IntN(len(levels))]
		rec.Severity, rec.SeverityText, rec.Attributes = level.severity, level.text, nil
		rec.Time += uint64(random.Int64N(int64(10 * time.Minute)))
		rec.Body = values[random.IntN(len(values))]
		for range random.IntN(6) {
			rec.Attributes = append(rec.Attributes, otlp.KeyValue{Key: names[random.IntN(len(names))], Value: values[random.IntN(len(values))]})
		}
		text := tests[random.IntN(len(tests))]
		for range random.IntN(3) {
			text = "(" + text + ")" + []string{" and ", " or ", " and not "}[random.IntN(3)] + tests[random.IntN(len(tests))]
		}
		f, err := where.Compile(text, now)
		if err != nil {
			t.Fatal(err)
		}
		line := jsonline.Append(nil, nil, nil, rec)
		var back otlp.Record
		if err := reader.Read(line[:len(line)-1], &back); err != nil {
			t.Fatal(err)
		}
		switch match, maybe := f.Match(&back), f.Maybe(line); {
		case match && !maybe:
			t.Fatalf("%s matches, but is ruled out by %s", text, line)
		case !maybe:
			ruledOut++
		}
	}
	if ruledOut < 2000 {
		t.Errorf("only %d events were ruled out", ruledOut)
	}
}

func TestSince(t *testing.T) {
	f := where.Since(nil, now.Add(-10*time.Minute))
	if !f.Match(event()) || where.Since(nil, now).Match(event()) {
		t.Error("the time")
	}
	web, err := where.Compile("service.name=db", now)
	if err != nil {
		t.Fatal(err)
	}
	if where.Since(web, now.Add(-time.Hour)).Match(event()) {
		t.Error("the filter is lost")
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		``:                       `column 1: the name of an attribute, or message, severity or time has to stand here, not the end`,
		`severity>=warm`:         `column 11: "warm" is no level`,
		`severity~warn`:          `column 9: levels are compared with`,
		`level=WARNIN`:           `column 7: "WARNIN" is no level: trace, debug, info, notice, warn or warning, error or err, crit, alert or panic, fatal or emerg`,
		`severity=0`:             `column 10: "0" is no level`,
		`severity=30`:            `column 10: "30" is no level`,
		`severity=25`:            `column 10: "25" is no level`,
		`a=1 b=2`:                `column 5: and, or, or the end has to stand here, not "b"`,
		`a=`:                     `column 3: a value is missing`,
		`ä = `:                   `column 5: a value is missing`,
		`a>b`:                    `column 3: > wants a number, not "b"`,
		`a>nan`:                  `column 3: > wants a number, not "nan"`,
		`a<>1`:                   `column 2: there is no operator <>`,
		`a="x`:                   `column 3: the quote has no end`,
		`a="\d"`:                 `column 4: in quotes there are`,
		`a="\`:                   `column 4: in quotes there are`,
		`a=~(`:                   `column 4: a value is missing`,
		`a=~"("`:                 `column 4: error parsing regexp`,
		`(a`:                     `column 3: a ) has to stand here, not the end`,
		`a)`:                     `column 2: and, or, or the end has to stand here, not ")"`,
		`not`:                    `column 4: the name of`,
		`a and or b`:             `column 7: the name of an attribute, or message, severity or time has to stand here, not "or"`,
		`time>=soon`:             `column 7: "soon" is no time`,
		`time~1`:                 `column 5: times are compared with`,
		`=1`:                     `column 1: the name of`,
		strings.Repeat("(", 100): `column 65: more than 64 parentheses`,
	} {
		_, err := where.Compile(text, now)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	_, err := where.Compile("service.name=web and severity>=warm", now)
	if want := "\n  service.name=web and severity>=warm\n  " + strings.Repeat(" ", 31) + "^"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v", err)
	}
}

func FuzzCompile(f *testing.F) {
	for text := range matches {
		f.Add(text)
	}
	line := jsonline.Append(nil, nil, nil, event())
	var rec otlp.Record
	if err := jsonline.NewReader().Read(line[:len(line)-1], &rec); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		filter, err := where.Compile(text, now)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "column ") {
				t.Fatal(err)
			}
			return
		}
		if filter.Match(&rec) && !filter.Maybe(line) {
			t.Fatalf("%q is ruled out", text)
		}
	})
}

// BenchmarkMaybe is how fast lines are passed over that are not wanted.
func BenchmarkMaybe(b *testing.B) {
	rec := event()
	line := jsonline.Append(nil, nil, nil, rec)
	for _, text := range []string{"severity>=error", "http.response.status_code>=503", "message~refused", "service.name=db and severity>=warn", "time>=1m"} {
		f, err := where.Compile(text, now)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(strings.ReplaceAll(text, " ", "_"), func(b *testing.B) {
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				if f.Maybe(line) {
					b.Fatalf("%s is not ruled out", text)
				}
			}
		})
	}
}
