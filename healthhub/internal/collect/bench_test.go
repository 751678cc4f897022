// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/spiffe"
)

// BenchmarkReport measures what one report costs a host of 100 containers with ten checks each, TLS and HTTP apart: read it,
// take it, sum up.
func BenchmarkReport(b *testing.B) {
	c, err := New(Config{Self: vm1, Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	var ids []spiffe.ID
	var bodies []*report.Report
	for i := range 100 {
		id := must(spiffe.ForContainer(td, "vm1", "shop", fmt.Sprintf("s%d", i), ""))
		r := says(id, one, 1, health.Pass)
		r.Node.Children = nil
		for j := range 10 {
			r.Node.Children = append(r.Node.Children, health.Node{
				Kind: health.KindCheck, Name: fmt.Sprintf("check%d", j), Since: time.Now(), ObservedAt: time.Now(), Runs: 1000, Took: 0.0014,
				Text: "200 OK in 1.4ms", Flags: []string{health.FlagCritical},
			})
		}
		ids, bodies = append(ids, id), append(bodies, r)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n := i % len(ids)
		bodies[n].Seq++
		raw, err := json.Marshal(bodies[n])
		if err != nil {
			b.Fatal(err)
		}
		r, err := report.Decode(bytes.NewReader(raw), "", maxContainerBytes, health.ContainerLimits)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Take(ids[n], r); err != nil {
			b.Fatal(err)
		}
		c.sum()
	}
}
