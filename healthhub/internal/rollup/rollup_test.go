// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/health"
)

func check(name string, s health.State, flags ...string) health.Node {
	return health.Node{Kind: health.KindCheck, Name: name, State: s, Flags: flags}
}

func TestContainer(t *testing.T) {
	critical, info := health.FlagCritical, health.FlagInfo
	for name, test := range map[string]struct {
		checks []health.Node
		want   health.State
		flags  []string
	}{
		"nothing":              {nil, health.Pass, []string{health.FlagUnchecked}},
		"only hubs":            {[]health.Node{check("hub/log", health.Pass)}, health.Pass, []string{health.FlagUnchecked}},
		"all well":             {[]health.Node{check("a", health.Pass, critical), check("b", health.Pass)}, health.Pass, nil},
		"critical fails":       {[]health.Node{check("a", health.Fail, critical), check("b", health.Pass)}, health.Fail, nil},
		"critical unknown":     {[]health.Node{check("a", health.Unknown, critical)}, health.Unknown, nil},
		"critical warns":       {[]health.Node{check("a", health.Warn, critical)}, health.Warn, nil},
		"degrading fails":      {[]health.Node{check("a", health.Pass, critical), check("b", health.Fail)}, health.Warn, nil},
		"degrading unknown":    {[]health.Node{check("b", health.Unknown)}, health.Warn, nil},
		"info fails":           {[]health.Node{check("a", health.Pass), check("b", health.Fail, info)}, health.Pass, nil},
		"starts":               {[]health.Node{check("a", health.Starting), check("b", health.Pass)}, health.Starting, nil},
		"hub fails":            {[]health.Node{check("a", health.Pass), check("hub/log", health.Fail)}, health.Warn, nil},
		"hub unknown":          {[]health.Node{check("a", health.Pass), check("hub/log", health.Unknown)}, health.Warn, nil},
		"hub starts":           {[]health.Node{check("a", health.Pass), check("hub/log", health.Starting)}, health.Pass, nil},
		"hub critical or not":  {[]health.Node{check("a", health.Pass), check("hub/log", health.Fail, critical)}, health.Warn, nil},
		"starting and warning": {[]health.Node{check("a", health.Starting, critical), check("b", health.Fail)}, health.Warn, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := Container("web.shop.vm1", test.checks)
			if got.State != test.want {
				t.Errorf("state %v, want %v", got.State, test.want)
			}
			if diff := cmp.Diff(test.flags, got.Flags); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	c := Container("c", []health.Node{
		check("live", health.Starting, health.FlagCritical, health.FlagLive), check("ready", health.Fail, health.FlagCritical),
	})
	if got := Judge(&c, Live); got != health.Pass {
		t.Errorf("starting is live: got %v", got)
	}
	if got := Judge(&c, Ready); got != health.Fail {
		t.Errorf("ready: got %v", got)
	}
	c.Children[0].State = health.Fail
	c.Children[1].State = health.Pass
	if live, ready := Judge(&c, Live), Judge(&c, Ready); live != health.Fail || ready != health.Fail {
		t.Errorf("what is not live is not ready: live %v, ready %v", live, ready)
	}
}

func TestNothingExpectedIsUnknown(t *testing.T) {
	if got := Host("vm1", nil); got.State != health.Unknown || got.Text == "" {
		t.Errorf("an empty host is %v %q", got.State, got.Text)
	}
	stranger := Expected{Kind: health.KindContainer, Names: []string{}}.Apply([]health.Node{Container("x.y.vm1", nil)})
	if got := Host("vm1", stranger); got.State != health.Unknown {
		t.Errorf("a host with an unexpected container alone is %v", got.State)
	}
}

func TestExpected(t *testing.T) {
	web := Container("web.shop.vm1/1", []health.Node{check("a", health.Pass)})
	other := Container("db.shop.vm1", []health.Node{check("a", health.Fail, health.FlagCritical)})
	e := Expected{Kind: health.KindContainer, Names: []string{"web.shop.vm1", "mail.shop.vm1", "mail.shop.vm1"}, Grace: true}

	host := Host("vm1", e.Apply([]health.Node{web, other}))
	if host.State != health.Starting {
		t.Errorf("within the grace: %v: %s", host.State, host.Text)
	}
	e.Grace = false
	host = Host("vm1", e.Apply([]health.Node{web, other}))
	if host.State != health.Fail || host.Text != "mail.shop.vm1: fail: expected, but never reported" {
		t.Errorf("after the grace: %v: %s", host.State, host.Text)
	}
	var got []string
	for _, c := range host.Children {
		got = append(got, fmt.Sprint(c.Name, " ", c.State, " ", c.Flags))
	}
	want := []string{"web.shop.vm1/1 pass []", "db.shop.vm1 fail [unexpected]", "mail.shop.vm1 fail [missing]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReasons(t *testing.T) {
	web := Container("web", []health.Node{
		check("page", health.Fail, health.FlagSuppressedBy+"db"), check("db", health.Fail), check("x", health.Fail, health.FlagInfo),
	})
	db := Container("db", []health.Node{check("port", health.Unknown, health.FlagCritical)})
	gone := Silence(Container("gone", []health.Node{check("port", health.Pass, health.FlagCritical)}), time.Time{})
	gone.Text = "silent"
	host := Host("vm1", []health.Node{web, db, gone})
	want := "db: port: unknown; gone: unknown: silent; web: db: fail"
	if diff := cmp.Diff(want, host.Text); diff != "" {
		t.Error(diff)
	}
	if got := len(Reasons(&host, 10)); got != 4 {
		t.Errorf("%d reasons, want 4", got)
	}
}

func TestCarrySince(t *testing.T) {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	first := Container("c", []health.Node{check("a", health.Pass), check("b", health.Pass)})
	CarrySince(nil, &first, t0)
	second := Container("c", []health.Node{check("a", health.Pass), check("b", health.Fail)})
	CarrySince(&first, &second, t0.Add(time.Minute))
	if !second.Since.Equal(t0.Add(time.Minute)) || !second.Children[0].Since.Equal(t0) || !second.Children[1].Since.Equal(t0.Add(time.Minute)) {
		t.Errorf("since: %v, %v, %v", second.Since, second.Children[0].Since, second.Children[1].Since)
	}
}

// generated trees: a fleet of hosts of containers of checks. build sums one up anew.
type (
	genHost  [][]health.Node // containers, each its checks
	genFleet []genHost
)

func generate(r *rand.Rand) genFleet {
	flags := [][]string{nil, nil, {health.FlagCritical}, {health.FlagInfo}, {health.FlagCritical, health.FlagLive}}
	fleet := make(genFleet, r.IntN(4))
	calm := r.IntN(2) == 0 // half of the trees are mostly well, as most are
	for h := range fleet {
		fleet[h] = make(genHost, r.IntN(4))
		for c := range fleet[h] {
			for i := range r.IntN(5) {
				s := health.State(r.IntN(5))
				if calm && r.IntN(8) > 0 {
					s = health.Pass
				}
				name := fmt.Sprint("c", i)
				if r.IntN(6) == 0 {
					name = HubPrefix + name
				}
				fleet[h][c] = append(fleet[h][c], check(name, s, flags[r.IntN(len(flags))]...))
			}
		}
	}
	return fleet
}

func (f genFleet) build(shuffle *rand.Rand) health.Node {
	mix := func(nodes []health.Node) []health.Node {
		if shuffle != nil {
			shuffle.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		}
		return nodes
	}
	var hosts []health.Node
	for h, containers := range f {
		var nodes []health.Node
		for c, checks := range containers {
			nodes = append(nodes, Container(fmt.Sprint("k", c), mix(append([]health.Node(nil), checks...))))
		}
		hosts = append(hosts, Host(fmt.Sprint("h", h), mix(nodes)))
	}
	return Fleet("fleet", mix(hosts))
}

func inBand(t *testing.T, n *health.Node) {
	t.Helper()
	if n.Score != nil {
		if low, high := Band(n.State); *n.Score < low || *n.Score > high {
			t.Fatalf("%s %s: score %d is not in the band of %v", n.Kind, n.Name, *n.Score, n.State)
		}
	}
	for i := range n.Children {
		inBand(t, &n.Children[i])
	}
}

// The properties of the rules, on 20,000 generated fleets.
func TestProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		fleet := generate(r)
		before := fleet.build(nil)
		inBand(t, &before)

		mixed := fleet.build(r)
		if mixed.State != before.State || *mixed.Score != *before.Score || mixed.Text != before.Text {
			t.Fatalf("order matters:\n%v %d %q\n%v %d %q", before.State, *before.Score, before.Text, mixed.State, *mixed.Score, mixed.Text)
		}
		if leaf := fleet.leaf(r); leaf != nil && leaf.State < health.Fail {
			old := leaf.State
			leaf.State++
			after := fleet.build(nil)
			if after.State < before.State || *after.Score > *before.Score {
				t.Fatalf("%s from %v to %v: fleet from %v %d to %v %d", leaf.Name, old, leaf.State,
					before.State, *before.Score, after.State, *after.Score)
			}
			before = after
		}
		if silent := Fleet("fleet", append([]health.Node(nil), before.Children...)); len(silent.Children) > 0 {
			silent.Children[0] = Silence(silent.Children[0], time.Time{})
			after := Fleet("fleet", silent.Children)
			if after.State < min(before.State, health.Unknown) || *after.Score > *before.Score && after.State >= before.State {
				t.Fatalf("silence: fleet from %v %d to %v %d", before.State, *before.Score, after.State, *after.Score)
			}
		}
		stranger := Container("x", []health.Node{check("a", health.Fail, health.FlagCritical)})
		stranger.SetFlag(health.FlagUnexpected, true)
		if len(before.Children) > 0 {
			host := before.Children[0]
			with := Host(host.Name, append([]health.Node{stranger}, host.Children...))
			if with.State != host.State || *with.Score != *host.Score {
				t.Fatalf("an unexpected container changed %v %d to %v %d", host.State, *host.Score, with.State, *with.Score)
			}
		}
	}
}

func (f genFleet) leaf(r *rand.Rand) *health.Node {
	var all []*health.Node
	for _, host := range f {
		for _, checks := range host {
			for i := range checks {
				all = append(all, &checks[i])
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[r.IntN(len(all))]
}
