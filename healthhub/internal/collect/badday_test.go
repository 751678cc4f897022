// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/spiffe"
)

// hosts are n of them, with what each says of itself and one container.
func hosts(n int) (ids []spiffe.ID, say func(i int, seq uint64, s health.State) *report.Report) {
	for i := range n {
		ids = append(ids, must(spiffe.ForHost(td, fmt.Sprintf("vm%d", i+1))))
	}
	return ids, func(i int, seq uint64, s health.State) *report.Report {
		name := ids[i].Host
		return &report.Report{Schema: 1, Instance: one, Seq: seq, ValidFor: 90, Node: health.Node{
			Kind: health.KindHost, Name: name, State: s, Children: []health.Node{
				{Kind: health.KindCheck, Name: "host/disk", State: health.Pass},
				{Kind: health.KindContainer, Name: "web.shop." + name, State: s, Children: []health.Node{
					{Kind: health.KindCheck, Name: "page", State: s, Flags: []string{health.FlagCritical}},
				}},
			},
		}}
	}
}

// A fleet's server that hears nobody for ten minutes suspects itself, with one reason for all, and is well when they are back.
func TestCutOffForTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := collector(t, Config{Self: fleet})
		ids, say := hosts(5)
		all := func(seq uint64) {
			t.Helper()
			for i, id := range ids {
				take(t, c, id, say(i, seq, health.Pass))
			}
		}
		all(1)
		root := func() health.Node { c.sum(); return c.Node() }
		if n := root(); n.State != health.Pass {
			t.Fatalf("%v", n.State)
		}
		for range 20 {
			time.Sleep(30 * time.Second)
			if n := root(); time.Since(c.born) > 2*time.Minute && (n.State != health.Unknown || !n.HasFlag(health.FlagIsolated)) {
				t.Errorf("after %s: %v %v", time.Since(c.born), n.State, n.Flags)
			}
		}
		if n := root(); !strings.Contains(n.Text, "observer isolated: 5 of 5 hosts") || strings.Contains(n.Text, ";") {
			t.Errorf("text %q", n.Text)
		}
		all(2)
		if n := root(); n.State != health.Pass || n.HasFlag(health.FlagIsolated) {
			t.Errorf("afterwards: %v %v %s", n.State, n.Flags, n.Text)
		}
	})
}

// One host that is away is that host's failure, not the server's.
func TestOneHostGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := collector(t, Config{Self: fleet})
		ids, say := hosts(5)
		for seq := range uint64(20) {
			for i, id := range ids {
				if i > 0 || seq == 0 {
					take(t, c, id, say(i, seq+1, health.Pass))
				}
			}
			time.Sleep(30 * time.Second)
		}
		want(t, c, "fleet fail", "vm1 fail missing stale", "vm2 pass", "vm3 pass", "vm4 pass", "vm5 pass")
	})
}

// At a host, all containers gone are all missing: no network lies between that could be to blame.
func TestAllContainersGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := collector(t, Config{Self: vm1, Expected: expect("web.shop.vm1", "db.shop.vm1")})
		take(t, c, web, says(web, one, 1, health.Pass))
		take(t, c, db, says(db, one, 1, health.Pass))
		time.Sleep(160 * time.Second)
		want(t, c, "vm1 fail", "db.shop.vm1 fail missing stale", "web.shop.vm1 fail missing stale")
	})
}

func TestOneMissingOneUnexpected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := collector(t, Config{Self: vm1, Expected: expect("web.shop.vm1", "cache.shop.vm1")})
		time.Sleep(61 * time.Second)
		take(t, c, web, says(web, one, 1, health.Pass))
		take(t, c, db, says(db, one, 1, health.Fail))
		want(t, c, "vm1 fail", "db.shop.vm1 fail unexpected", "web.shop.vm1 pass", "cache.shop.vm1 fail missing")
		c.Expect(expect("web.shop.vm1", "db.shop.vm1"))
		want(t, c, "vm1 fail", "db.shop.vm1 fail", "web.shop.vm1 pass")
		c.Expect(expect("web.shop.vm1"))
		want(t, c, "vm1 pass", "db.shop.vm1 fail unexpected", "web.shop.vm1 pass")
		// Who comes onto the list has the grace of a start.
		c.Expect(expect("web.shop.vm1", "new.shop.vm1"))
		want(t, c, "vm1 starting", "db.shop.vm1 fail unexpected", "web.shop.vm1 pass", "new.shop.vm1 starting")
	})
}

// A sender whose clock is an hour off is told of in the receiver's time.
func TestClockOfTheSender(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			c := collector(t, Config{Self: vm1})
			r := says(web, one, 1, health.Fail)
			there := time.Now().Add(off)
			r.SentAt = there
			r.Node.Since, r.Node.ObservedAt = there.Add(-time.Minute), there
			r.Node.Children[0].Since = there.Add(-2 * time.Minute)
			take(t, c, web, r)
			c.sum()
			n := c.Node().Children[0]
			if got := time.Since(n.Since); got != time.Minute {
				t.Errorf("off by %s: fails for %s, want a minute", off, got)
			}
			if got := time.Since(n.Children[0].Since); got != 2*time.Minute {
				t.Errorf("off by %s: its check fails for %s, want two minutes", off, got)
			}
			time.Sleep(91 * time.Second)
			want(t, c, "vm1 unknown", "web.shop.vm1 unknown stale")
		})
	}
}

// The clock of the collector is set by an hour while it is down: nobody is forgotten, and nobody is awaited for longer.
func TestClockOfTheCollector(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			config := Config{Self: vm1, Expected: expect("web.shop.vm1"), StateDir: dir}
			c := collector(t, config)
			take(t, c, web, says(web, one, 1, health.Pass))
			take(t, c, db, ended2(db, 1, 90*time.Minute))
			if err := c.save(); err != nil {
				t.Fatal(err)
			}
			// Setting the clock is the same as everything kept being that much older or younger.
			path := filepath.Join(dir, storeFile)
			in, err := readStore(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := range in.Peers {
				in.Peers[i].Seen = in.Peers[i].Seen.Add(off)
			}
			raw, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			c = collector(t, config)
			want(t, c, "vm1 unknown", "db.shop.vm1 pass unexpected", "web.shop.vm1 unknown stale")
			time.Sleep(61 * time.Second)
			want(t, c, "vm1 fail", "db.shop.vm1 pass unexpected", "web.shop.vm1 fail missing stale")
			take(t, c, web, says(web, one, 2, health.Pass))
			want(t, c, "vm1 pass", "db.shop.vm1 pass unexpected", "web.shop.vm1 pass")
		})
	}
}

// ended2 is the last report of a job of another container.
func ended2(id spiffe.ID, seq uint64, due time.Duration) *report.Report {
	r := says(id, one, seq, health.Pass)
	r.Stopping, r.Job = true, &report.Job{DueIn: due.Seconds()}
	return r
}
