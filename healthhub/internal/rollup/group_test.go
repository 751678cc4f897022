// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"fmt"
	"strings"
	"testing"

	"cloud4.internal/hub/internal/health"
)

// in makes containers of one service in those states.
func in(states ...health.State) (out []Sum) {
	for i, s := range states {
		out = append(out, Of(Container(fmt.Sprintf("web.shop.vm1/%d", i+1), []health.Node{check("a", s, health.FlagCritical)})))
	}
	return out
}

// The three-valued threshold of health.md §5.4.
func TestGroup(t *testing.T) {
	const p, s, w, u, f = health.Pass, health.Starting, health.Warn, health.Unknown, health.Fail
	for _, test := range []struct {
		need   int
		states []health.State
		want   health.State
		text   string
	}{
		{1, []health.State{p, p}, p, "2 of 2, 1 needed"},
		{2, []health.State{p, w}, w, "2 of 2, 2 needed: web.shop.vm1/2 warn"},
		{1, []health.State{p, f}, w, "redundancy lost: 1 of 2, 1 needed: web.shop.vm1/2 fail"},
		{1, []health.State{p, u}, w, "redundancy lost: 1 of 2, 1 needed: web.shop.vm1/2 unknown"},
		{1, []health.State{p, s}, w, "redundancy lost: 1 of 2, 1 needed: web.shop.vm1/2 starting"},
		{2, []health.State{p, u}, u, "not known whether enough work: 1 of 2, 2 needed: web.shop.vm1/2 unknown"},
		{2, []health.State{p, s}, u, "not known whether enough work: 1 of 2, 2 needed: web.shop.vm1/2 starting"},
		{2, []health.State{p, f}, f, "not enough work: 1 of 2, 2 needed: web.shop.vm1/2 fail"},
		{1, []health.State{f, f}, f, "not enough work: 0 of 2, 1 needed: web.shop.vm1/1 fail, web.shop.vm1/2 fail"},
		{1, []health.State{f, s}, u, "not known whether enough work: 0 of 2, 1 needed: web.shop.vm1/1 fail, web.shop.vm1/2 starting"},
		{2, []health.State{p, p, f}, w, "redundancy lost: 2 of 3, 2 needed: web.shop.vm1/3 fail"},
		{3, []health.State{p, p}, f, "not enough work: 2 of 2, 3 needed"}, // more than there are is never well
		{1, []health.State{f, f, f, f, p}, w, "redundancy lost: 1 of 5, 1 needed: web.shop.vm1/1 fail, web.shop.vm1/2 fail, web.shop.vm1/3 fail, 1 more"},
		{1, nil, f, "not enough work: 0 of 1, 1 needed: web.shop.vm1 not there"},
	} {
		t.Run(fmt.Sprint(test.need, test.states), func(t *testing.T) {
			host := HostOf("vm1", in(test.states...), Rules{Groups: []Group{{Name: "web", Members: []string{"web.shop.vm1"}, Need: test.need}}}).Node
			group := last(host.Children)
			if group.Kind != health.KindGroup || group.State != test.want || group.Text != test.text {
				t.Errorf("%s %v %q, want %v %q", group.Kind, group.State, group.Text, test.want, test.text)
			}
			if want := max(test.want, empty(test.states)); host.State != want {
				t.Errorf("the host is %v, want %v: %s", host.State, want, host.Text)
			}
			if err := host.Accept(health.HostLimits); err != nil {
				t.Errorf("cannot travel: %v", err)
			}
			for i, s := range test.states {
				if n := host.Children[i]; n.State != s || !n.HasFlag("grouped=web") {
					t.Errorf("member %s: %v %v", n.Name, n.State, n.Flags)
				}
			}
		})
	}
}

func empty(states []health.State) health.State {
	if len(states) == 0 {
		return health.Unknown // a host without containers
	}
	return health.Pass
}

func TestGroupMembers(t *testing.T) {
	for name, test := range map[string]struct {
		members []string
		want    string
	}{
		"a service":       {[]string{"web.shop.vm1"}, "web.shop.vm1 web.shop.vm1/2"},
		"a replica":       {[]string{"web.shop.vm1/2"}, "web.shop.vm1/2"},
		"a pattern":       {[]string{"*.shop.vm1"}, "db.shop.vm1 web.shop.vm1 web.shop.vm1/2"},
		"several":         {[]string{"db.shop.vm1", "web.shop.vm1/2"}, "db.shop.vm1 web.shop.vm1/2"},
		"nobody":          {[]string{"mail.*"}, ""},
		"not a beginning": {[]string{"web.shop"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			stranger := Container("web.shop.vm1/9", []health.Node{check("a", health.Fail, health.FlagCritical)})
			stranger.SetFlag(health.FlagUnexpected, true)
			nodes := []health.Node{Container("db.shop.vm1", nil), Container("web.shop.vm1", nil), Container("web.shop.vm1/2", nil), stranger, check("web.shop.vm1", health.Pass)}
			host := HostOf("vm1", sums(nodes), Rules{Groups: []Group{{Name: "g", Members: test.members, Need: 1}}}).Node
			var got []string
			for _, n := range host.Children {
				if n.HasFlag("grouped=g") {
					got = append(got, n.Name)
				}
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("members %v, want %s", got, test.want)
			}
			if group := last(host.Children); test.want == "" && group.State < health.Unknown {
				t.Errorf("a group of nobody is %v", group.State)
			}
		})
	}
}

// A member that is muted or paused is not missed, and what is left must do.
func TestGroupMuted(t *testing.T) {
	members := in(health.Pass, health.Fail, health.Pass)
	rules := Rules{Groups: []Group{{Name: "web", Members: []string{"web.shop.vm1"}, Need: 2}}}
	if got := HostOf("vm1", members, rules).Node; got.State != health.Warn {
		t.Fatalf("before: %v %s", got.State, got.Text)
	}
	members[1].Node.SetFlag(health.FlagMuted, true)
	host := HostOf("vm1", members, rules).Node
	if host.State != health.Pass || host.Text != "muted: 1" || !host.HasFlag("mutes=1") {
		t.Errorf("one of three muted: %v %q %v", host.State, host.Text, host.Flags)
	}
	again := Of(host)
	again.Node.Children[0].State = health.Fail // summed up elsewhere, by what the group's node says of itself
	again.Node.Children[0].Children[0].State = health.Fail
	if again = Of(again.Node); again.Node.State != health.Fail {
		t.Errorf("one of the two that are left fails: %v %s", again.Node.State, again.Node.Text)
	}
	for i := range members {
		members[i].Node.SetFlag(health.FlagMuted, true)
	}
	if host = HostOf("vm1", members, rules).Node; host.State != health.Pass || host.Text != "muted: 3" || *host.Score != 90 || host.Extent.Coverage != 0 {
		t.Errorf("all muted: %v %d %q %+v", host.State, *host.Score, host.Text, *host.Extent)
	}
	rules.Groups[0].Muted = true
	members = in(health.Fail, health.Fail)
	if host = HostOf("vm1", members, rules).Node; host.State != health.Pass || host.Text != "muted: 1" {
		t.Errorf("the group itself muted: %v %q", host.State, host.Text)
	}
}

// A group of several hosts: one of them may lose its member.
func TestGroupOfTheFleet(t *testing.T) {
	host := func(name string, s health.State) Sum {
		return HostOf(name, []Sum{
			Of(Container("web.shop."+name, []health.Node{check("page", s, health.FlagCritical)})),
			Of(Container("db.shop."+name, []health.Node{check("port", health.Pass, health.FlagCritical)})),
		}, Rules{})
	}
	rules := Rules{Groups: []Group{{Name: "web", Members: []string{"web.shop.*"}, Need: 1}}}
	hosts := []Sum{host("vm1", health.Fail), host("vm2", health.Pass)}
	if plain := FleetOf("fleet", hosts, Rules{}).Node; plain.State != health.Fail {
		t.Fatalf("without the group: %v", plain.State)
	}
	fleet := FleetOf("fleet", hosts, rules).Node
	if fleet.State != health.Warn || fleet.Text != "web: warn: redundancy lost: 1 of 2, 1 needed: web.shop.vm1 fail" {
		t.Errorf("%v %q", fleet.State, fleet.Text)
	}
	if vm1 := fleet.Children[0]; vm1.State != health.Pass || vm1.Children[0].State != health.Fail {
		t.Errorf("the host is %v, its member %v", vm1.State, vm1.Children[0].State)
	}
	if hosts[0].Node.State != health.Fail || hosts[0].Node.Children[0].HasFlag("grouped=web") {
		t.Error("the sum that was given has been changed")
	}
	e, err := Explain(&fleet, "")
	if err != nil || e.Cause != "vm1/web.shop.vm1/page" {
		t.Errorf("%v, %v", e, err)
	}
	if got := Reasons(&fleet, 5); len(got) != 1 || got[0].Cause != "vm1/web.shop.vm1/page" {
		t.Errorf("reasons %+v", got)
	}
}
