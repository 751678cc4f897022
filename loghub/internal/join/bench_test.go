// SPDX-License-Identifier: AGPL-3.0-or-later

package join_test

import (
	"bytes"
	"testing"
	"time"

	"cloud4.internal/hub/loghub/internal/frame"
	"cloud4.internal/hub/loghub/internal/join"
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

// BenchmarkTake measures what a line costs. The difference to "frame", which finds the ends of lines only, is the judge.
func BenchmarkTake(b *testing.B) {
	access := `203.0.113.7 - - [21/Nov/2026:07:55:42 +0000] "GET /index.html?a=1 HTTP/1.1" 200 612 "-" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"` + "\n"
	for _, tt := range []struct{ name, text string }{
		{"access", access},
		{"JSON", `{"time":"2026-11-21T07:55:42.123Z","level":"ERROR","msg":"order failed","error":"java.lang.IllegalStateException: no stock","id":7,"user":"ops"}` + "\n"},
		{"text", "2026-11-21 07:55:42,123 INFO [main] com.example.shop.Orders - order 4711 was taken, 3 items, paid by invoice; it goes to the desk in vm1\n"},
		{"error", "2026-11-21 07:55:42,123 ERROR [main] com.example.shop.Orders - order 4711 was not taken, 3 items, paid by invoice; it stays in the desk\n"},
		{"indented", "    - name: web, with an image and ports and everything else that such a file of settings has in its indented lines\n"},
		{"trace", string(lines(corpus(b)["java"]))},
	} {
		text := bytes.Repeat([]byte(tt.text), 200)
		count := bytes.Count(text, []byte("\n"))
		run := func(name string, take func()) {
			b.Run(tt.name+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				before := cpu(b)
				for b.Loop() {
					take()
				}
				b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N*count), "cpu-ns/line")
			})
		}
		run("frame", func() {
			for data := text; len(data) > 0; {
				_, n, _ := frame.Next(data, 0)
				data = data[n:]
			}
		})
		run("join", func() {
			var j join.Joiner
			for data := text; j.Take(data, join.Over); data = data[j.Group.Bytes:] {
			}
		})
	}
}
