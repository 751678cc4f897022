// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/openmetrics"
)

// maxDetails bounds how many checks and values have series of their own, five and more of them each. A host stays below it
// (health.HostLimits); a fleet beyond it is shown down to its containers, and Prometheus asks the hosts for the rest.
const maxDetails = 20_000

// row is a node with the labels that tell it apart: kind, host, group, container and check, as far as it has them.
type row struct {
	*health.Node
	labels []string
}

// table is a tree as rows: sums (containers, groups, hosts, the fleet) and checks.
type table struct {
	sums, checks []row
	details      int // checks and values
}

func (t *table) add(n *health.Node, above []string) {
	labels := above
	switch n.Kind {
	case health.KindHost, health.KindGroup, health.KindContainer:
		labels = append(above[:len(above):len(above)], n.Kind, n.Name)
		fallthrough
	case health.KindFleet:
		t.sums = append(t.sums, row{n, append([]string{"kind", n.Kind}, labels...)})
	default:
		t.details += 1 + len(n.Values)
		t.checks = append(t.checks, row{n, append(above[:len(above):len(above)], "check", n.Name)})
	}
	for i := range n.Children {
		t.add(&n.Children[i], labels)
	}
}

// metricsDocument is the tree as metrics. What is muted is there as it is: that it does not count is told beside it. States of
// sums are state sets, one series for each state, so that none comes or goes with a change; a check's is one number.
// Flags have a series while they are set.
func metricsDocument(s Snapshot, plain bool) []byte {
	d := openmetrics.Document{Plain: plain}
	var t table
	t.add(s.Node, nil)
	left := 0
	if t.details > maxDetails {
		left, t.checks = len(t.checks), nil
	}
	d.Family("hub_health", openmetrics.StateSet, "State of a container, a group, a host or the fleet.")
	for _, r := range t.sums {
		for _, state := range health.States() {
			d.Sample(float64(bit(r.State == state)), append(r.labels, "hub_health", state.String())...)
		}
	}
	gauge := func(rows []row, name, help string, value func(r row) (float64, bool)) {
		d.Family(name, openmetrics.Gauge, help)
		for _, r := range rows {
			if v, ok := value(r); ok {
				d.Sample(v, r.labels...)
			}
		}
	}
	when := func(of func(r row) time.Time) func(row) (float64, bool) {
		return func(r row) (float64, bool) {
			at := of(r)
			return float64(at.UnixMilli()) / 1000, !at.IsZero()
		}
	}
	extent := func(of func(e *health.Extent) float64) func(row) (float64, bool) {
		return func(r row) (float64, bool) {
			if r.Extent == nil {
				return 0, false
			}
			return of(r.Extent), true
		}
	}
	gauge(t.sums, "hub_health_score", "Score from 0 to 100 in the band of the state, as if all that is unknown were bad.", func(r row) (float64, bool) {
		return float64(score(r.Node)), r.Kind != health.KindGroup
	})
	gauge(t.sums, "hub_health_score_high", "The score if all that is unknown were well.", extent(func(e *health.Extent) float64 { return float64(e.ScoreHigh) }))
	gauge(t.sums, "hub_health_confidence_ratio", "Weight of what is fresh in the weight of all.", extent(func(e *health.Extent) float64 { return e.Confidence }))
	gauge(t.sums, "hub_health_coverage_ratio", "Containers that anything looks into, of those expected.", extent(func(e *health.Extent) float64 { return e.Coverage }))
	gauge(t.sums, "hub_health_mutes", "Things below it that are muted.", func(r row) (float64, bool) { return float64(mutes(r.Node)), true })
	gauge(t.sums, "hub_health_since_timestamp_seconds", "When the state became what it is.", when(func(r row) time.Time { return r.Since }))
	gauge(t.sums, "hub_health_observed_timestamp_seconds", "When it was last looked at, or heard of.", when(func(r row) time.Time { return r.ObservedAt }))

	gauge(t.checks, "hub_health_check_state", "State of a check: 0 pass, 1 starting, 2 warn, 3 unknown, 4 fail.", func(r row) (float64, bool) { return float64(r.State), true })
	d.Family("hub_health_check_runs", openmetrics.Counter, "Looks taken, or reports received, since the start of the agent.")
	for _, r := range t.checks {
		d.Sample(float64(r.Runs), r.labels...)
	}
	gauge(t.checks, "hub_health_check_took_seconds", "How long the last look took.", func(r row) (float64, bool) { return r.Took, r.Runs > 0 })
	gauge(t.checks, "hub_health_check_observed_timestamp_seconds", "When it last ran.", when(func(r row) time.Time { return r.ObservedAt }))
	d.Family("hub_health_check", openmetrics.Info, "What a check is: how much its failure counts, and for which question.")
	for _, r := range t.checks {
		d.Sample(1, append(r.labels, "criticality", criticality(r.Node), "class", class(r.Node))...)
	}
	measured(&d, t.checks)
	flags(&d, t)
	d.Family("hub_health_checks_left_out", openmetrics.Gauge, "Checks that have no series here because there are too many: ask their hosts.")
	d.Sample(float64(left))
	d.Family("hub_health_snapshot_timestamp_seconds", openmetrics.Gauge, "When all of this was summed up.")
	d.Sample(float64(s.At.UnixMilli()) / 1000)
	return d.Bytes()
}

// measured is what the checks measured, with its unit as a label: a plugin's own units are no part of a metric's name.
func measured(d *openmetrics.Document, checks []row) {
	d.Family("hub_health_value", openmetrics.Gauge, "What a check measured, in the unit of the label (s, By, 1 for a part of one, c for a count, …).")
	for _, r := range checks {
		for _, v := range r.Values {
			d.Sample(v.Value, append(r.labels, "value", v.Name, "unit", v.Unit)...)
		}
	}
	d.Family("hub_health_value_limit", openmetrics.Gauge, "From where on a value makes its check warn or fail.")
	for _, r := range checks {
		for _, v := range r.Values {
			if v.Warn != nil {
				d.Sample(*v.Warn, append(r.labels, "value", v.Name, "limit", "warn")...)
			}
			if v.Fail != nil {
				d.Sample(*v.Fail, append(r.labels, "value", v.Name, "limit", "fail")...)
			}
		}
	}
}

// nature are flags that say what a check is, which is in its info.
var nature = map[string]bool{health.FlagCritical: true, health.FlagInfo: true, health.FlagLive: true, health.FlagStarted: true}

func flags(d *openmetrics.Document, t table) {
	d.Family("hub_health_flag", openmetrics.Gauge, "1 while something is the matter beside the state: stale, missing, muted, flapping, suppressed_by, …")
	each := func(rows []row, check bool) {
		for _, r := range rows {
			for _, flag := range r.Flags {
				name, _, hasValue := strings.Cut(flag, "=") // whom or how many would be another series each time
				if check && nature[flag] || hasValue && name+"=" == health.FlagMutes {
					continue
				}
				labels := r.labels
				if check {
					labels = append([]string{"kind", health.KindCheck}, labels...)
				}
				d.Sample(1, append(labels, "flag", name)...)
			}
		}
	}
	each(t.sums, false)
	each(t.checks, true)
}

func criticality(n *health.Node) string {
	switch {
	case n.HasFlag(health.FlagInfo):
		return "info"
	case n.HasFlag(health.FlagCritical) && !strings.HasPrefix(n.Name, rollup.HubPrefix):
		return "critical"
	}
	return "degrading"
}

func class(n *health.Node) string {
	for _, flag := range []string{health.FlagLive, health.FlagStarted} {
		if n.HasFlag(flag) {
			return flag
		}
	}
	return "ready"
}
