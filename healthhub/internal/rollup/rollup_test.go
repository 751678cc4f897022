// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"fmt"
	"strings"
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
		"starting and warning": {[]health.Node{check("a", health.Starting, critical), check("b", health.Fail)}, health.Warn, []string{health.FlagPartStarting}},
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
	stranger := Expected{Kind: health.KindContainer, Wants: []Want{}}.Apply([]health.Node{Container("x.y.vm1", nil)})
	if got := Host("vm1", stranger); got.State != health.Unknown {
		t.Errorf("a host with an unexpected container alone is %v", got.State)
	}
}

func TestExpected(t *testing.T) {
	web := Container("web.shop.vm1/1", []health.Node{check("a", health.Pass)})
	other := Container("db.shop.vm1", []health.Node{check("a", health.Fail, health.FlagCritical)})
	e := Expected{Kind: health.KindContainer, Wants: Wants([]string{"web.shop.vm1", "mail.shop.vm1", "mail.shop.vm1"}), Grace: true}

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

// Nothing that counts is left: it passes, as was asked for, but not as if somebody had looked.
func TestAllMuted(t *testing.T) {
	muted := func(n health.Node) health.Node { n.SetFlag(health.FlagMuted, true); return n }
	c := Container("web.shop.vm1", []health.Node{check("a", health.Fail, health.FlagCritical, health.FlagMuted), check("b", health.Fail, health.FlagMuted)})
	if c.State != health.Pass || *c.Score != 90 || c.Text != "muted: 2" || !c.HasFlag(health.FlagUnchecked) || !c.HasFlag("mutes=2") ||
		c.Children[0].State != health.Fail || *c.Extent != (health.Extent{ScoreHigh: 100}) {
		t.Errorf("%v %d %q %v %+v", c.State, *c.Score, c.Text, c.Flags, *c.Extent)
	}
	host := Host("vm1", []health.Node{muted(Container("web.shop.vm1", []health.Node{check("a", health.Fail, health.FlagCritical)}))})
	if host.State != health.Pass || *host.Score != 90 || host.Text != "muted: 1" || host.Children[0].State != health.Fail || *host.Extent != (health.Extent{ScoreHigh: 100}) {
		t.Errorf("%v %d %q %+v", host.State, *host.Score, host.Text, *host.Extent)
	}
	beside := Host("vm1", append(host.Children, Container("db.shop.vm1", []health.Node{check("a", health.Fail), check("b", health.Pass, health.FlagMuted)})))
	if beside.State != health.Warn || beside.Text != "db.shop.vm1: a: fail; muted: 2" || beside.Extent.Coverage != 0.5 {
		t.Errorf("%v %q %+v", beside.State, beside.Text, *beside.Extent)
	}
	fleet := Fleet("fleet", []health.Node{beside, muted(host)})
	if fleet.State != health.Warn || fleet.Text != "vm1: db.shop.vm1: a: fail; muted: 3" {
		t.Errorf("%v %q", fleet.State, fleet.Text)
	}
}

func TestExtent(t *testing.T) {
	stale := check("c", health.Unknown, health.FlagCritical, health.FlagStale)
	host := Host("vm1", []health.Node{
		Container("web.shop.vm1", []health.Node{check("a", health.Pass, health.FlagCritical), check("b", health.Fail), stale}),
		Container("db.shop.vm1", nil),
	})
	// Weights 10, 3, 10 and 10 for the container that nothing looks into: 20 of 33 well, 30 if what is unknown is.
	want := health.Extent{ScoreHigh: 60 + 29*30/33, Confidence: 0.696, Coverage: 0.5}
	want.Confidence = float64((33-10)*1000/33) / 1000
	if host.State != health.Unknown || *host.Score != 30+29*20/33 || *host.Extent != want {
		t.Errorf("%v %d %+v, want %+v", host.State, *host.Score, *host.Extent, want)
	}
}

func TestReplicas(t *testing.T) {
	for name, test := range map[string]struct {
		there []string
		want  Want
		got   string
	}{
		"one":               {[]string{"w"}, Want{Name: "w"}, "w[]"},
		"any number":        {[]string{"w/1", "w/7"}, Want{Name: "w"}, "w/1[] w/7[]"},
		"none":              {nil, Want{Name: "w"}, "w[missing]"},
		"two of two":        {[]string{"w", "w/2"}, Want{Name: "w", Replicas: 2}, "w[] w/2[]"},
		"one of two":        {[]string{"w"}, Want{Name: "w", Replicas: 2}, "w[] w/2[missing]"},
		"the other of two":  {[]string{"w/2"}, Want{Name: "w", Replicas: 2}, "w/2[] w/1[missing]"},
		"none of two":       {nil, Want{Name: "w", Replicas: 2}, "w/1[missing] w/2[missing]"},
		"one too many":      {[]string{"w/10", "w/2", "w/1"}, Want{Name: "w", Replicas: 2}, "w/10[unexpected] w/2[] w/1[]"},
		"one, one too many": {[]string{"w/2", "w"}, Want{Name: "w", Replicas: 1}, "w/2[unexpected] w[]"},
		"degrading":         {[]string{"w"}, Want{Name: "w", Criticality: health.FlagDegrading}, "w[degrading]"},
		"missing, info":     {nil, Want{Name: "w", Criticality: health.FlagInfo}, "w[info missing]"},
		"another":           {[]string{"x"}, Want{Name: "w"}, "x[unexpected] w[missing]"},
	} {
		t.Run(name, func(t *testing.T) {
			var there []health.Node
			for _, n := range test.there {
				there = append(there, health.Node{Kind: health.KindContainer, Name: n, Flags: []string{health.FlagInfo}}) // which is not its to say
			}
			var got []string
			for _, n := range (Expected{Kind: health.KindContainer, Wants: []Want{test.want}}).Apply(there) {
				got = append(got, fmt.Sprint(n.Name, n.Flags))
			}
			if diff := cmp.Diff(test.got, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What a list calls degrading or info is not as loud when it is missing.
func TestCriticalityOfContainers(t *testing.T) {
	for criticality, want := range map[string]health.State{"": health.Fail, health.FlagDegrading: health.Warn, health.FlagInfo: health.Pass} {
		e := Expected{Kind: health.KindContainer, Wants: []Want{{Name: "a"}, {Name: "b", Criticality: criticality}}}
		if host := Host("vm1", e.Apply([]health.Node{Container("a", nil)})); host.State != want {
			t.Errorf("%q is missing: the host is %v, want %v", criticality, host.State, want)
		}
	}
}

func TestFacts(t *testing.T) {
	for name, test := range map[string]struct {
		facts Facts
		want  string
	}{
		"all well":              {Facts{Restarts: 2}, ""},
		"missing":               {Facts{Missing: true}, "runtime/missing"},
		"failed":                {Facts{Exited: true, Code: 1}, "runtime/exit"},
		"killed":                {Facts{Exited: true, Signal: "SIGKILL"}, "runtime/exit"},
		"a job that is done":    {Facts{Exited: true, Job: true}, ""},
		"a job that failed":     {Facts{Exited: true, Job: true, Code: 3}, "runtime/exit"},
		"ended without a word":  {Facts{Exited: true}, "runtime/exit"},
		"restart loop with OOM": {Facts{Restarts: 3, OOMKills: 1}, "runtime/memory runtime/restarts"},
		"dead":                  {Facts{Dead: true}, "runtime/dead"},
		"unhealthy":             {Facts{Unhealthy: true}, "runtime/docker"},
		"unhealthy, paused":     {Facts{Unhealthy: true, Paused: true}, ""},
		"unhealthy, stopping":   {Facts{Unhealthy: true, Stopping: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			checks := test.facts.Checks(t0)
			var got []string
			for _, c := range checks {
				got = append(got, c.Name)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("%v, want %s", got, test.want)
			}
			c := Container("web.shop.vm1", append(checks, check("page", health.Pass)))
			if bad := c.State == health.Fail; bad != (test.want != "") {
				t.Errorf("the container is %v", c.State)
			}
			if err := c.Accept(health.ContainerLimits); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPause(t *testing.T) {
	c := Container("web.shop.vm1", []health.Node{check("page", health.Fail, health.FlagCritical)})
	db := Container("db.shop.vm1", []health.Node{check("port", health.Pass)})
	for after, want := range map[time.Duration]health.State{time.Minute: health.Pass, PausedGrace: health.Pass, PausedGrace + 1: health.Warn} {
		if host := Host("vm1", []health.Node{db, Pause(c, t0, t0.Add(after))}); host.State != want || host.Children[1].Children[0].State != health.Fail {
			t.Errorf("after %v the host is %v, want %v", after, host.State, want)
		}
	}
}

// A container that says worse of itself than its checks explain is believed, whatever else is muted.
func TestOwnTrouble(t *testing.T) {
	c := Container("web.shop.vm1", []health.Node{check("a", health.Fail), check("b", health.Pass)})
	c.State, c.Text = health.Fail, "the kernel says so"
	host := Host("vm1", []health.Node{c})
	if host.State != health.Fail || host.Text != "web.shop.vm1: fail: the kernel says so; web.shop.vm1: a: fail" {
		t.Errorf("%v %q", host.State, host.Text)
	}
	c.Children[0].SetFlag(health.FlagMuted, true)
	if host = Host("vm1", []health.Node{c}); host.State != health.Fail {
		t.Errorf("%v %q", host.State, host.Text)
	}
	// One that was warned of by the check alone is well without it.
	c = Container("web.shop.vm1", []health.Node{check("a", health.Fail), check("b", health.Pass)})
	c.Children[0].SetFlag(health.FlagMuted, true)
	if host = Host("vm1", []health.Node{c}); host.State != health.Pass || host.Children[0].Text != "muted: 1" {
		t.Errorf("%v %q", host.State, host.Children[0].Text)
	}
}

// A warning does not hide from who asks whether it is ready that a part has not come up.
func TestViews(t *testing.T) {
	c := Container("c", []health.Node{check("page", health.Starting, health.FlagCritical), check("hub/config", health.Fail)})
	host := Host("vm1", []health.Node{c})
	for _, n := range []health.Node{c, host} {
		if n.State != health.Warn || Yes(Judge(&n, Ready)) || Yes(Judge(&n, Started)) || !Yes(Judge(&n, Live)) || Judge(&n, All) != health.Warn {
			t.Errorf("%s: %v, ready %v, started %v, live %v", n.Kind, n.State, Judge(&n, Ready), Judge(&n, Started), Judge(&n, Live))
		}
	}
}

func TestExplain(t *testing.T) {
	db := check("db", health.Fail, health.FlagCritical)
	db.Text, db.Action = "connection refused", "start the database"
	web := Container("web.shop.vm1", []health.Node{
		check("page", health.Fail, health.FlagCritical, health.FlagSuppressedBy+"api"), check("api", health.Fail, health.FlagSuppressedBy+"db"), db,
		check("a", health.Fail, health.FlagSuppressedBy+"b"), check("b", health.Fail, health.FlagSuppressedBy+"a"),
	})
	fleet := Fleet("fleet", []health.Node{Host("vm1", []health.Node{web})})
	for path, want := range map[string]string{
		"":                  "fleet vm1 vm1/web.shop.vm1 vm1/web.shop.vm1/db",
		"web.shop.vm1/page": "vm1/web.shop.vm1/page vm1/web.shop.vm1/api vm1/web.shop.vm1/db",
		"web.shop.vm1/a":    "vm1/web.shop.vm1/a vm1/web.shop.vm1/b", // a circle ends
	} {
		e, err := Explain(&fleet, path)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, step := range e.Steps {
			got = append(got, step.Path)
		}
		if strings.Join(got, " ") != want || e.Cause != last(got) || strings.Contains(want, "db") && e.Action != "start the database" {
			t.Errorf("%q: %v, cause %s, action %q", path, got, e.Cause, e.Action)
		}
	}
	causes := map[string]int{}
	for _, r := range Reasons(&fleet, 10) {
		causes[r.Cause]++
	}
	if causes["vm1/web.shop.vm1/db"] != 3 {
		t.Errorf("the database is one cause of three reasons: %v", causes)
	}
	want := "vm1/web.shop.vm1/api: fail\n  because vm1/web.shop.vm1/db: fail: connection refused\n→ start the database\n"
	if e, err := Explain(&fleet, "web.shop.vm1/api"); err != nil || e.String() != want {
		t.Errorf("%q, %v", e.String(), err)
	}
	if _, err := Explain(&fleet, "web.shop.vm1/nope"); err == nil {
		t.Error("a typo is explained")
	}
}
