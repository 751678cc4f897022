// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	gotemplate "text/template"
	"time"
)

// rows is the data of the benchmark: n servers, as a proxy's configuration lists them.
func rows(n int) map[string]any {
	servers := make([]any, n)
	for i := range servers {
		servers[i] = map[string]any{
			"name": fmt.Sprintf("web-%04d", i), "host": fmt.Sprintf("10.0.%d.%d", i/250, i%250),
			"port": json.Number(fmt.Sprint(8000 + i)), "backup": i%7 == 0,
		}
	}
	return map[string]any{"upstream": "shop", "servers": servers}
}

const (
	rowsMustache = `upstream {{upstream}} {
{{#servers}}
    server {{host}}:{{port}}{{#backup}} backup{{/backup}}; # {{name}}
{{/servers}}
}
`
	rowsGo = `upstream {{.upstream}} {
{{range .servers}}    server {{.host}}:{{.port}}{{if .backup}} backup{{end}}; # {{.name}}
{{end}}}
`
)

// BenchmarkRows renders 1,000 rows, with what is checked on the way, beside text/template doing the same job
// with none of it: parsed each time as Render does, and parsed once. ratio is Render's time over that of text/template
// with the parsing. All times are medians; ns/op is Render's.
func BenchmarkRows(b *testing.B) {
	data := rows(1000)
	find := func(string) (string, []byte, bool) { return "rows.conf", []byte(rowsMustache), true }
	parse := func() *gotemplate.Template { return gotemplate.Must(gotemplate.New("rows").Parse(rowsGo)) }
	execute := func(t *gotemplate.Template) []byte {
		var out bytes.Buffer
		if err := t.Execute(&out, data); err != nil {
			b.Fatal(err)
		}
		return out.Bytes()
	}
	for _, format := range []string{"none", "nginx"} {
		b.Run(format, func(b *testing.B) {
			ours := func() []byte {
				result, err := Render(find, "rows", data, Options{Format: format})
				if err != nil {
					b.Fatal(err)
				}
				return result.Output
			}
			if want, got := execute(parse()), ours(); !bytes.Equal(want, got) {
				b.Fatalf("text/template: %.300s\nthis: %.300s", want, got)
			}
			once := parse()
			var mustache, parsing, parsed []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				at := time.Now()
				ours()
				mustache = append(mustache, time.Since(at))
				b.StopTimer()
				at = time.Now()
				execute(parse())
				parsing = append(parsing, time.Since(at))
				at = time.Now()
				execute(once)
				parsed = append(parsed, time.Since(at))
				b.StartTimer()
			}
			b.ReportMetric(median(mustache), "ns/op")
			b.ReportMetric(median(parsing), "ns-text/template")
			b.ReportMetric(median(parsed), "ns-text/template-parsed")
			b.ReportMetric(median(mustache)/median(parsing), "ratio")
		})
	}
}

// median in nanoseconds.
func median(took []time.Duration) float64 {
	slices.Sort(took)
	return float64(took[len(took)/2])
}
