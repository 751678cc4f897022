// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"fmt"
	"testing"

	"cloud4.internal/hub/internal/health"
)

// big is 100 hosts of 100 containers of 10 checks, one in fifty of which is in trouble.
func big() (hosts []health.Node) {
	leaf := 0
	for h := range 100 {
		host := health.Node{Kind: health.KindHost, Name: fmt.Sprint("vm", h)}
		for c := range 100 {
			container := health.Node{Kind: health.KindContainer, Name: fmt.Sprintf("web.s%d.vm%d", c, h)}
			for i := range 10 {
				n := check(fmt.Sprint("check", i), health.Pass)
				if i < 3 {
					n.Flags = []string{health.FlagCritical}
				}
				if leaf++; leaf%50 == 0 {
					n.State, n.Text = health.Fail, "connection refused"
				}
				container.Children = append(container.Children, n)
			}
			host.Children = append(host.Children, container)
		}
		hosts = append(hosts, host)
	}
	return hosts
}

func kept(host health.Node) (containers []Sum, sum Sum) {
	containers = sums(host.Children)
	return containers, HostOf(host.Name, containers, Rules{})
}

// Everything anew, which nobody who keeps sums has to do.
func BenchmarkFleetFromLeaves(b *testing.B) {
	hosts := big()
	b.ReportAllocs()
	for b.Loop() {
		Fleet("fleet", hosts)
	}
}

// A report of a container arrives at its host.
func BenchmarkHostOneContainer(b *testing.B) {
	host := big()[0]
	containers, _ := kept(host)
	b.ReportAllocs()
	for b.Loop() {
		containers[7] = Of(host.Children[7])
		HostOf(host.Name, containers, Rules{})
	}
}

// A report of a host arrives at the fleet.
func BenchmarkFleetOneHost(b *testing.B) {
	hosts := big()
	all := make([]Sum, len(hosts))
	for i := range hosts {
		_, all[i] = kept(hosts[i])
	}
	b.ReportAllocs()
	for b.Loop() {
		all[7] = Of(all[7].Node)
		FleetOf("fleet", all, Rules{})
	}
}

// The fleet alone, of hosts whose sums are kept.
func BenchmarkFleetOfHosts(b *testing.B) {
	hosts := big()
	all := make([]Sum, len(hosts))
	for i := range hosts {
		_, all[i] = kept(hosts[i])
	}
	b.ReportAllocs()
	for b.Loop() {
		FleetOf("fleet", all, Rules{})
	}
}

func BenchmarkReasons(b *testing.B) {
	fleet := Fleet("fleet", big())
	b.ReportAllocs()
	for b.Loop() {
		Reasons(&fleet, 10)
	}
}
