// SPDX-License-Identifier: AGPL-3.0-or-later

package notify

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
)

// world is a small fleet to which anything may happen.
type world struct {
	rand   *rand.Rand
	states map[string]health.State // by path of a check
	flags  map[string]string       // of anything: "" is none
	silent [6]bool                 // of hosts
	gone   map[string]bool         // containers
	now    time.Time
	group  bool
}

func newWorld(seed uint64) *world {
	return &world{
		rand: rand.New(rand.NewPCG(seed, 1)), states: map[string]health.State{}, flags: map[string]string{}, gone: map[string]bool{}, now: epoch,
		group: seed%2 == 0,
	}
}

// What a host of the world has; its name is filled in.
var (
	containers = []string{"db.shop.%s", "web.shop.%s", "web.shop.%s/2"}
	checks     = []string{"page", "port", "hub/log"}
)

// tree is the fleet as it is: 6 hosts with up to 3 containers of 3 checks.
func (w *world) tree() *health.Node {
	var hosts []rollup.Sum
	for h := range w.silent {
		name := fmt.Sprint("vm", h)
		var parts []rollup.Sum
		for _, format := range containers {
			c := fmt.Sprintf(format, name)
			path := name + "/" + c
			if w.gone[path] {
				continue
			}
			var nodes []health.Node
			for _, check := range checks {
				n := health.Node{Kind: health.KindCheck, Name: check, State: w.states[path+"/"+check]}
				n.SetFlag(health.FlagCritical, check == "page")
				if f := w.flags[path+"/"+check]; f != "" && !(f == health.FlagSuppressedBy+"port" && w.states[path+"/port"] < health.Unknown) {
					n.SetFlag(f, true)
				}
				nodes = append(nodes, n)
			}
			n := rollup.Container(c, nodes)
			if f := w.flags[path]; f != "" {
				n.SetFlag(f, true)
			}
			if f := w.flags[path]; f == health.FlagStale {
				n = rollup.Silence(n, epoch)
			}
			parts = append(parts, rollup.Of(n))
		}
		var rules rollup.Rules
		if w.group {
			rules.Groups = []rollup.Group{{Name: "web", Members: []string{"web.*"}, Need: 1}}
		}
		sum := rollup.HostOf(name, parts, rules)
		if w.silent[h] {
			sum = rollup.Of(rollup.Silence(sum.Node, epoch))
		}
		hosts = append(hosts, sum)
	}
	sum := rollup.FleetOf("fleet", hosts, rollup.Rules{})
	return &sum.Node
}

// happen changes something.
func (w *world) happen() {
	h := w.rand.IntN(len(w.silent))
	host := fmt.Sprint("vm", h)
	container := host + "/" + fmt.Sprintf(containers[w.rand.IntN(len(containers))], host)
	check := container + "/" + checks[w.rand.IntN(len(checks))]
	switch w.rand.IntN(10) {
	case 0:
		w.silent[h] = !w.silent[h]
	case 1:
		w.gone[container] = !w.gone[container]
	case 2:
		w.flags[container] = []string{"", health.FlagMuted, health.FlagUnexpected, health.FlagStale, health.FlagInfo}[w.rand.IntN(5)]
	case 3:
		w.flags[check] = []string{"", health.FlagMuted, health.FlagInfo, health.FlagForced, health.FlagSuppressedBy + "port"}[w.rand.IntN(5)]
	case 4: // what a check depends on breaks too
		w.states[container+"/page"], w.states[container+"/port"] = health.Fail, health.Fail
		w.flags[container+"/page"] = health.FlagSuppressedBy + "port"
	default:
		w.states[check] = []health.State{health.Pass, health.Pass, health.Starting, health.Warn, health.Unknown, health.Fail}[w.rand.IntN(6)]
	}
}

// recover makes everything well.
func (w *world) recover() {
	w.silent = [6]bool{}
	clear(w.states)
	clear(w.flags)
	clear(w.gone)
}

// ailing reports whether a check is wrong, or not to be known, and counts.
func ailing(tree *health.Node, key string) bool {
	for _, chain := range follow(tree, key) {
		wrong := len(last(chain).Children) == 0 && last(chain).State != health.Pass
		counts := true
		for _, n := range chain[1:] {
			wrong = wrong || n.HasFlag(health.FlagStale)
			counts = counts && !n.HasFlag(health.FlagInfo) && !n.HasFlag(health.FlagUnexpected)
		}
		if wrong && counts {
			return true
		}
	}
	return false
}

// Whatever happens, in whatever order, with restarts and messages that do not arrive: each cause is told as a problem, then is
// resolved, in turns; nothing that counts nowhere is told; and when all is well everything is resolved.
func TestEveryCauseOnceUntilResolved(t *testing.T) {
	const sequences = 10
	told, over, restarts := 0, 0, 0
	for seed := range uint64(sequences) {
		w := newWorld(seed)
		r := Receiver{Name: "phone", Min: []health.State{health.Warn, health.Fail}[seed/2%2]}
		s := &story{t: t, book: newBook(r), now: epoch}
		open := map[string]bool{} // what the receiver has on its list
		step := func(d time.Duration) {
			s.now = s.now.Add(d)
			tree := w.tree()
			s.book.look(s.now, tree, causes(tree, maxCauses))
			news := s.book.due(s.now)
			if len(news) == 0 || w.rand.IntN(4) == 0 { // it did not arrive
				return
			}
			for _, n := range news {
				switch again := n.note != ""; {
				case n.status == problem && open[n.key] != again:
					t.Fatalf("seed %d: %q was told as a problem (%q), open: %t", seed, n.key, n.note, open[n.key])
				case n.status != problem && !open[n.key]:
					t.Fatalf("seed %d: %q is %s, and was never told", seed, n.key, n.status)
				}
				if n.status == problem {
					told++
					for _, chain := range follow(tree, n.key) {
						for _, node := range chain {
							// What does not count may still be behind something that does: the check that others depend on.
							counts := !node.HasFlag(health.FlagInfo) && !node.HasFlag(health.FlagUnexpected) || node.Name == "port"
							if node.HasFlag(health.FlagMuted) || !counts {
								t.Fatalf("seed %d: %q was told, and %s is %v", seed, n.key, node.Name, node.Flags)
							}
						}
					}
				}
				if n.status == resolved && n.note == "" && ailing(tree, n.key) {
					t.Fatalf("seed %d: %q is resolved, and is not well", seed, n.key)
				}
				open[n.key] = n.status != resolved
				if n.status == resolved {
					over++
				}
			}
			s.book.enter(s.now, news)
		}
		for range 120 {
			for range w.rand.IntN(4) {
				w.happen()
			}
			for range 1 + w.rand.IntN(8) {
				step(time.Duration(1+w.rand.IntN(20)) * time.Second)
			}
			if w.rand.IntN(15) == 0 {
				restarts++
				s.restart()
			}
		}
		w.recover()
		for range 60 {
			step(time.Minute)
		}
		for key, is := range open {
			if is {
				t.Fatalf("seed %d: %q is on the list of the receiver, an hour after all was well", seed, key)
			}
		}
		// And what stays wrong is told in the end.
		w.states["vm1/db.shop.vm1/page"] = health.Fail
		for range 10 {
			step(20 * time.Second)
		}
		if !open["vm1/db.shop.vm1/page"] {
			t.Fatalf("seed %d: what fails was not told", seed)
		}
	}
	if told < 150 || over < 150 || restarts < 50 {
		t.Errorf("%d problems, %d recoveries and %d restarts prove little", told, over, restarts)
	}
}
