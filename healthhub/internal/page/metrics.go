// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/openmetrics"
)

// metricsDocument is the tree in OpenMetrics text (OpenMetrics 1.0): states as state sets, one series for
// each pair of thing and state, so that no series appears or goes with a change of state.
func metricsDocument(s Snapshot) []byte {
	var d openmetrics.Document
	d.Family("hub_health", openmetrics.StateSet, "State of a container, a host or the fleet.")
	each(s.Node, func(n *health.Node) {
		for _, state := range health.States() {
			d.Sample(float64(bit(n.State == state)), "kind", n.Kind, "name", n.Name, "hub_health", state.String())
		}
	})
	d.Family("hub_health_score", openmetrics.Gauge, "Score from 0 to 100 in the band of the state.")
	each(s.Node, func(n *health.Node) { d.Sample(float64(score(n)), "kind", n.Kind, "name", n.Name) })
	d.Family("hub_health_stale", openmetrics.Gauge, "1 while nothing was heard of it in time.")
	each(s.Node, func(n *health.Node) {
		d.Sample(float64(bit(n.HasFlag(health.FlagStale))), "kind", n.Kind, "name", n.Name)
	})
	d.Family("hub_health_check", openmetrics.Gauge, "1 while a check passes or warns.")
	each(s.Node, func(n *health.Node) {
		for i := range n.Children {
			if c := &n.Children[i]; c.Kind == health.KindCheck {
				d.Sample(float64(up(c.State)), "container", n.Name, "check", c.Name)
			}
		}
	})
	d.Family("hub_health_snapshot_timestamp_seconds", openmetrics.Gauge, "When these values were made.")
	d.Sample(float64(s.At.Unix()))
	return d.Bytes()
}

// each calls f for a node and what is below it, down to the containers.
func each(n *health.Node, f func(*health.Node)) {
	if n.Kind == health.KindCheck || n.Kind == health.KindHub {
		return
	}
	f(n)
	for i := range n.Children {
		each(&n.Children[i], f)
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
