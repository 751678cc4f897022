// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"cloud4.internal/hub/internal/health"
)

// Group is containers of which a number is enough: need n of expected m, of one host or of several.
//
// In a tree it is a node of kind group beside the containers (at the fleet, beside the hosts), without children: the members
// stay where they are, flagged grouped=<name>, and count through their groups alone. Its values are what it was
// judged by.
type Group struct {
	Name    string   // unique among the groups of a tree
	Members []string // names of containers, or of services, which stand for all replicas; path.Match's patterns too
	Need    int      // how many must work, from 1
	Grace   bool     // who is named and not there may still be coming; see MissingGrace
	Muted   bool     // somebody muted the group itself
}

// Names of a group node's values.
const (
	ValueNeed    = "need"    // how many must work
	ValueMembers = "members" // how many there should be, but those that are muted or paused
	ValueWorking = "working" // how many do work
	valueAbsent  = "absent"  // how many of the members are named and have no node
	valueComing  = "coming"  // how many of those may still be coming
)

// Matches reports whether a container is a member: by its own name, that of its service, or a pattern.
func (g *Group) Matches(container string) bool {
	return slices.ContainsFunc(g.Members, func(member string) bool { return matches(member, container) })
}

func matches(pattern, name string) bool {
	service, _, _ := strings.Cut(name, "/")
	if pattern == name || pattern == service {
		return true
	}
	if !strings.ContainsAny(pattern, wildcards) {
		return false
	}
	whole, _ := path.Match(pattern, name) // patterns are judged with the settings
	part, _ := path.Match(pattern, service)
	return whole || part
}

// wildcards tell a pattern of path.Match from a name.
const wildcards = `*?[\`

// member is a container as its group sees it.
type member struct {
	name    string
	state   health.State // see standing
	best    health.State // with everything unknown taken for pass
	leftOut bool         // muted or paused
}

// standing is a member's state, but starting where a warning hides that a part of it still starts: a container that has not
// come up does not become one that works by having another trouble as well.
func standing(s health.State, partStarting bool) health.State {
	if s == health.Warn && partStarting {
		return health.Starting
	}
	return s
}

// votes is what the members of a group come to.
type votes struct {
	need, members, working, maybe int
	worst                         health.State // of those that work
}

// state is the three-valued threshold: what is known to hold or to fail whatever becomes of the members in between.
//
// Who starts may yet work, or not, and counts as in between like who is unknown. A member's first success can so better the
// group even if it is a warning, which is worse than starting in the order of states: the one step down that order that is a
// step up.
func (v votes) state() health.State {
	switch {
	case v.members == 0:
		return health.Pass // all are left out; see Group.node
	case v.working >= v.members && v.working >= v.need:
		return v.worst
	case v.working >= v.need:
		return health.Warn
	case v.working+v.maybe >= v.need:
		return health.Unknown
	}
	return health.Fail
}

// count takes the members' votes, by their states in one world or another. absent ones are named and have no node, coming ones of
// those may have one soon.
func count(members []member, need, absent, coming int, of func(member) health.State) votes {
	v := votes{need: need, members: absent, maybe: coming}
	for _, m := range members {
		if m.leftOut {
			continue
		}
		v.members++
		switch s := of(m); s {
		case health.Pass, health.Warn:
			v.working++
			v.worst = max(v.worst, s)
		case health.Unknown, health.Starting:
			v.maybe++
		}
	}
	if len(members)+absent > v.members {
		v.need = min(v.need, v.members) // what is left out is not missed
	}
	return v
}

func asIs(m member) health.State    { return m.state }
func ifKnown(m member) health.State { return m.best }

// absent lists the names, not the patterns, that no member has.
func (g *Group) absent(members []member) (names []string) {
	for _, name := range g.Members {
		if strings.ContainsAny(name, wildcards) || slices.Contains(names, name) {
			continue
		}
		if !slices.ContainsFunc(members, func(m member) bool { return matches(name, m.name) }) {
			names = append(names, name)
		}
	}
	return names
}

// node makes the group's node, and its state if all that is unknown were well.
func (g *Group) node(members []member) (n health.Node, best health.State) {
	n = health.Node{Kind: health.KindGroup, Name: g.Name}
	n.SetFlag(health.FlagMuted, g.Muted)
	absent := g.absent(members)
	if len(members)+len(absent) == 0 {
		n.State = health.Unknown
		n.Text = "no container that is here is one of its members"
		n.Action = "look at the members of the group in the settings: " + strings.Join(g.Members, ", ")
		return n, health.Pass
	}
	coming := 0
	if g.Grace {
		coming = len(absent)
	}
	best = describe(&n, members, g.Need, absent, coming)
	return n, best
}

// describe writes state, text, action and values of a group's node, and returns its state if all that is unknown were well.
func describe(n *health.Node, members []member, need int, absent []string, coming int) (best health.State) {
	v := count(members, need, len(absent), coming, asIs)
	n.State, n.Text, n.Action = v.state(), v.text(members, absent), ""
	if n.State > health.Pass {
		n.Action = "bring back those that do not work; each of them says why it does not"
	}
	n.Values = []health.Value{
		{Name: ValueNeed, Value: float64(need)}, {Name: ValueMembers, Value: float64(v.members)},
		{Name: ValueWorking, Value: float64(v.working)},
		{Name: valueAbsent, Value: float64(len(absent))}, {Name: valueComing, Value: float64(coming)},
	}
	return count(members, need, len(absent), coming, ifKnown).state()
}

// regroup judges the groups that a node came with once more, by their members as they are now: some of them may have been
// muted since.
func (s *Sum) regroup() {
	for i := range s.Node.Children {
		group := &s.Node.Children[i]
		if group.Kind != health.KindGroup {
			continue
		}
		members := s.members(func(n *health.Node) bool { return memberOf(n, group.Name) })
		absent, coming := groupValue(group, valueAbsent), groupValue(group, valueComing)
		if len(members)+absent == 0 {
			continue
		}
		need := groupValue(group, ValueNeed)
		v := count(members, need, absent, coming, asIs)
		if v.state() != group.State || v.working != groupValue(group, ValueWorking) || v.members != groupValue(group, ValueMembers) {
			again := *group
			describe(&again, members, need, make([]string, absent), coming)
			s.Node.Children = slices.Clone(s.Node.Children)
			s.Node.Children[i] = again
		}
		s.parts[i].best = count(members, need, absent, coming, ifKnown).state()
	}
}

// members lists the children that belong to a group.
func (s *Sum) members(belongs func(n *health.Node) bool) (out []member) {
	for i := range s.Node.Children {
		n := &s.Node.Children[i]
		m := marksOf(n)
		if n.Kind != health.KindContainer || m.any(unexpected|info) || !belongs(n) {
			continue
		}
		out = append(out, member{
			name: n.Name, state: standing(n.State, m.any(partStarting)), best: standing(s.parts[i].best, s.parts[i].starting),
			leftOut: m.any(muted | paused),
		})
	}
	return out
}

// has reports whether any child belongs to a group, or would if it were flagged.
func (s *Sum) has(g *Group) bool {
	for i := range s.Node.Children {
		if g.takes(&s.Node.Children[i]) {
			return true
		}
	}
	return false
}

// mark flags the children that belong to a group. The slice of children must be the sum's own.
func (s *Sum) mark(g *Group) {
	for i := range s.Node.Children {
		if n := &s.Node.Children[i]; g.takes(n) {
			n.SetFlag(health.FlagGrouped+g.Name, true)
		}
	}
}

func (g *Group) takes(n *health.Node) bool {
	return n.Kind == health.KindContainer && !n.HasFlag(health.FlagUnexpected) && g.Matches(n.Name)
}

// attach adds a group's node to the children.
func (s *Sum) attach(g *Group, members []member) {
	n, best := g.node(members)
	s.Node.Children = append(s.Node.Children, n)
	s.parts = append(s.parts, tally{best: best})
}

// groupSet is the names of groups that nodes may count through.
type groupSet map[string]bool

// with adds the groups among a node's children.
func (g groupSet) with(n *health.Node) groupSet {
	shared := true
	for i := range n.Children {
		if child := &n.Children[i]; child.Kind == health.KindGroup && !g[child.Name] {
			if shared {
				g, shared = maps.Clone(g), false
				if g == nil {
					g = groupSet{}
				}
			}
			g[child.Name] = true
		}
	}
	return g
}

// cover reports whether a node counts through one of the groups.
func (g groupSet) cover(n *health.Node) bool {
	if len(g) == 0 {
		return false
	}
	return slices.ContainsFunc(n.Flags, func(flag string) bool {
		name, ok := strings.CutPrefix(flag, health.FlagGrouped)
		return ok && g[name]
	})
}

func memberOf(n *health.Node, group string) bool { return n.HasFlag(health.FlagGrouped + group) }

// maxNamed bounds how many members a group's text names.
const maxNamed = 3

// text says in words what the votes are, and names those that do not work.
func (v votes) text(members []member, absent []string) string {
	var b strings.Builder
	switch v.state() {
	case health.Warn:
		if v.working < v.members {
			b.WriteString("redundancy lost: ")
		}
	case health.Unknown:
		b.WriteString("not known whether enough work: ")
	case health.Fail:
		b.WriteString("not enough work: ")
	}
	fmt.Fprintf(&b, "%d of %d, %d needed", v.working, v.members, v.need)
	var troubled []string
	for _, m := range members {
		if !m.leftOut && m.state != health.Pass {
			troubled = append(troubled, fmt.Sprintf("%s %v", m.name, m.state))
		}
	}
	nameless := 0
	for _, name := range absent {
		if name == "" {
			nameless++
			continue
		}
		troubled = append(troubled, name+" not there")
	}
	slices.Sort(troubled)
	if nameless > 0 {
		troubled = append(troubled, fmt.Sprintf("%d not there", nameless))
	}
	if more := len(troubled) - maxNamed; more > 0 {
		troubled = append(troubled[:maxNamed], fmt.Sprintf("%d more", more))
	}
	if len(troubled) > 0 {
		b.WriteString(": " + strings.Join(troubled, ", "))
	}
	return health.CleanText(b.String())
}

// value is one of a group node's values, 0 if it has none of that name.
func groupValue(n *health.Node, name string) int {
	for _, v := range n.Values {
		if v.Name == name {
			return int(v.Value)
		}
	}
	return 0
}
