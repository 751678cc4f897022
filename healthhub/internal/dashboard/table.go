// SPDX-License-Identifier: AGPL-3.0-or-later

package dashboard

import (
	"slices"
	"strings"

	"cloud4.internal/hub/internal/health"
)

// tables are the parts of a node.
func (p *drawer) tables(chain []*health.Node) (out []table) {
	self := chain[len(chain)-1]
	small := self.Kind == health.KindFleet && total(tally(self)) <= smallFleet && len(self.Children) <= smallFleet
	if small {
		for _, host := range worstFirst(self.Children) {
			if host.Kind != health.KindHost {
				continue
			}
			below := append(slices.Clip(chain), host)
			t := p.containers(below)
			head := p.item(below)
			head.ID = "h-" + head.ID
			t.Head, t.Again = &head, len(out) > 0
			out = append(out, t)
		}
	}
	if self.Kind == health.KindGroup {
		return []table{p.members(chain)}
	}
	for _, part := range []struct{ kind, title string }{
		{health.KindHost, "Hosts"}, {health.KindGroup, "Groups"}, {health.KindContainer, "Containers"},
		{health.KindHub, "Hubs"}, {health.KindCheck, "Checks"},
	} {
		if small && part.kind == health.KindHost {
			continue
		}
		if t := p.table(chain, part.kind, part.title); len(t.Rows)+t.FoldedAll > 0 {
			out = append(out, t)
		}
	}
	return out
}

// table lists the children of a kind, or all.
func (p *drawer) table(chain []*health.Node, kind, title string) table {
	var ways [][]*health.Node
	for _, n := range worstFirst(chain[len(chain)-1].Children) {
		if kind == "" || n.Kind == kind {
			ways = append(ways, append(slices.Clip(chain), n))
		}
	}
	return p.list("t-"+kind+"-"+health.Path(chain), title, ways)
}

// containers lists those of a host among others, and folds away what of the machine itself is well.
func (p *drawer) containers(chain []*health.Node) table {
	var ways, well [][]*health.Node
	for _, n := range worstFirst(chain[len(chain)-1].Children) {
		way := append(slices.Clip(chain), n)
		if leaf(n) && (n.State == health.Pass || uncounted(n)) {
			well = append(well, way)
		} else {
			ways = append(ways, way)
		}
	}
	t := p.list("t-"+health.Path(chain), "", ways)
	if p.ask.all || len(well) == 0 {
		t.Rows = append(t.Rows, p.list("", "", well).Rows...)
		return t
	}
	t.Machine = len(well)
	p.fold(&t, well)
	return t
}

// members lists the containers of a group, which stand beside it, or below the hosts beside it.
func (p *drawer) members(chain []*health.Node) table {
	group := chain[len(chain)-1].Name
	var ways [][]*health.Node
	var look func(chain []*health.Node)
	look = func(chain []*health.Node) {
		for _, n := range worstFirst(chain[len(chain)-1].Children) {
			switch way := append(slices.Clip(chain), n); {
			case n.FlagValue(health.FlagGrouped) == group:
				ways = append(ways, way)
			case n.Kind == health.KindHost:
				look(way)
			}
		}
	}
	look(chain[:len(chain)-1])
	return p.list("t-members-"+group, "Members", ways)
}

// list makes a table of nodes that are sorted already; what is well is folded away where it is much.
func (p *drawer) list(id, title string, ways [][]*health.Node) table {
	t := table{ID: id, Title: title}
	trouble, open := maxRows, maxOpen
	if p.ask.all {
		trouble, open = maxAll, maxAll
	}
	var well [][]*health.Node
	for _, way := range ways {
		switch n := way[len(way)-1]; {
		case n.State == health.Pass && len(flagsOf(n))+len(below(n)) == 0:
			well = append(well, way)
		case len(t.Rows) < trouble:
			t.Rows = append(t.Rows, p.item(way))
		default:
			t.Left++
		}
	}
	if len(well) <= open {
		for _, way := range well {
			t.Rows = append(t.Rows, p.item(way))
		}
	} else {
		p.fold(&t, well)
	}
	t.Strips = slices.ContainsFunc(t.Rows, func(it item) bool { return it.Strip != nil })
	return t
}

// fold puts nodes into the table by their names alone.
func (p *drawer) fold(t *table, ways [][]*health.Node) {
	t.FoldedAll += len(ways)
	for _, way := range ways[:min(len(ways), max(maxFolded-len(t.Folded), 0))] {
		n, path := way[len(way)-1], health.Path(way)
		t.Folded = append(t.Folded, item{ID: "n-" + n.Kind + "-" + path, Href: link(path), Name: n.Name, State: n.State.String()})
	}
}

// uncounted is what never counts, whatever its state.
func uncounted(n *health.Node) bool {
	return n.HasFlag(health.FlagUnexpected) || n.HasFlag(health.FlagUnsupported)
}

// worstFirst sorts by state, then by name; what does not count comes last.
func worstFirst(nodes []health.Node) []*health.Node {
	out := make([]*health.Node, len(nodes))
	for i := range nodes {
		out[i] = &nodes[i]
	}
	slices.SortFunc(out, func(a, b *health.Node) int {
		if ua, ub := uncounted(a), uncounted(b); ua != ub {
			if ua {
				return 1
			}
			return -1
		}
		if a.State != b.State {
			return int(b.State) - int(a.State)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}
