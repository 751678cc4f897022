// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"bytes"
	"fmt"
	"strings"

	"cloud4.internal/hub/internal/health"
)

// metricsDocument is the tree in OpenMetrics text (OpenMetrics 1.0): states as state sets, one series for
// each pair of thing and state, so that no series appears or goes with a change of state.
func metricsDocument(s Snapshot) []byte {
	var b bytes.Buffer
	b.WriteString("# TYPE hub_health stateset\n# HELP hub_health State of a container, a host or the fleet.\n")
	each(s.Node, func(n *health.Node) {
		for _, state := range health.States() {
			fmt.Fprintf(&b, "hub_health{kind=%s,name=%s,hub_health=%q} %d\n", quote(n.Kind), quote(n.Name), state.String(), bit(n.State == state))
		}
	})
	b.WriteString("# TYPE hub_health_score gauge\n# HELP hub_health_score Score from 0 to 100 in the band of the state.\n")
	each(s.Node, func(n *health.Node) {
		fmt.Fprintf(&b, "hub_health_score{kind=%s,name=%s} %d\n", quote(n.Kind), quote(n.Name), score(n))
	})
	b.WriteString("# TYPE hub_health_stale gauge\n# HELP hub_health_stale 1 while nothing was heard of it in time.\n")
	each(s.Node, func(n *health.Node) {
		fmt.Fprintf(&b, "hub_health_stale{kind=%s,name=%s} %d\n", quote(n.Kind), quote(n.Name), bit(n.HasFlag(health.FlagStale)))
	})
	b.WriteString("# TYPE hub_health_check gauge\n# HELP hub_health_check 1 while a check passes or warns.\n")
	each(s.Node, func(n *health.Node) {
		for i := range n.Children {
			if c := &n.Children[i]; c.Kind == health.KindCheck {
				fmt.Fprintf(&b, "hub_health_check{container=%s,check=%s} %d\n", quote(n.Name), quote(c.Name), up(c.State))
			}
		}
	})
	b.WriteString("# TYPE hub_health_snapshot_timestamp_seconds gauge\n# HELP hub_health_snapshot_timestamp_seconds When these values were made.\n")
	fmt.Fprintf(&b, "hub_health_snapshot_timestamp_seconds %d\n# EOF\n", s.At.Unix())
	return b.Bytes()
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

// quote writes a label value (OpenMetrics 1.0, section "Escaping").
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
