// SPDX-License-Identifier: AGPL-3.0-or-later

package show_test

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/internal/terminal"
	"cloud4.internal/hub/loghub/internal/show"
	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func attrs(pairs ...string) (out []otlp.KeyValue) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, otlp.KeyValue{Key: pairs[i], Value: otlp.String(pairs[i+1])})
	}
	return out
}

var examples = []struct {
	name                string
	rec                 otlp.Record
	pretty, all, logfmt string
}{
	{
		"of a container", otlp.Record{
			Time: uint64(noon.Add(-time.Minute).UnixNano()), Observed: uint64(noon.UnixNano()), Severity: 13, SeverityText: "WARNING", Body: otlp.String("upstream timed out"),
			Attributes: append(attrs("service.name", "web", "log.iostream", "stderr", "log.record.uid", "x.1", "note", "two words", "empty", ""),
				otlp.KeyValue{Key: "took", Value: otlp.Double(1.5)}),
		},
		"11:59:00.000 warn  web stderr  upstream timed out  note=\"two words\" empty=\"\" took=1.5\n",
		"11:59:00.000 warn  web stderr  upstream timed out  severity_text=WARNING observed_time=2026-11-21T12:00:00Z service.name=web log.iostream=stderr log.record.uid=x.1 note=\"two words\" empty=\"\" took=1.5\n",
		"time=2026-11-21T11:59:00Z level=warn message=\"upstream timed out\" severity_text=WARNING observed_time=2026-11-21T12:00:00Z service.name=web log.iostream=stderr log.record.uid=x.1 note=\"two words\" empty=\"\" took=1.5\n",
	},
	{
		"of yesterday, with lines", otlp.Record{
			Time: uint64(noon.AddDate(0, 0, -1).UnixNano()), Severity: 17, Body: otlp.String("panic: no\ngoroutine 1\n\tmain.go:7"), EventName: "e",
			Attributes: attrs("log.file.path", "/var/log/a/app.log"),
		},
		"2026-11-20 12:00:00.000 error app.log  panic: no\n    goroutine 1\n    \tmain.go:7\n    event_name=e\n",
		"2026-11-20 12:00:00.000 error app.log  panic: no\n    goroutine 1\n    \tmain.go:7\n    event_name=e log.file.path=/var/log/a/app.log\n",
		"time=2026-11-20T12:00:00Z level=error message=\"panic: no\\ngoroutine 1\\n\\tmain.go:7\" event_name=e log.file.path=/var/log/a/app.log\n",
	},
	{
		"with what the message says", otlp.Record{
			Time: uint64(noon.UnixNano()), Severity: 9, Body: otlp.String(`192.0.2.1 "GET /a HTTP/1.1" 200 17`),
			Attributes: append(attrs("client.address", "192.0.2.1", "url.path", "/a", "other", "ET"), otlp.KeyValue{Key: "status", Value: otlp.Int(200)}, otlp.KeyValue{Key: "n", Value: otlp.Int(7)}),
		},
		"12:00:00.000 info  192.0.2.1 \"GET /a HTTP/1.1\" 200 17  other=ET n=7\n",
		"12:00:00.000 info  192.0.2.1 \"GET /a HTTP/1.1\" 200 17  client.address=192.0.2.1 url.path=/a other=ET status=200 n=7\n",
		"time=2026-11-21T12:00:00Z level=info message=\"192.0.2.1 \\\"GET /a HTTP/1.1\\\" 200 17\" client.address=192.0.2.1 url.path=/a other=ET status=200 n=7\n",
	},
	{
		"by syslog(3)", otlp.Record{
			Time: uint64(noon.UnixNano()), Observed: uint64(noon.UnixNano()), Severity: 9, Body: otlp.String("disk is nearly full"),
			Attributes: attrs("service.name", "web", "syslog.facility", "daemon", "syslog.appname", "backup"),
		},
		"12:00:00.000 info  web backup  disk is nearly full  syslog.facility=daemon\n",
		"12:00:00.000 info  web backup  disk is nearly full  service.name=web syslog.facility=daemon syslog.appname=backup\n",
		"time=2026-11-21T12:00:00Z level=info message=\"disk is nearly full\" service.name=web syslog.facility=daemon syslog.appname=backup\n",
	},
	{
		"without anything", otlp.Record{}, "-            -     \n", "-            -     \n", "message=\"\"\n",
	},
	{
		"that attacks", otlp.Record{
			Body:       otlp.String("\x1b[2J\x1b]0;title\x07x\u009b31m\u202ey\x07\r\x00"),
			Attributes: attrs("\x1b[31mk =\n", "\x1b[2J\u202e", "service.name", "\x1b[1mweb\n"),
		},
		"-            -     web  x\\u202ey\\x07\\x0d\\x00  _[31mk___=\"\\u001b[2J\\u202e\"\n",
		"-            -     web  x\\u202ey\\x07\\x0d\\x00  _[31mk___=\"\\u001b[2J\\u202e\" service.name=\"\\u001b[1mweb\\n\"\n",
		"message=\"\\u001b[2J\\u001b]0;title\\u0007x\\u009b31m\\u202ey\\u0007\\r\\u0000\" _[31mk___=\"\\u001b[2J\\u202e\" service.name=\"\\u001b[1mweb\\n\"\n",
	},
}

func TestShow(t *testing.T) {
	for _, e := range examples {
		p := &show.Pretty{Loc: time.UTC, Now: noon}
		if diff := cmp.Diff(e.pretty, string(p.Append(nil, &e.rec))); diff != "" {
			t.Errorf("an event %s: %s", e.name, diff)
		}
		p.All = true
		if diff := cmp.Diff(e.all, string(p.Append(nil, &e.rec))); diff != "" {
			t.Errorf("an event %s, all of it: %s", e.name, diff)
		}
		if diff := cmp.Diff(e.logfmt, string(show.AppendLogfmt(nil, &e.rec))); diff != "" {
			t.Errorf("an event %s, logfmt: %s", e.name, diff)
		}
	}
	p := &show.Pretty{Term: terminal.Terminal{Colour: true}, Loc: time.UTC, Now: noon}
	want := "11:59:00.000 \x1b[33mwarn\x1b[0m  web stderr  upstream timed out  \x1b[2mnote=\"two words\" empty=\"\" took=1.5\x1b[0m\n"
	if diff := cmp.Diff(want, string(p.Append(nil, &examples[0].rec))); diff != "" {
		t.Error(diff)
	}
}

// Whatever is logged, a terminal gets text.
func FuzzShow(f *testing.F) {
	f.Add("message", "key", "value")
	for _, e := range examples {
		f.Add(string(e.rec.Body.Bytes), "\x1b", "\xff\u0085")
	}
	f.Fuzz(func(t *testing.T, message, key, value string) {
		rec := otlp.Record{Body: otlp.String(message), Attributes: attrs(key, value, "service.name", value), EventName: value}
		for _, out := range [][]byte{(&show.Pretty{Loc: time.UTC, Now: noon, All: true}).Append(nil, &rec), show.AppendLogfmt(nil, &rec)} {
			if i := strings.IndexFunc(string(out), func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' || r == '\u202e' }); i >= 0 {
				t.Fatalf("%q", out)
			}
		}
		if out := show.AppendLogfmt(nil, &rec); strings.Count(string(out), "\n") != 1 {
			t.Fatalf("%q", out)
		}
	})
}
