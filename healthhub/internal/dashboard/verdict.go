// SPDX-License-Identifier: AGPL-3.0-or-later

package dashboard

import (
	"fmt"
	"slices"
	"strings"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
)

// tally counts what a node is made of: the containers of a host or a fleet, the checks of a container.
func tally(n *health.Node) (by [5]int) {
	below := func(n *health.Node) {
		if !uncounted(n) && !n.HasFlag(health.FlagMuted) {
			by[min(int(n.State), len(by)-1)]++
		}
	}
	for i := range n.Children {
		c := &n.Children[i]
		switch {
		case n.Kind == health.KindFleet && c.Kind == health.KindHost:
			for j := range c.Children {
				if c.Children[j].Kind == health.KindContainer {
					below(&c.Children[j])
				}
			}
		case n.Kind != health.KindContainer && c.Kind != health.KindContainer: // groups, and checks of the machine, are told apart
		default:
			below(c)
		}
	}
	return by
}

func total(by [5]int) (n int) {
	for _, k := range by {
		n += k
	}
	return n
}

// partWord is what tally counts.
func partWord(n *health.Node) string {
	if n.Kind == health.KindContainer {
		return "check"
	}
	return "container"
}

// sum is "12 containers: 1 fail, 11 pass", or "12 containers" where all pass.
func sum(n *health.Node) string {
	by := tally(n)
	words := plural(total(by), partWord(n))
	if by[health.Pass] == total(by) {
		return words
	}
	var parts []string
	for _, s := range slices.Backward(health.States()) {
		if by[s] > 0 {
			parts = append(parts, number(by[s])+" "+s.String())
		}
	}
	return words + ": " + strings.Join(parts, ", ")
}

func bars(by [5]int) (out []count) {
	all, x := total(by), 0.0
	for _, s := range slices.Backward(health.States()) {
		if by[s] == 0 {
			continue
		}
		w := float64(by[s]) / float64(all) * 100
		out = append(out, count{s.String(), by[s], tenth(x), tenth(max(w-.6, .4))})
		x += w
	}
	return out
}

// lead says what there is.
func lead(n *health.Node) string {
	switch n.Kind {
	case health.KindFleet:
		hosts := 0
		for i := range n.Children {
			if n.Children[i].Kind == health.KindHost {
				hosts++
			}
		}
		return plural(total(tally(n)), partWord(n)) + " on " + plural(hosts, "host")
	case health.KindHost, health.KindContainer:
		return plural(total(tally(n)), partWord(n))
	}
	return ""
}

// verdict is the one sentence, and the title of the tab.
func verdict(n *health.Node, causes []cause) (head, title string) {
	mark := marks[n.State] + " "
	if n.State == health.Pass && n.HasFlag(health.FlagUnchecked) {
		return "Nothing looks into it", mark + "unchecked · " + n.Name
	}
	if len(n.Children) == 0 {
		head = map[health.State]string{
			health.Pass: "It is well", health.Starting: "It is starting", health.Warn: "It wants a look",
			health.Unknown: "Nobody knows how it is", health.Fail: "It fails",
		}[n.State]
		return head, mark + n.State.String() + " · " + n.Name
	}
	worst := 0
	for _, c := range causes {
		if c.counts >= n.State {
			worst++
		}
	}
	rest := len(causes) - worst
	many := func(n int, one, several string) string {
		if n == 1 {
			return "1 thing " + one
		}
		return number(n) + " things " + several
	}
	short := fmt.Sprint(worst)
	switch {
	case n.State == health.Pass:
		head, short = "All is well", "well"
	case worst == 0 && n.State == health.Unknown:
		head, short = "Nobody knows how it is", "unknown"
	case n.State == health.Fail:
		head, short = many(worst, "fails", "fail"), short+" failing"
	case n.State == health.Unknown:
		head, short = many(worst, "is not known", "are not known"), short+" unknown"
	case n.State == health.Warn:
		head, short = many(worst, "wants a look", "want a look"), short+" to look at"
	default:
		head, short = many(worst, "is starting", "are starting"), short+" starting"
	}
	switch {
	case rest > 0 && n.State == health.Warn: // the rest is starting
		head += ", " + number(rest) + " starting"
	case rest == 1:
		head += ", 1 more wants a look"
	case rest > 1:
		head += ", " + number(rest) + " more want a look"
	}
	return head, mark + short + " · " + n.Name
}

// follow walks down by names, as far as they lead.
func follow(chain []*health.Node, names []string) []*health.Node {
	chain = slices.Clone(chain)
	for _, name := range names {
		children := chain[len(chain)-1].Children
		i := slices.IndexFunc(children, func(c health.Node) bool { return c.Name == name })
		if i < 0 {
			break
		}
		chain = append(chain, &children[i])
	}
	return chain
}

func scoreOf(n *health.Node) score {
	if n.Score == nil {
		return score{}
	}
	s := score{Known: true, Low: *n.Score, High: *n.Score}
	if e := n.Extent; e != nil {
		s.High = max(s.Low, e.ScoreHigh)
		if s.High > s.Low {
			s.Words = append(s.Words, fmt.Sprintf("would be %d if all that is unknown were well", s.High))
		}
		if e.Confidence < 1 {
			s.Words = append(s.Words, percent(e.Confidence)+" of it is fresh")
		}
		if e.Coverage < 1 && n.Kind != health.KindContainer {
			s.Words = append(s.Words, percent(e.Coverage)+" of the containers looked into")
		}
	}
	return s
}

// percent is never 100 % for less than all.
func percent(part float64) string { return fmt.Sprintf("%d %%", int(part*100)) }

// blame sorts what is wrong below the end of chain, worst first: what only follows from another trouble stands under that.
func blame(chain []*health.Node) (out []cause) {
	self, byPath := chain[len(chain)-1], map[string]int{} // path below self → index in out
	// place finds the cause that a node of the tree is, or makes it one.
	place := func(way []*health.Node, counts health.State) int {
		path := health.Path(way[len(chain)-1:])
		i, known := byPath[path]
		if !known {
			i = len(out)
			byPath[path], out = i, append(out, cause{chain: way, counts: counts})
		}
		return i
	}
	for _, r := range rollup.Reasons(self, maxReasons) {
		way := follow(chain, r.Path)
		counts := counted(way[len(chain):])
		behind, err := self.Find(r.Cause)
		if err != nil || r.Cause == strings.Join(r.Path, "/") { // its own cause, or that of all of self
			place(way, counts)
			continue
		}
		c := &out[place(slices.Concat(chain[:len(chain)-1], behind), counts)]
		if len(c.Also) < maxAlso {
			c.Also = append(c.Also, crumb{way[len(way)-1].Kind, also(way, chain), link(health.Path(way))})
		} else {
			c.More++
		}
	}
	return out
}

// also names what follows from a cause: a check alone might be any.
func also(way, chain []*health.Node) string {
	last := way[len(way)-1]
	if leaf(last) && len(way) > len(chain)+1 {
		return way[len(way)-2].Name + " › " + last.Name
	}
	return last.Name
}

// counted is what the last of a chain does to the node above the first.
func counted(chain []*health.Node) health.State {
	worst := health.Fail
	for _, n := range chain {
		worst = min(worst, rollup.Contribution(n))
	}
	return worst
}

// tell fills in what a page says of the first causes.
func (p *drawer) tell(causes []cause, base int) []cause {
	causes = causes[:min(len(causes), maxCauses)]
	for i := range causes {
		c := &causes[i]
		c.item, c.Path = p.item(c.chain), crumbs(c.chain)[base:]
		c.ID = "c-" + c.ID
	}
	return causes
}
