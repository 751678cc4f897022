// SPDX-License-Identifier: AGPL-3.0-or-later

package notify

import (
	"fmt"
	"testing"
	"time"

	"cloud4.internal/hub/internal/health"
)

// failing is a fleet of hosts × containers × 10 checks, of which every n-th container fails.
func failing(hosts, containers, n int) *health.Node {
	var all []health.Node
	for h := range hosts {
		var parts []health.Node
		for c := range containers {
			var checks []health.Node
			for i := range 10 {
				checks = append(checks, check(fmt.Sprint("check", i), health.Pass))
			}
			if (h*containers+c)%n == 0 {
				checks[3].State = health.Fail
			}
			parts = append(parts, container(fmt.Sprintf("web.s%d.vm%d", c, h), checks...))
		}
		all = append(all, *host(fmt.Sprint("vm", h), parts...))
	}
	return fleet(all...)
}

// What a look costs at 10,000 containers on 100 hosts.
func BenchmarkLook(b *testing.B) {
	for name, n := range map[string]int{"one fails": 10000, "one in a hundred fails": 100, "all fail": 1} {
		b.Run(name, func(b *testing.B) {
			tree := failing(100, 100, n)
			book := newBook(Receiver{Name: "phone", Min: health.Warn})
			now := epoch
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Second)
				book.look(now, tree, causes(tree, maxCauses))
				book.enter(now, book.due(now))
			}
		})
	}
}

// The same on one host of the size that is taken at most.
func BenchmarkLookAtHost(b *testing.B) {
	tree := &failing(1, 1000, 1).Children[0]
	b.ReportAllocs()
	for b.Loop() {
		causes(tree, maxCauses)
	}
}
