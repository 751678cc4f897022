// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"cloud4.internal/hub/internal/health"
)

// property is what holds of every world. It gets the world's sum and chance, may not change the world, and says what does
// not hold, or "".
type property struct {
	name  string
	holds func(w *world, before *health.Node, r *rand.Rand, seen seen) string
}

var properties = []property{
	{"a score is in the band of its state, and not above its high one", scores},
	{"worsening a leaf betters no state and raises no score; what was unknown and is well lowers no high score", leaves},
	{"muting leaves what the rest has", muting},
	{"the order of what was reported does not matter", order},
	{"what nobody expects changes nothing", strangers},
	{"going silent betters nothing", silence},
	{"what is not live is not ready", views},
	{"a sum of a sum is the same", again},
	{"whoever is not well has a cause that is not well", causes},
}

// always lists what is tried in nearly every world: the rest are exceptions.
var always = map[string]bool{"worsened": true, "learned": true, "silenced": true}

// Each property is tried on generatedTrees worlds.
func TestProperties(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // small worlds are made and dropped: collected when there are many
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(256 << 20))
	const shards = 4
	var all [shards]seen
	t.Run("worlds", func(t *testing.T) {
		for shard := range uint64(shards) {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				all[shard] = seen{}
				for seed := shard; seed < generatedTrees; seed += shards {
					try(t, seed, all[shard])
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	total := seen{}
	for _, some := range all {
		for rule, n := range some {
			total[rule] += n
		}
	}
	for _, rule := range rules { // one that the generated worlds do not reach is not tested by them
		least := generatedTrees / 1000
		if always[rule] {
			least = generatedTrees * 9 / 10
		}
		if n := total[rule]; n < least {
			t.Errorf("%d cases of %q: too few", n, rule)
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(total)) {
		t.Logf("%8d %s", total[rule], rule)
	}
}

func try(t *testing.T, seed uint64, seen seen) {
	t.Helper()
	w := generate(rand.New(rand.NewPCG(seed, 1)))
	before := w.sum()
	for i, p := range properties {
		if why := p.holds(w, &before.Node, rand.New(rand.NewPCG(seed, uint64(i))), seen); why != "" {
			w, why = shrink(w, why, p)
			t.Fatalf("%s: tree %d: %s\nthe smallest like it:\n%s", p.name, seed, why, w)
		}
	}
}

// seen counts what the generated trees had.
type seen map[string]int

// compare visits the nodes of two trees of one shape.
func compare(a, b *health.Node, visit func(at trail, a, b *health.Node) string) string {
	return compareBelow(trail{name: a.Name}, a, b, visit)
}

// trail is a node's place; its path is made only where somebody wants to read it.
type trail struct {
	above *trail
	name  string
}

func (t trail) String() string {
	if t.above == nil {
		return "/" + t.name
	}
	return t.above.String() + "/" + t.name
}

func compareBelow(at trail, a, b *health.Node, visit func(at trail, a, b *health.Node) string) string {
	if why := visit(at, a, b); why != "" {
		return why
	}
	for i := range a.Children {
		child := &a.Children[i]
		other := child
		if a != b {
			if other = sibling(b, child); other == nil {
				continue
			}
		}
		if why := compareBelow(trail{&at, child.Name}, child, other, visit); why != "" {
			return why
		}
	}
	return ""
}

func score(n *health.Node) string {
	if n.Score == nil {
		return "none"
	}
	return fmt.Sprint(*n.Score, " … ", n.Extent.ScoreHigh)
}

func same(a, b *health.Node) bool {
	return a.State == b.State && a.Text == b.Text && slices.Equal(a.Flags, b.Flags) &&
		(a.Score == nil || *a.Score == *b.Score && *a.Extent == *b.Extent)
}

func scores(w *world, before *health.Node, _ *rand.Rand, seen seen) string {
	w.note(before, seen)
	return compare(before, before, func(path trail, n, _ *health.Node) string {
		if n.Score == nil {
			return ""
		}
		low, high := Band(n.State)
		switch e := n.Extent; {
		case *n.Score < low || *n.Score > high, e.ScoreHigh < *n.Score, e.ScoreHigh > 100,
			e.Confidence < 0 || e.Confidence > 1, e.Coverage < 0 || e.Coverage > 1:
			return fmt.Sprintf("%s: %v with score %s, %+v", path, n.State, score(n), *e)
		}
		return ""
	})
}

// leaves gives one leaf three states in turn: what it is, one that is worse, and first well, then unknown.
func leaves(w *world, before *health.Node, r *rand.Rand, seen seen) string {
	w = w.clone()
	leaf, made := w.leaf(r)
	if made {
		was := w.sumAgain(leaf.host)
		before = &was.Node
	}
	name, old, member := w.at(leaf).Name, w.at(leaf).State, w.member(&w.hosts[leaf.host].children[leaf.child])
	at := map[health.State]*health.Node{old: before}
	for _, state := range []health.State{health.Pass, health.Unknown, health.State(r.IntN(5))} {
		if at[state] == nil {
			w.set(leaf, state)
			sum := w.sumAgain(leaf.host)
			at[state] = &sum.Node
		}
	}
	seen["learned"]++
	if why := learning(name, at[health.Unknown], at[health.Pass]); why != "" {
		return why
	}
	for from, better := range at {
		for to, worse := range at {
			if from >= to {
				continue
			}
			if member && from == health.Starting { // the exception: a group takes the end of starting for a betterment
				seen["exception: a member of a group leaves starting"]++
				continue
			}
			if why := worsening(fmt.Sprintf("%s from %v to %v", name, from, to), better, worse); why != "" {
				return why
			}
		}
	}
	seen["worsened"]++
	return ""
}

func worsening(what string, before, after *health.Node) string {
	return compare(before, after, func(path trail, b, a *health.Node) string {
		switch {
		case a.State < b.State:
			return fmt.Sprintf("%s: %s is better: from %v to %v", what, path, b.State, a.State)
		case a.Score != nil && *a.Score > *b.Score:
			return fmt.Sprintf("%s: the score of %s rises: from %s to %s", what, path, score(b), score(a))
		}
		return ""
	})
}

func learning(what string, before, after *health.Node) string {
	return compare(before, after, func(path trail, b, a *health.Node) string {
		if b.Score != nil && (a.Extent.ScoreHigh < b.Extent.ScoreHigh || *a.Score < *b.Score) {
			return fmt.Sprintf("%s is well: the score of %s falls from %s to %s", what, path, score(b), score(a))
		}
		return ""
	})
}

// muting compares a tree in which something is muted with one in which it is not there.
func muting(w *world, before *health.Node, r *rand.Rand, seen seen) string {
	h := r.IntN(len(w.hosts))
	w, without := w.clone(), w.clone()
	host, other := &w.hosts[h], &without.hosts[h]
	siblings, rest := &host.children, &other.children
	of := host.name
	if len(*siblings) == 0 {
		return ""
	}
	child := r.IntN(len(*siblings))
	i := child
	if checks := &(*siblings)[i].Children; len(*checks) > 0 && r.IntN(2) == 0 {
		of, siblings, rest = (*siblings)[i].Name, checks, &(*rest)[i].Children
		i = r.IntN(len(*checks))
	}
	target := &(*siblings)[i]
	if w.member(target) || target.HasFlag(health.FlagMuted) {
		return "" // what is left of a group is another group
	}
	target.SetFlag(health.FlagMuted, true)
	host.changed(child)
	if of == host.name {
		other.remove(i)
	} else {
		*rest = slices.Delete(slices.Clone(*rest), i, i+1)
		other.changed(child)
	}
	removed := without.sumAgain(h)
	left := without.sums[h]
	if of != host.name {
		left = other.parts[child]
	}
	if len(*rest) == 0 || left.tally.weight == 0 || of == host.name && !slices.ContainsFunc(*rest, func(n health.Node) bool {
		return n.Kind == health.KindContainer && !n.HasFlag(health.FlagUnexpected)
	}) {
		return "" // nothing is left that counts: see TestAllMuted
	}
	muted := w.sumAgain(h)
	if removed.tally.weight == 0 {
		return "" // nor in the fleet
	}
	seen["muted beside others"]++
	return compare(&muted.Node, &removed.Node, func(path trail, m, rest *health.Node) string {
		if m.State != rest.State || m.Score != nil && (*m.Score != *rest.Score || m.Extent.ScoreHigh != rest.Extent.ScoreHigh) {
			return fmt.Sprintf("%s of %s muted: %s is %v %s, without it %v %s", target.Name, of, path, m.State, score(m), rest.State, score(rest))
		}
		return ""
	})
}

func order(w *world, before *health.Node, r *rand.Rand, seen seen) string {
	w = w.clone()
	w.shuffle(r)
	after := w.sum()
	return compare(before, &after.Node, func(path trail, b, a *health.Node) string {
		if !same(a, b) {
			return fmt.Sprintf("%s: %v %s %v %q, in another order %v %s %v %q", path,
				b.State, score(b), b.Flags, b.Text, a.State, score(a), a.Flags, a.Text)
		}
		return ""
	})
}

func strangers(w *world, before *health.Node, r *rand.Rand, seen seen) string {
	w = w.clone()
	h := r.IntN(len(w.hosts))
	stranger := Container("web.x.h0/9", []health.Node{check("a", health.State(r.IntN(5)), health.FlagCritical)})
	stranger.SetFlag(health.FlagUnexpected, true)
	w.hosts[h].add(stranger)
	after := w.sumAgain(h)
	return compare(before, &after.Node, func(path trail, b, a *health.Node) string {
		if !same(a, b) {
			return fmt.Sprintf("%s: %v %s %v %q, with a stranger %v %s %v %q", path,
				b.State, score(b), b.Flags, b.Text, a.State, score(a), a.Flags, a.Text)
		}
		return ""
	})
}

// silence: whoever stops reporting is unknown at best. The fleet is no better for it, but for the exception of isolation.
func silence(w *world, before *health.Node, r *rand.Rand, seen seen) string {
	w = w.clone()
	h := r.IntN(len(w.hosts))
	if w.hosts[h].silent {
		w.hosts[h].silent, w.hosts[h].gone = false, false
		was := w.sumAgain(h)
		before = &was.Node
	}
	w.hosts[h].silent = true
	after := w.sumAgain(h)
	seen["silenced"]++
	if after.Node.HasFlag(health.FlagIsolated) {
		seen["exception: isolated"]++
		if after.Node.State < health.Unknown {
			return fmt.Sprintf("isolated, and the fleet is %v", after.Node.State)
		}
		return ""
	}
	if after.Node.State < min(before.State, health.Unknown) {
		return fmt.Sprintf("%s falls silent: the fleet from %v to %v", w.hosts[h].name, before.State, after.Node.State)
	}
	return ""
}

func views(w *world, before *health.Node, _ *rand.Rand, seen seen) string {
	return compare(before, before, func(path trail, n, _ *health.Node) string {
		live, ready := Judge(n, Live), Judge(n, Ready)
		if !Yes(live) && n.Kind == health.KindContainer {
			seen["not live"]++
		}
		if !marksOf(n).any(given) && !Yes(live) && Yes(ready) {
			return fmt.Sprintf("%s: live %v, ready %v", path, live, ready)
		}
		return ""
	})
}

// again: a tree that went over the wire and is summed up there says what it said, and the sum of kept parts is that of all.
func again(w *world, before *health.Node, _ *rand.Rand, _ seen) string {
	for i := range w.hosts {
		first := w.sums[i]
		second := Of(first.Node)
		if why := compare(&first.Node, &second.Node, func(path trail, a, b *health.Node) string {
			if !same(a, b) {
				return fmt.Sprintf("%s: %v %s %v %q, again %v %s %v %q", path, a.State, score(a), a.Flags, a.Text, b.State, score(b), b.Flags, b.Text)
			}
			return ""
		}); why != "" {
			return why
		}
		if first.tally.best != second.tally.best || first.tally.low != second.tally.low || first.tally.high != second.tally.high ||
			first.tally.weight != second.tally.weight || first.tally.fresh != second.tally.fresh {
			return fmt.Sprintf("%s: what its parent needs is %+v, again %+v", first.Node.Name, first.tally, second.tally)
		}
	}
	return ""
}

func causes(w *world, before *health.Node, _ *rand.Rand, seen seen) string {
	tree := before
	for _, reason := range Reasons(tree, 5) {
		if reason.State == health.Pass {
			return fmt.Sprintf("%v is a reason", reason)
		}
	}
	if reasons := Reasons(tree, 5); tree.State > health.Pass && len(reasons) == 0 && tree.Text == "" {
		return fmt.Sprintf("the fleet is %v for no reason", tree.State)
	}
	return compare(tree, tree, func(path trail, n, _ *health.Node) string {
		if n.Kind == health.KindCheck && !suppressed(n) {
			return ""
		}
		e, err := Explain(tree, strings.TrimPrefix(strings.TrimPrefix(path.String(), "/fleet"), "/"))
		if err != nil {
			return fmt.Sprintf("%s: %v", path, err)
		}
		seen[steps[len(e.Steps)]]++
		if (e.Cause == "") != (n.State == health.Pass) || e.Steps[0].State != n.State || len(e.Steps) > 8 {
			return fmt.Sprintf("%s is %v: %+v", path, n.State, e)
		}
		if step := last(e.Steps); n.State > health.Pass && step.State == health.Pass {
			return fmt.Sprintf("%s is %v because of %s, which passes", path, n.State, step.Path)
		}
		return ""
	})
}

var steps = [...]string{
	"", "explained in 1 steps", "explained in 2 steps", "explained in 3 steps", "explained in 4 steps", "explained in 5 steps",
	"explained in 6 steps", "explained in 7 steps", "explained in 8 steps", "explained in 9 steps", "explained in 10 steps",
}
