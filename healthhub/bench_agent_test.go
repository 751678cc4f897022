// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"cloud4.internal/hub/internal/proctest"
)

// BenchmarkAgent measures healthhub run with 20 checks, one look each every 10 s, in ten containers of one machine: the median of what
// an agent holds (resident, its proportional part, and of that what is its own), and its part of one core.
func BenchmarkAgent(b *testing.B) {
	program := built(b)
	site := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	b.Cleanup(site.Close)
	checks := map[string]any{}
	for i := range 20 {
		switch i % 5 {
		case 0, 1:
			checks[fmt.Sprintf("page%d", i)] = map[string]string{"kind": "http", "url": site.URL}
		case 2, 3:
			checks[fmt.Sprintf("port%d", i)] = map[string]string{"kind": "tcp", "address": site.Listener.Addr().String()}
		default:
			checks[fmt.Sprintf("file%d", i)] = map[string]string{"kind": "file", "path": "/etc/passwd"}
		}
	}
	settings, err := json.Marshal(map[string]any{"health": map[string]any{"checks": checks}})
	if err != nil {
		b.Fatal(err)
	}
	for range b.N {
		var agents []*process
		for range 10 {
			agents = append(agents, launch(b, program, newMachine(b, string(settings)), "run"))
		}
		time.Sleep(15 * time.Second) // what starting needed is given back
		before, start := make([]float64, len(agents)), time.Now()
		for i, a := range agents {
			before[i] = a.cpu()
		}
		time.Sleep(time.Minute)
		found := map[string][]float64{}
		for i, a := range agents {
			found["cpu-%"] = append(found["cpu-%"], (a.cpu()-before[i])/time.Since(start).Seconds()*100)
			for unit, what := range map[string]string{"rss-MB": "Rss", "pss-MB": "Pss", "own-MB": "Pss_Anon"} {
				found[unit] = append(found[unit], a.memory(what))
			}
		}
		for unit, values := range found {
			b.ReportMetric(proctest.Median(values), unit)
		}
	}
	b.ReportMetric(0, "ns/op")
}
