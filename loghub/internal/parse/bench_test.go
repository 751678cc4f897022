// SPDX-License-Identifier: AGPL-3.0-or-later

package parse_test

import (
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/parse"
	"golang.org/x/sys/unix"
)

// cpu is the time that this process had, which says more than the clock on a machine that others use.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFormats is what it takes to read a line of a source that speaks one format, as most do.
func BenchmarkFormats(b *testing.B) {
	for _, tt := range []struct{ name, line string }{
		{"access", `203.0.113.7 - - [21/Nov/2026:07:55:42 +0000] "GET /index.html?a=1 HTTP/1.1" 200 612 "-" "Mozilla/5.0 (X11; Linux x86_64)"`},
		{"nginx-error", `2026/11/21 07:55:42 [error] 12#13: *7 open() "/x" failed (2: No such file or directory), client: 203.0.113.7, server: _, request: "GET /x HTTP/1.1", host: "h"`},
		{"apache-error", `[Sat Nov 21 17:01:48.198470 2026] [core:error] [pid 15595:tid 15645] [client 192.0.2.7:55150] AH10244: invalid URI path (/../../etc/passwd)`},
		{"redis", `1:M 21 Nov 2026 07:55:42.123 * Background saving started by pid 4779`},
		{"postgres", `2026-11-21 17:01:40.360 UTC [10793] ops@shop ERROR:  relation "nothere" does not exist at character 15`},
		{"mysql", `2026-11-21 17:01:45 0 [Note] InnoDB: Completed initialization of buffer pool`},
		{"haproxy", `192.0.2.7:40800 [21/Nov/2026:17:00:33.593] web app/s1 0/0/0/10/14 404 500 - - ---- 1/1/0/0/0 0/0 "GET /a?b=1 HTTP/1.1"`},
		{"klog", `I1121 17:04:18.258175   20937 main.go:13] "Setting node" pod="kube-system/x" n=3`},
		{"syslog-3164", `<28>Nov 21 17:03:52 backup[19765]: disk is full`},
		{"syslog-5424", `<165>1 2026-11-21T07:55:42.003Z web app 12 ID47 [x@32473 iut="3" source="App"] An event`},
		{"syslog-file", `Nov 21 17:02:56 vm1 postfix/smtpd[12]: connect from unknown[192.0.2.1]`},
		{"zap", "2026-11-21T17:04:18.257Z\tINFO\tapp/main.go:6\thi there\t{\"n\": 3, \"s\": \"a\"}"},
		{"zerolog", `5:04PM INF hi there foo="bar baz" n=3`},
		{"logrus", `INFO[0000] A walrus appears                              animal=walrus s="two words"`},
		{"logback", `2026-11-21 07:55:42.123 [http-nio-8080-exec-1] WARN  o.e.web.Foo - a message`},
		{"spring", `2026-11-21T07:55:42.123Z  INFO 1 --- [           main] c.e.Foo                                  : Started Foo in 2.1 seconds`},
		{"python", `2026-11-21 17:05:32,103 - app.sub - ERROR - bad: x`},
		{"dotnet", `[07:55:42 INF] Starting up`},
		{"rust", `2026-11-21T07:55:42.123456Z  INFO app::web: with fields n=1 s="two words"`},
		{"php", `[21-Nov-2026 17:02:51 UTC] PHP Warning:  Undefined variable $x in /srv/app/a.php on line 3`},
		{"monolog", `[2026-11-21T07:55:42.123456+00:00] app.ERROR: it is {"user":"ops","n":3} []`},
		{"go", `2026/11/21 17:04:18 http: TLS handshake error from 203.0.113.9:5: EOF`},
		{"slog", `2026/11/21 17:04:18 INFO slog hi n=3 s="two words"`},
		{"prose", `Listening on 0.0.0.0:80 and waiting for what may come`},
		{"prose-time", `2026-11-21 07:55:42 something happened here`},
		{"json", `{"level":"info","time":"2026-11-21T07:55:42.123Z","request_id":"a81bc81b","method":"GET","path":"/index.html","status":200,"duration":12.25,"message":"request done"}`},
		{"prose-long", `the worker took a job from the queue and is going to do what it says, as soon as the others are done with theirs`},
		{"prose-level", `2026-11-21 07:55:42.123 | worker-3 | WARN | the queue is longer than it was a minute ago, which is no good sign`},
		{"logfmt", `time=2026-11-21T07:55:42.123Z level=INFO msg="request done" request_id=a81bc81b method=GET path=/index.html status=200 duration=12.25`},
		{"json-nested", `{"level":"info","ts":1790000000.1234567,"logger":"http.log.access.log0","msg":"handled request","request":{"remote_ip":"198.51.100.7","remote_port":"51234","client_ip":"203.0.113.9","proto":"HTTP/2.0","method":"GET","host":"shop.example.net","uri":"/a/b?x=1&y=2","headers":{"User-Agent":["curl/8.5.0"],"Accept":["*/*"]}},"bytes_read":12,"user_id":"desk","duration":0.000929675,"size":10900,"status":404,"resp_headers":{"Server":["Caddy"],"Content-Type":["text/html"]}}`},
	} {
		b.Run(tt.name, func(b *testing.B) {
			p := parse.New(parse.Options{Loc: time.UTC})
			line := []byte(tt.line)
			rec := otlp.Record{Observed: observed}
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				p.Parse(line, &rec)
			}
			b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/line")
		})
	}
}
