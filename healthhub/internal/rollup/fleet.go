// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"fmt"
	"path"
	"slices"
	"time"

	"cloud4.internal/hub/internal/health"
)

// Rules are what the settings add to the algebra of a host or the fleet. The zero value adds nothing.
type Rules struct {
	Groups  []Group
	Classes []Class // at the fleet
}

// Class is hosts of which a part may be in trouble: while at most so many percent of them are unknown or fail, each of
// them is but a warning for the fleet.
type Class struct {
	Name                string
	Hosts               []string // names, or path.Match's patterns
	MaxUnhealthyPercent int      // 0 … 99
}

// When the fleet itself is taken for blind: at least IsolationHosts hosts, and more than half of all, went silent within
// IsolationWindow of each other.
const (
	IsolationHosts  = 3
	IsolationWindow = 90 * time.Second
)

// HostOf sums up a host of its containers and its own checks, which are summed up already.
func HostOf(name string, children []Sum, rules Rules) Sum {
	s := parent(health.KindHost, name, children)
	for i := range rules.Groups {
		s.mark(&rules.Groups[i])
	}
	for i := range rules.Groups {
		g := &rules.Groups[i]
		s.attach(g, s.members(func(n *health.Node) bool { return memberOf(n, g.Name) }))
	}
	s.combine(nil, nil)
	return s
}

// FleetOf sums up hosts that are summed up already.
//
// When most of them go silent at once, it is more likely that the fleet cannot see than that they are all gone: then the fleet is
// isolated, those hosts are unknown, suppressed by the fleet, even when they have been away long enough to fail, and there is one
// reason instead of one a host. That is not monotone, on purpose: a real loss of power everywhere shows as unknown, not
// as fail. Hosts that do report count as always.
//
// A group of the fleet may have members on several hosts. There they count through the group alone, and the hosts are summed up
// again without them: the fleet's tree so shows a host better than the host's own page does, which knows nothing of the group.
func FleetOf(name string, hosts []Sum, rules Rules) Sum {
	parts := slices.Clone(hosts)
	isolated := isolate(name, parts)
	names := groupSet{}
	for i := range rules.Groups {
		names[rules.Groups[i].Name] = true
	}
	for i := range parts {
		parts[i].regroupFor(rules.Groups, names)
	}
	s := parent(health.KindFleet, name, parts)
	for i := range rules.Groups {
		g := &rules.Groups[i]
		var members []member
		for j := range parts {
			if !marksOf(&parts[j].Node).any(leftOut) {
				members = append(members, parts[j].members(func(n *health.Node) bool { return memberOf(n, g.Name) && g.Matches(n.Name) })...)
			}
		}
		s.attach(g, members)
	}
	s.Node.SetFlag(health.FlagIsolated, isolated)
	var lenient func(of func(int) health.State) []bool
	if len(rules.Classes) > 0 {
		lenient = func(of func(int) health.State) []bool { return rules.lenient(s.Node.Children, of) }
	}
	s.combine(nil, lenient)
	if isolated {
		s.Node.Action = isolation(&s.Node).action
	}
	return s
}

// parent puts children together, in slices of its own.
func parent(kind, name string, children []Sum) Sum {
	s := Sum{Node: health.Node{Kind: kind, Name: name, Children: make([]health.Node, len(children))}, parts: make([]tally, len(children))}
	for i := range children {
		s.Node.Children[i], s.parts[i] = children[i].Node, children[i].tally
	}
	return s
}

// regroupFor sums a host up again if it has members of the fleet's groups.
func (s *Sum) regroupFor(groups []Group, names groupSet) {
	touched := false
	for i := range groups {
		touched = touched || s.has(&groups[i])
	}
	if !touched {
		return
	}
	s.Node.Children = slices.Clone(s.Node.Children)
	for i := range groups {
		s.mark(&groups[i])
	}
	s.combine(names, nil)
}

// isolate finds out whether a fleet is isolated, and if so makes the silent hosts unknown because of it.
func isolate(fleet string, hosts []Sum) bool {
	var silent []int // those that are, by the time at which they became it
	all := 0
	for i := range hosts {
		m := marksOf(&hosts[i].Node)
		if m.any(leftOut | paused) {
			continue
		}
		all++
		if m.any(stale) {
			silent = append(silent, i)
		}
	}
	since := func(i int) time.Time { return hosts[i].Node.Since }
	slices.SortFunc(silent, func(a, b int) int { return since(a).Compare(since(b)) })
	from, to := 0, 0 // the window with the most of them
	for i, j := 0, 0; j < len(silent); j++ {
		for since(silent[j]).Sub(since(silent[i])) > IsolationWindow {
			i++
		}
		if j+1-i > to-from {
			from, to = i, j+1
		}
	}
	if to-from < IsolationHosts || 2*(to-from) <= all {
		return false
	}
	for _, i := range silent[from:to] {
		n := &hosts[i].Node
		n.State = health.Unknown
		n.SetFlag(health.FlagMissing, false)
		n.SetFlag(health.FlagSuppressedBy+fleet, true)
		hosts[i].combine(nil, nil)
	}
	return true
}

// isolation is the one reason of an isolated fleet.
func isolation(n *health.Node) blame {
	hosts, silent := 0, 0
	for i := range n.Children {
		if n.Children[i].Kind == health.KindHost {
			hosts++
			silent += bit(suppressedBy(&n.Children[i], n.Name))
		}
	}
	return blame{
		path: []string{n.Name}, state: health.Unknown, counts: health.Unknown, self: true,
		text:   fmt.Sprintf("observer isolated: %d of %d hosts went silent at one time", silent, hosts),
		action: "look at this server and its network first, then at what these hosts have in common: power, switch, certificates",
	}
}

// lenient tells which hosts are of a class that is within its limit.
func (r *Rules) lenient(hosts []health.Node, of func(i int) health.State) []bool {
	out := make([]bool, len(hosts))
	for _, class := range r.Classes {
		var in []int
		unhealthy := 0
		for i := range hosts {
			if hosts[i].Kind == health.KindHost && !marksOf(&hosts[i]).any(leftOut) && class.has(hosts[i].Name) {
				in = append(in, i)
				unhealthy += bit(of(i) >= health.Unknown)
			}
		}
		for _, i := range in {
			out[i] = out[i] || unhealthy*100 <= class.MaxUnhealthyPercent*len(in)
		}
	}
	return out
}

func (c *Class) has(host string) bool {
	return slices.ContainsFunc(c.Hosts, func(pattern string) bool {
		ok, _ := path.Match(pattern, host) // patterns are judged with the settings
		return ok
	})
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
