// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/manifest"
	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/spiffe"
)

const (
	td  = "cloud4.internal"
	one = "instanceone"
	two = "instancetwo"
)

func must(id spiffe.ID, err error) spiffe.ID {
	if err != nil {
		panic(err)
	}
	return id
}

var (
	vm1   = must(spiffe.ForHost(td, "vm1"))
	vm2   = must(spiffe.ForHost(td, "vm2"))
	fleet = must(spiffe.ForGenesis(td, spiffe.KindHealth))
	web   = must(spiffe.ForContainer(td, "vm1", "shop", "web", ""))
	web1  = must(spiffe.ForContainer(td, "vm1", "shop", "web", "1"))
	db    = must(spiffe.ForContainer(td, "vm1", "shop", "db", ""))
	far   = must(spiffe.ForContainer(td, "vm2", "shop", "web", ""))
)

// says is a report of a container that has one critical check in a state.
func says(id spiffe.ID, instance string, seq uint64, s health.State) *report.Report {
	return &report.Report{
		Schema: 1, Instance: instance, Seq: seq, ValidFor: 90,
		Node: health.Node{Kind: health.KindContainer, Name: name(id), State: s, Children: []health.Node{
			{Kind: health.KindCheck, Name: "page", State: s, Flags: []string{health.FlagCritical}},
		}},
	}
}

func collector(t *testing.T, c Config) *Collector {
	t.Helper()
	c.Log = zerolog.New(t.Output())
	col, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return col
}

// expect is a list of containers.
func expect(names ...string) *manifest.List {
	list := &manifest.List{Containers: map[string]manifest.Container{}}
	for _, name := range names {
		list.Containers[name] = manifest.Expect()
	}
	return list
}

func take(t *testing.T, c *Collector, from spiffe.ID, r *report.Report) {
	t.Helper()
	if err := c.Take(from, r); err != nil {
		t.Fatal(err)
	}
}

// show is the tree in one line a container.
func show(c *Collector) string {
	c.sum()
	n := c.Node()
	lines := []string{fmt.Sprintf("%s %v", n.Name, n.State)}
	for _, child := range n.Children {
		line := fmt.Sprintf("%s %v", child.Name, child.State)
		for _, f := range child.Flags {
			line += " " + f
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func want(t *testing.T, c *Collector, lines ...string) {
	t.Helper()
	if diff := cmp.Diff(strings.Join(lines, "\n"), show(c)); diff != "" {
		t.Error(diff)
	}
}

func TestWhoMaySpeak(t *testing.T) {
	foreign := must(spiffe.ForContainer("other.internal", "vm1", "shop", "web", ""))
	other := says(db, one, 1, health.Pass)
	asHost := says(web, one, 1, health.Pass)
	asHost.Node.Kind, asHost.Node.Name, asHost.Node.Children = health.KindHost, "vm1", nil
	nested := says(web, one, 1, health.Pass)
	nested.Node.Children[0].Kind = health.KindContainer
	hidden := says(web, one, 1, health.Pass)
	hidden.Node.Children[0].Children = []health.Node{{Kind: health.KindHost, Name: "vm2"}}
	hostHides := func(kind, name string) *report.Report {
		return &report.Report{Schema: 1, Instance: one, Seq: 1, ValidFor: 90, Node: health.Node{
			Kind: health.KindHost, Name: "vm1", Children: []health.Node{{
				Kind: kind, Name: name, Children: []health.Node{{Kind: health.KindContainer, Name: "web.shop.vm2"}},
			}},
		}}
	}
	hostSays := func(host string, containers ...string) *report.Report {
		r := &report.Report{Schema: 1, Instance: one, Seq: 1, ValidFor: 90, Node: health.Node{Kind: health.KindHost, Name: host}}
		for _, c := range containers {
			r.Node.Children = append(r.Node.Children, health.Node{Kind: health.KindContainer, Name: c})
		}
		return r
	}
	for name, test := range map[string]struct {
		at   spiffe.ID
		from spiffe.ID
		r    *report.Report
		want string // "": taken
	}{
		"a container for itself":          {vm1, web, says(web, one, 1, health.Pass), ""},
		"a replica for itself":            {vm1, web1, says(web1, one, 1, health.Pass), ""},
		"a replica for the first":         {vm1, web1, says(web, one, 1, health.Pass), "speaks for container web.shop.vm1/1 alone"},
		"for another container":           {vm1, web, other, "speaks for container web.shop.vm1 alone, not for container db.shop.vm1"},
		"of another host":                 {vm1, far, says(far, one, 1, health.Pass), "is a container of host vm2; this is host vm1"},
		"of another fleet":                {vm1, foreign, says(web, one, 1, health.Pass), "not of the trust domain"},
		"a container as a host":           {vm1, web, asHost, "not for host vm1"},
		"a container with containers":     {vm1, web, nested, "made of checks"},
		"a host below a check":            {vm1, web, hidden, "made of checks"},
		"another's below a group":         {fleet, vm1, hostHides(health.KindGroup, "front"), "speaks for its own containers alone"},
		"another's below a check":         {fleet, vm1, hostHides(health.KindCheck, "host/disk"), "speaks for its own containers alone"},
		"another's below a container":     {fleet, vm1, hostHides(health.KindContainer, "web.shop.vm1"), "speaks for its own containers alone"},
		"a host at a host":                {vm1, vm2, hostSays("vm2"), "is no container"},
		"an operator at a host":           {vm1, must(spiffe.ForOperator(td, "desk")), says(web, one, 1, health.Pass), "is no container"},
		"a host at the fleet":             {fleet, vm1, hostSays("vm1", "web.shop.vm1", "web.shop.vm1/2"), ""},
		"a host for another":              {fleet, vm1, hostSays("vm2"), "speaks for host vm1 alone, not for host vm2"},
		"a host with another's container": {fleet, vm1, hostSays("vm1", "web.shop.vm2"), "speaks for its own containers alone"},
		"a host with a look-alike's":      {fleet, vm1, hostSays("vm1", "web.shop.xvm1"), "speaks for its own containers alone"},
		"a container at the fleet":        {fleet, web, says(web, one, 1, health.Pass), "is no docker host"},
		"genesis at the fleet":            {fleet, fleet, hostSays("vm1"), "is no docker host"},
	} {
		t.Run(name, func(t *testing.T) {
			err := collector(t, Config{Self: test.at}).Take(test.from, test.r)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			refusal, ok := errors.AsType[*Refusal](err)
			if !ok || refusal.Status != 403 || !strings.Contains(refusal.Why, test.want) {
				t.Errorf("got %v, want 403 with %q", err, test.want)
			}
		})
	}
}

func TestNobodyElseCollects(t *testing.T) {
	for _, id := range []spiffe.ID{web, must(spiffe.ForGenesis(td, spiffe.KindLog)), must(spiffe.ForOperator(td, "desk"))} {
		if _, err := New(Config{Self: id}); err == nil {
			t.Errorf("%s collects health", id)
		}
	}
}

func TestSequence(t *testing.T) {
	c := collector(t, Config{Self: vm1})
	refused := func(r *report.Report, words string) {
		t.Helper()
		refusal, ok := errors.AsType[*Refusal](c.Take(web, r))
		if !ok || refusal.Status != 409 || !strings.Contains(refusal.Why, words) {
			t.Errorf("got %v, want 409 with %q", refusal, words)
		}
	}
	take(t, c, web, says(web, one, 5, health.Fail))
	refused(says(web, one, 4, health.Pass), "report 4 of web.shop.vm1 is older than report 5")
	// A retry whose answer was lost is taken, and changes nothing.
	take(t, c, web, says(web, one, 5, health.Pass))
	want(t, c, "vm1 fail", "web.shop.vm1 fail")
	take(t, c, web, says(web, two, 1, health.Pass))
	refused(says(web, one, 5, health.Fail), "report 5 of web.shop.vm1 is older than report 5")
	want(t, c, "vm1 pass", "web.shop.vm1 pass")
}

// From fresh to forgotten, with and without a list.
func TestAges(t *testing.T) {
	for name, test := range map[string]struct {
		expected *manifest.List
		steps    []string // after 0, 91 s, 151 s, 25 h
	}{
		"listed": {expect("web.shop.vm1"), []string{
			"vm1 pass\nweb.shop.vm1 pass", "vm1 unknown\nweb.shop.vm1 unknown stale",
			"vm1 fail\nweb.shop.vm1 fail missing stale", "vm1 fail\nweb.shop.vm1 fail missing stale",
		}},
		"no list": {nil, []string{
			"vm1 pass\nweb.shop.vm1 pass", "vm1 unknown\nweb.shop.vm1 unknown stale",
			"vm1 unknown\nweb.shop.vm1 unknown stale", "vm1 unknown\nweb.shop.vm1 unknown stale",
		}},
		"not on the list": {expect(), []string{
			"vm1 unknown\nweb.shop.vm1 pass unexpected", "vm1 unknown\nweb.shop.vm1 unknown stale unexpected",
			"vm1 unknown\nweb.shop.vm1 unknown stale unexpected", "vm1 unknown",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := collector(t, Config{Self: vm1, Expected: test.expected})
				take(t, c, web, says(web, one, 1, health.Pass))
				for i, d := range []time.Duration{0, 91 * time.Second, 60 * time.Second, 25 * time.Hour} {
					time.Sleep(d)
					want(t, c, test.steps[i])
				}
				take(t, c, web, says(web, one, 2, health.Pass))
				want(t, c, test.steps[0])
			})
		})
	}
}

// Nobody expects it, and nobody said that it may be away: what failed on Friday is not well on Saturday because it went silent.
func TestSilenceIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := collector(t, Config{Self: vm1})
		take(t, c, web, says(web, one, 1, health.Fail))
		time.Sleep(25 * time.Hour)
		take(t, c, db, says(db, one, 1, health.Pass))
		want(t, c, "vm1 unknown", "db.shop.vm1 pass", "web.shop.vm1 unknown stale")
		if err := c.Forget("web.shop.vm1"); err != nil {
			t.Fatal(err)
		}
		want(t, c, "vm1 pass", "db.shop.vm1 pass")
	})
}

func TestGoodbye(t *testing.T) {
	for name, test := range map[string]struct {
		expected      *manifest.List
		at0, at61, db string
	}{
		"listed":  {expect("web.shop.vm1"), "vm1 warn\nweb.shop.vm1 warn stopping", "vm1 fail\nweb.shop.vm1 fail missing stale", ""},
		"no list": {nil, "vm1 warn\nweb.shop.vm1 warn stopping", "vm1 unknown", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := collector(t, Config{Self: vm1, Expected: test.expected})
				take(t, c, web, says(web, one, 1, health.Pass))
				bye := says(web, one, 2, health.Pass)
				bye.Stopping = true
				take(t, c, web, bye)
				want(t, c, test.at0)
				time.Sleep(61 * time.Second)
				want(t, c, test.at61)
				take(t, c, web, says(web, two, 1, health.Pass))
				want(t, c, "vm1 pass", "web.shop.vm1 pass")
			})
		})
	}
}

// A goodbye after an end that nobody asked for is no restart or update on its way: it says how the service ended.
func TestGoodbyeOfAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := collector(t, Config{Self: vm1, Expected: expect("web.shop.vm1")})
		bye := says(web, one, 1, health.Fail)
		bye.Stopping = true
		bye.Node.Children = append(bye.Node.Children, rollup.Facts{Exited: true, Code: 3}.Checks(time.Now())...)
		take(t, c, web, bye)
		want(t, c, "vm1 fail", "web.shop.vm1 fail stopping")
		for _, end := range []string{", at 2000-01-01 00:00:00 UTC", ", at 2000-01-01 00:00:00 UTC, and has not come back"} {
			if text := c.Snapshot().Node.Children[0].Text; text != "the service ended with code 3"+end {
				t.Errorf("says %q", text)
			}
			time.Sleep(61 * time.Second)
			c.sum()
		}
	})
}

// A replica too many may go; the service is still there.
func TestScaleDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := collector(t, Config{Self: vm1, Expected: expect("web.shop.vm1")})
		take(t, c, web, says(web, one, 1, health.Pass))
		take(t, c, web1, says(web1, two, 1, health.Pass))
		want(t, c, "vm1 pass", "web.shop.vm1 pass", "web.shop.vm1/1 pass")
		bye := says(web1, two, 2, health.Pass)
		bye.Stopping = true
		take(t, c, web1, bye)
		time.Sleep(61 * time.Second)
		want(t, c, "vm1 pass", "web.shop.vm1 pass")
	})
}

func TestExpectedIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := collector(t, Config{Self: vm1, Expected: expect("web.shop.vm1", "db.shop.vm1")})
		take(t, c, web, says(web, one, 1, health.Pass))
		want(t, c, "vm1 starting", "web.shop.vm1 pass", "db.shop.vm1 starting")
		time.Sleep(61 * time.Second)
		want(t, c, "vm1 fail", "web.shop.vm1 pass", "db.shop.vm1 fail missing")
	})
}

func TestSilentHostFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := collector(t, Config{Self: fleet})
		r := &report.Report{Schema: 1, Instance: one, Seq: 1, ValidFor: 90, Node: health.Node{
			Kind: health.KindHost, Name: "vm1", State: health.Pass, Children: []health.Node{{Kind: health.KindContainer, Name: "web.shop.vm1"}},
		}}
		take(t, c, vm1, r)
		want(t, c, "fleet pass", "vm1 pass")
		time.Sleep(91 * time.Second)
		want(t, c, "fleet unknown", "vm1 unknown stale")
		time.Sleep(5 * time.Minute)
		want(t, c, "fleet fail", "vm1 fail missing stale")
		if inside := c.Node().Children[0].Children[0]; inside.State != health.Unknown {
			t.Errorf("a container of a silent host is %v", inside.State)
		}
	})
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := collector(t, Config{Self: vm1, Expected: expect("web.shop.vm1"), StateDir: dir})
		take(t, c, web, says(web, one, 1, health.Pass))
		take(t, c, web, says(web, two, 7, health.Pass))
		if err := c.save(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		c = collector(t, Config{Self: vm1, Expected: expect("web.shop.vm1"), StateDir: dir})
		want(t, c, "vm1 unknown", "web.shop.vm1 unknown stale")
		if text := c.Node().Children[0].Text; !strings.Contains(text, "it was pass then") {
			t.Errorf("text %q", text)
		}
		// What was refused before is refused after.
		for _, r := range []*report.Report{says(web, two, 6, health.Fail), says(web, one, 1, health.Fail)} {
			if err := c.Take(web, r); err == nil {
				t.Errorf("instance %s, report %d was taken", r.Instance, r.Seq)
			}
		}
		take(t, c, web, says(web, two, 8, health.Pass))
		want(t, c, "vm1 pass", "web.shop.vm1 pass")

		c = collector(t, Config{Self: vm1, Expected: expect("web.shop.vm1"), StateDir: dir})
		time.Sleep(61 * time.Second)
		want(t, c, "vm1 fail", "web.shop.vm1 fail missing stale")
	})
}

func TestBrokenStoreIsLeft(t *testing.T) {
	dir := t.TempDir()
	for _, content := range []string{"{", `{"schema":1,"level":"fleet","peers":[]}`, `{"level":"host","peers":[{"name":"../X"}]}`} {
		if err := os.WriteFile(filepath.Join(dir, storeFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		want(t, collector(t, Config{Self: vm1, StateDir: dir}), "vm1 unknown")
	}
}

func TestRunTellsOfChanges(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var changes atomic.Int64
		c := collector(t, Config{Self: vm1, StateDir: dir, Changed: func() { changes.Add(1) }})
		done := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- c.Run(ctx) }()
		synctest.Wait()
		changes.Store(0)
		take(t, c, web, says(web, one, 1, health.Pass))
		take(t, c, db, says(db, one, 1, health.Pass))
		time.Sleep(coalesce)
		synctest.Wait()
		if changes := changes.Load(); changes != 1 {
			t.Errorf("%d changes told of two reports at one moment, want 1", changes)
		}
		generation := c.Snapshot().Generation
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := c.Snapshot().Generation; got != generation {
			t.Errorf("%d generations while nothing happened", got-generation)
		}
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if changes := changes.Load(); changes != 2 {
			t.Errorf("%d changes, want 2: time made both stale at once", changes)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, storeFile)); err != nil {
			t.Error(err)
		}
	})
}
