// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/internal/health"
)

// world is what a fleet is made of, before anything is summed up.
type world struct {
	hosts []worldHost
	rules Rules
	sums  []Sum // of the hosts, as of the last sum
}

type worldHost struct {
	name         string
	children     []health.Node // containers with their checks, and checks of the host
	parts        []Sum         // of the children, as of the last sum; nil: not summed up yet. Worlds share them
	rules        Rules
	flags        []string
	silent, gone bool
	since        time.Time // of the silence
}

// rules are the cases that the generated worlds must reach.
var rules = []string{
	"container pass", "container starting", "container warn", "container unknown", "container fail",
	"fleet pass", "fleet starting", "fleet warn", "fleet unknown", "fleet fail",
	"group of a host pass", "group of a host warn", "group of a host unknown", "group of a host fail",
	"group of the fleet pass", "group of the fleet warn", "group of the fleet unknown", "group of the fleet fail",
	"group with an absent member", "group with a muted member", "class within its limit", "class above its limit",
	"isolated", "not isolated, but silent", "missing host",
	"muted", "unexpected", "missing", "paused", "unsupported", "info", "degrading", "unchecked", "hub",
	"part starting", "nothing expected", "surplus replica", "stale beside its like", "a score that may be higher",
	"worsened", "muted beside others", "learned", "silenced", "not live",
	"exception: a member of a group leaves starting", "exception: isolated",
	"explained in 1 steps", "explained in 2 steps", "explained in 3 steps", "explained in 4 steps", "explained in 5 steps",
}

var checkFlags = [][]string{
	nil, nil, {health.FlagCritical}, {health.FlagCritical}, {health.FlagInfo}, {health.FlagCritical, health.FlagLive},
	{health.FlagCritical, health.FlagStarted}, {health.FlagUnsupported}, {health.FlagMuted}, {health.FlagSuppressedBy + "c0"},
}

// generate makes a small world. Half of them are mostly well, as most are.
func generate(r *rand.Rand) *world {
	g := generator{r, r.IntN(2) == 0}
	w := &world{hosts: make([]worldHost, []int{1, 1, 1, 1, 1, 2, 2, 3, 3}[r.IntN(9)])}
	for h := range w.hosts {
		w.hosts[h] = g.host(h)
	}
	if r.IntN(3) == 0 {
		w.rules.Groups = append(w.rules.Groups, Group{Name: "everywhere", Members: g.members("h0", "h1"), Need: 1 + r.IntN(2), Grace: r.IntN(3) == 0})
	}
	if r.IntN(3) == 0 {
		w.rules.Classes = []Class{{Name: "edge", Hosts: []string{"h[0-2]"}, MaxUnhealthyPercent: r.IntN(60)}}
	}
	return w
}

type generator struct {
	*rand.Rand
	calm bool
}

func (g generator) one(of int) bool { return g.IntN(of) == 0 }

func (g generator) state() health.State {
	if g.calm && !g.one(8) {
		return health.Pass
	}
	return health.State(g.IntN(5))
}

// members names containers, some of which may not be there, or all of a kind.
func (g generator) members(hosts ...string) (out []string) {
	for _, host := range hosts {
		for _, service := range []string{"web.x.", "db.x."}[:1+g.IntN(2)] {
			out = append(out, service+host)
		}
	}
	if g.one(6) {
		out = []string{"web.x.h?"}
	}
	return out
}

func (g generator) host(h int) worldHost {
	name := fmt.Sprint("h", h)
	host := worldHost{name: name}
	var containers []health.Node
	for _, service := range []string{"web.x." + name, "web.x." + name + "/2", "db.x." + name}[g.IntN(2) : 1+g.IntN(3)] {
		containers = append(containers, g.container(service))
	}
	if g.one(3) {
		containers = append(containers, g.check("disk"))
	}
	e := Expected{Kind: health.KindContainer, Grace: g.one(3)}
	switch g.IntN(4) {
	case 0:
		e.Wants = []Want{{Name: "web.x." + name, Replicas: g.IntN(3)}, {Name: "mail.x." + name, Criticality: []string{"", health.FlagDegrading, health.FlagInfo}[g.IntN(3)]}}
	case 1:
		e.Wants = []Want{{Name: "db.x." + name, Criticality: []string{"", health.FlagDegrading}[g.IntN(2)]}}
	}
	host.children = e.Apply(containers)
	if g.one(3) {
		host.rules.Groups = []Group{{Name: "web", Members: g.members(name), Need: 1 + g.IntN(2), Grace: g.one(3), Muted: g.one(10)}}
	}
	if host.silent = g.one(4); host.silent {
		host.gone = g.one(3)
	}
	host.since = time.Unix(int64(g.IntN(150)), 0)
	if g.one(12) {
		host.flags = []string{[]string{health.FlagMuted, health.FlagDegrading, health.FlagUnexpected}[g.IntN(3)]}
	}
	return host
}

func (g generator) container(name string) health.Node {
	n := health.Node{Kind: health.KindContainer, Name: name}
	for i := range g.IntN(4) {
		c := g.check(fmt.Sprint("c", i))
		if g.one(6) {
			c.Name = HubPrefix + c.Name
		}
		n.Children = append(n.Children, c)
	}
	switch {
	case g.one(15):
		n = Silence(n, time.Unix(0, 0))
	case g.one(15):
		n = Pause(n, time.Unix(0, 0), time.Unix(0, 0).Add(time.Duration(g.IntN(120))*time.Minute))
	case g.one(15):
		n.SetFlag(health.FlagMuted, true)
	case len(n.Children) == 0:
		n.State = g.state()
	}
	return n
}

func (g generator) check(name string) health.Node {
	return check(name, g.state(), checkFlags[g.IntN(len(checkFlags))]...)
}

// sum sums the world up from its leaves.
func (w *world) sum() Sum {
	w.sums = make([]Sum, len(w.hosts))
	for i := range w.hosts {
		w.sums[i] = w.hosts[i].sum()
	}
	return FleetOf("fleet", w.sums, w.rules)
}

// sumAgain sums it up with one host anew.
func (w *world) sumAgain(host int) Sum {
	w.sums[host] = w.hosts[host].sum()
	return FleetOf("fleet", w.sums, w.rules)
}

func (h *worldHost) sum() Sum {
	if h.parts == nil {
		h.parts = sums(h.children)
	}
	s := HostOf(h.name, h.parts, h.rules)
	if h.silent {
		n := Silence(s.Node, h.since)
		if h.gone {
			n.State = health.Fail
			n.SetFlag(health.FlagMissing, true)
		}
		s = Of(n)
	}
	for _, flag := range h.flags {
		s.Node.SetFlag(flag, true)
	}
	return s
}

// leafOf names a leaf of a world: a check of a container, or, check -1, a child of a host.
type leafOf struct{ host, child, check int }

// leaf picks one whose state counts as it is. Where chance finds none it makes one.
func (w *world) leaf(r *rand.Rand) (l leafOf, made bool) {
	for range 10 {
		l = leafOf{r.IntN(len(w.hosts)), 0, -1}
		children := w.hosts[l.host].children
		if len(children) == 0 {
			continue
		}
		l.child = r.IntN(len(children))
		n := &children[l.child]
		if marksOf(n).any(given) {
			continue
		}
		if len(n.Children) > 0 {
			l.check = r.IntN(len(n.Children))
		}
		return l, false
	}
	h := &w.hosts[l.host]
	h.add(check("load", health.Pass, checkFlags[r.IntN(len(checkFlags))]...))
	return leafOf{l.host, len(h.children) - 1, -1}, true
}

func (w *world) at(l leafOf) *health.Node {
	n := &w.hosts[l.host].children[l.child]
	if l.check >= 0 {
		n = &n.Children[l.check]
	}
	return n
}

// set gives a leaf a state. Sums that were made before keep what they were made of.
func (w *world) set(l leafOf, s health.State) {
	children := &w.hosts[l.host].children
	*children = slices.Clone(*children)
	if l.check >= 0 {
		checks := &(*children)[l.child].Children
		*checks = slices.Clone(*checks)
	}
	w.at(l).State = s
	w.hosts[l.host].changed(l.child)
}

// changed is told of a child that is not what it was.
func (h *worldHost) changed(child int) {
	if h.parts != nil {
		h.parts = slices.Clone(h.parts)
		h.parts[child] = Of(h.children[child])
	}
}

// add adds a child.
func (h *worldHost) add(child health.Node) {
	h.children = append(slices.Clip(h.children), child)
	if h.parts != nil {
		h.parts = append(slices.Clip(h.parts), Of(child))
	}
}

// remove takes a child away.
func (h *worldHost) remove(i int) {
	h.children = slices.Delete(slices.Clone(h.children), i, i+1)
	if h.parts != nil {
		h.parts = slices.Delete(slices.Clone(h.parts), i, i+1)
	}
}

// member reports whether a container belongs to any group.
func (w *world) member(n *health.Node) bool {
	in := func(rules Rules) bool {
		return slices.ContainsFunc(rules.Groups, func(g Group) bool { return g.Matches(n.Name) })
	}
	return in(w.rules) || slices.ContainsFunc(w.hosts, func(h worldHost) bool { return in(h.rules) })
}

func (w *world) clone() *world {
	out := &world{hosts: slices.Clone(w.hosts), rules: Rules{slices.Clone(w.rules.Groups), slices.Clone(w.rules.Classes)}, sums: slices.Clone(w.sums)}
	for h := range out.hosts {
		host := &out.hosts[h]
		host.children = slices.Clone(host.children)
		host.rules.Groups = slices.Clone(host.rules.Groups)
		for c := range host.children {
			host.children[c].Children = slices.Clone(host.children[c].Children)
		}
	}
	return out
}

func (w *world) shuffle(r *rand.Rand) {
	mix := func(nodes []health.Node) {
		r.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	}
	for h := range w.hosts {
		w.hosts[h].parts = nil
		mix(w.hosts[h].children)
		for c := range w.hosts[h].children {
			mix(w.hosts[h].children[c].Children)
		}
	}
	r.Shuffle(len(w.hosts), func(i, j int) { w.hosts[i], w.hosts[j] = w.hosts[j], w.hosts[i] })
}

// note counts which rules a world reaches.
func (w *world) note(fleet *health.Node, seen seen) {
	seen["fleet "+fleet.State.String()]++
	if fleet.HasFlag(health.FlagIsolated) {
		seen["isolated"]++
	}
	for _, c := range w.rules.Classes {
		in, bad := 0, 0
		for i := range fleet.Children {
			if n := &fleet.Children[i]; n.Kind == health.KindHost && c.has(n.Name) && !marksOf(n).any(leftOut) {
				in, bad = in+1, bad+bit(n.State >= health.Unknown)
			}
		}
		if bad > 0 && bad*100 <= c.MaxUnhealthyPercent*in {
			seen["class within its limit"]++
		} else if bad > 0 {
			seen["class above its limit"]++
		}
	}
	compare(fleet, fleet, func(at trail, n, _ *health.Node) string {
		of := "a host"
		if at.above != nil && at.above.above == nil {
			of = "the fleet"
		}
		w.noteNode(of, n, fleet, seen)
		return ""
	})
}

func (w *world) noteNode(of string, n, fleet *health.Node, seen seen) {
	for _, flag := range []string{
		health.FlagMuted, health.FlagUnexpected, health.FlagMissing, health.FlagPaused, health.FlagUnsupported, health.FlagInfo,
		health.FlagDegrading, health.FlagUnchecked,
	} {
		if n.HasFlag(flag) {
			seen[flag]++
		}
	}
	switch n.Kind {
	case health.KindGroup:
		seen["group of "+of+" "+n.State.String()]++
		if groupValue(n, valueAbsent) > 0 {
			seen["group with an absent member"]++
		}
	case health.KindHost:
		if n.HasFlag(health.FlagStale) && !fleet.HasFlag(health.FlagIsolated) {
			seen["not isolated, but silent"]++
		}
		if n.HasFlag(health.FlagMissing) {
			seen["missing host"]++
		}
		if n.Text == "nothing is expected here and nothing has reported" {
			seen["nothing expected"]++
		}
	case health.KindContainer:
		seen["container "+n.State.String()]++
		if strings.HasPrefix(n.Name, "web.x.") && strings.HasSuffix(n.Name, "/2") && n.HasFlag(health.FlagUnexpected) {
			seen["surplus replica"]++
		}
		if n.FlagValue(health.FlagGrouped) != "" && n.HasFlag(health.FlagMuted) {
			seen["group with a muted member"]++
		}
		if n.HasFlag(health.FlagStale) && n.FlagValue(health.FlagSuppressedBy) == "" {
			seen["stale beside its like"]++
		}
	case health.KindCheck:
		if strings.HasPrefix(n.Name, HubPrefix) {
			seen["hub"]++
		}
	}
	if n.HasFlag(health.FlagPartStarting) {
		seen["part starting"]++
	}
	if n.Score != nil && n.Extent.ScoreHigh > *n.Score {
		seen["a score that may be higher"]++
	}
}

// shrink takes parts away from a world for as long as the property does not hold of it, whatever chance picks.
func shrink(w *world, why string, p property) (*world, string) {
	broken := func(w *world) string {
		for seed := range uint64(40) {
			before := w.sum()
			if why := p.holds(w, &before.Node, rand.New(rand.NewPCG(seed, 2)), seen{}); why != "" {
				return why
			}
		}
		return ""
	}
	for smaller := true; smaller; {
		smaller = false
		for _, candidate := range w.smaller() {
			if now := broken(candidate); now != "" {
				w, why, smaller = candidate, now, true
				break
			}
		}
	}
	return w, why
}

// smaller lists the worlds with one thing less.
func (w *world) smaller() (out []*world) {
	less := func(change func(w *world)) {
		c := w.clone()
		for h := range c.hosts {
			c.hosts[h].parts = nil
		}
		change(c)
		out = append(out, c)
	}
	for h := range w.hosts {
		if len(w.hosts) > 1 {
			less(func(w *world) { w.hosts = slices.Delete(w.hosts, h, h+1) })
		}
		if w.hosts[h].silent {
			less(func(w *world) { w.hosts[h].silent = false })
		}
		if len(w.hosts[h].flags) > 0 {
			less(func(w *world) { w.hosts[h].flags = nil })
		}
		if len(w.hosts[h].rules.Groups) > 0 {
			less(func(w *world) { w.hosts[h].rules.Groups = nil })
		}
		for c := range w.hosts[h].children {
			less(func(w *world) { w.hosts[h].children = slices.Delete(w.hosts[h].children, c, c+1) })
			for i, n := range w.hosts[h].children[c].Children {
				less(func(w *world) {
					w.hosts[h].children[c].Children = slices.Delete(w.hosts[h].children[c].Children, i, i+1)
				})
				if len(n.Flags) > 0 {
					less(func(w *world) { w.hosts[h].children[c].Children[i].Flags = nil })
				}
				if n.State > health.Pass {
					less(func(w *world) { w.hosts[h].children[c].Children[i].State = health.Pass })
				}
			}
		}
	}
	if len(w.rules.Groups) > 0 {
		less(func(w *world) { w.rules.Groups = nil })
	}
	if len(w.rules.Classes) > 0 {
		less(func(w *world) { w.rules.Classes = nil })
	}
	return out
}

// String draws a world, what goes in and what comes out.
func (w *world) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "rules %+v\n", w.rules)
	for _, h := range w.hosts {
		fmt.Fprintf(&b, "host %s silent %t gone %t flags %v rules %+v\n", h.name, h.silent, h.gone, h.flags, h.rules)
		draw(&b, "  ", h.children)
	}
	b.WriteString("sum:\n")
	draw(&b, "  ", []health.Node{w.sum().Node})
	return b.String()
}

func draw(b *strings.Builder, indent string, nodes []health.Node) {
	for _, n := range nodes {
		fmt.Fprintf(b, "%s%s %s %v %v %s %q\n", indent, n.Kind, n.Name, n.State, n.Flags, score(&n), n.Text)
		draw(b, indent+"  ", n.Children)
	}
}
