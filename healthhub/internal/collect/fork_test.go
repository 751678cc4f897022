// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud4.internal/hub/internal/health"
)

// Two that share one identity are told of, and the worse of them is shown; a restart is none.
func TestForked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := collector(t, Config{Self: vm1})
		seq := map[string]uint64{}
		say := func(instance string, s health.State) {
			t.Helper()
			seq[instance]++
			take(t, c, web, says(web, instance, seq[instance], s))
			time.Sleep(time.Second)
		}
		say(one, health.Pass)
		say(two, health.Pass) // a restart, as far as anybody can tell
		want(t, c, "vm1 pass", "web.shop.vm1 pass")
		say(one, health.Fail) // may have been under way
		want(t, c, "vm1 pass", "web.shop.vm1 pass")
		say(two, health.Pass)
		say(one, health.Fail)
		want(t, c, "vm1 fail", "web.shop.vm1 fail forked")
		n := c.Node().Children[0]
		if told := n.Children[len(n.Children)-1]; !strings.HasPrefix(told.Text, "2 instances report as web.shop.vm1") || !strings.Contains(told.Action, "share one identity") {
			t.Errorf("told: %+v", told)
		}
		say(two, health.Pass)
		want(t, c, "vm1 fail", "web.shop.vm1 fail forked")
		say(one, health.Pass) // both are well, which does not make it right
		want(t, c, "vm1 warn", "web.shop.vm1 warn forked")
		say("instancethree", health.Pass) // one of them is restarted
		want(t, c, "vm1 warn", "web.shop.vm1 warn forked")

		// All but one fall silent.
		time.Sleep(80 * time.Second)
		say(one, health.Pass)
		time.Sleep(15 * time.Second)
		want(t, c, "vm1 pass", "web.shop.vm1 pass")

		// Two again, of which one says goodbye.
		say(two, health.Pass)
		say(two, health.Pass)
		want(t, c, "vm1 warn", "web.shop.vm1 warn forked")
		bye := says(web, two, 100, health.Pass)
		bye.Stopping = true
		take(t, c, web, bye)
		want(t, c, "vm1 pass", "web.shop.vm1 pass")
	})
}

// The memory of two survives a restart of the collector, and so does what is refused.
func TestForkedOverRestart(t *testing.T) {
	dir := t.TempDir()
	c := collector(t, Config{Self: vm1, StateDir: dir})
	for seq := range uint64(3) {
		take(t, c, web, says(web, one, seq+1, health.Pass))
		take(t, c, web, says(web, two, seq+1, health.Pass))
	}
	want(t, c, "vm1 warn", "web.shop.vm1 warn forked")
	if err := c.save(); err != nil {
		t.Fatal(err)
	}
	c = collector(t, Config{Self: vm1, StateDir: dir})
	for _, instance := range []string{one, two} {
		if err := c.Take(web, says(web, instance, 2, health.Fail)); err == nil {
			t.Errorf("an old report of %s was taken", instance)
		}
	}
	for seq := range uint64(2) {
		take(t, c, web, says(web, one, seq+4, health.Pass))
		take(t, c, web, says(web, two, seq+4, health.Pass))
	}
	want(t, c, "vm1 warn", "web.shop.vm1 warn forked")
}

// Who is away can be forgotten, who is here or expected cannot.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := collector(t, Config{Self: vm1, StateDir: dir, Expected: expect("db.shop.vm1")})
		take(t, c, web, says(web, one, 1, health.Pass))
		take(t, c, db, says(db, one, 1, health.Pass))
		refused := func(name string, status int, words string) {
			t.Helper()
			refusal, ok := errors.AsType[*Refusal](c.Forget(name))
			if !ok || refusal.Status != status || !strings.Contains(refusal.Why, words) {
				t.Errorf("%s: %v, want %d with %q", name, refusal, status, words)
			}
		}
		refused("web.shop.vm1", 409, "reports: stop it first")
		refused("db.shop.vm1", 409, "is on the list")
		refused("page.shop.vm1", 404, "has reported")
		time.Sleep(91 * time.Second)
		if err := c.Forget("web.shop.vm1"); err != nil {
			t.Error(err)
		}
		want(t, c, "vm1 unknown", "db.shop.vm1 unknown stale")
		if err := c.save(); err != nil {
			t.Error(err)
		}
		c = collector(t, Config{Self: vm1, StateDir: dir, Expected: expect("db.shop.vm1")})
		want(t, c, "vm1 unknown", "db.shop.vm1 unknown stale")
	})
}
