// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// seen is what a look can say, by name.
var seen = map[string]probe.Result{
	"pass": {State: health.Pass}, "warn": {State: health.Warn}, "unknown": {State: health.Unknown}, "fail": {State: health.Fail},
	"blind":       {State: health.Unknown, Blind: true},
	"unsupported": {State: health.Unknown, Blind: true, Unsupported: true},
}

// The rules of docs/states.md, each with what is seen from which second on, and what is told at which second. A look is taken
// every 2 s until the first pass, then once in any 10 s; fall is 3, rise is 2, the time to start 120 s.
func TestRules(t *testing.T) {
	started := func(c *setting.Check) { c.Class = setting.ClassStarted }
	noTime := func(c *setting.Check) { c.StartDeadline = 0 }
	slow := func(c *setting.Check) { c.Interval, c.Timeout = time.Minute, 4*time.Minute }
	for _, rule := range []struct {
		rule, seen, told string
		change           func(*setting.Check)
	}{
		{"the first pass acts at once", "0 pass", "1 pass", nil},
		{"a first warning is a success", "0 warn", "1 warn", nil},
		{"looked at every 2 s until then", "0 fail, 31 pass", "31 starting, 34 pass", nil},
		{"starting until the deadline, then fail", "0 fail", "1 starting, 119 starting, 121 fail, 600 fail", nil},
		{"then fail, though unknown is all that is seen", "0 unknown", "119 starting, 121 fail, 600 fail", nil},
		{"after it the first pass acts at once too", "0 fail, 300 pass", "300 fail, 303 pass", nil},
		{"failures inside do not count", "0 fail, 110 pass, 113 fail", "112 pass, 133 pass, 143 fail", nil},
		{"the first failure counts from 1", "0 fail", "1 starting, 3 starting, 5 fail", noTime},
		{"nothing could be looked at: stale, not fail", "0 blind", "119 starting, 121 unknown stale", nil},
		{"fall", "0 pass, 60 fail", "80 pass, 90 fail", nil},
		{"fall to what is seen", "0 pass, 60 warn", "80 pass, 90 warn", nil},
		{"fall to unknown, which is not stale", "0 pass, 60 unknown", "80 pass, 90 unknown, 300 unknown", nil},
		{"fall to the best of them", "0 pass, 60 fail, 80 warn", "80 pass, 90 warn, 300 warn", nil},
		{"anything else resets", "0 pass, 60 fail, 80 pass, 90 fail", "110 pass, 120 fail", nil},
		{"rise", "0 pass, 60 fail, 100 pass", "110 fail, 120 pass", nil},
		{"rise to the worst of them", "0 pass, 60 fail, 100 warn, 110 pass", "110 fail, 120 warn, 130 pass", nil},
		{"failing resets rise", "0 pass, 60 fail, 100 pass, 110 fail, 120 pass", "130 fail, 140 pass", nil},
		{"what could not be looked at leaves the counters alone", "0 pass, 60 fail, 80 blind, 90 fail", "90 pass, 100 fail", nil},
		{"nobody could look for 3 × interval: stale", "0 pass, 60 blind", "80 pass, 91 unknown stale", nil},
		{"or for interval + timeout + 5 s", "0 pass, 60 blind", "300 pass, 370 unknown stale", slow},
		{"what was before comes back with the first look", "0 pass, 60 blind, 100 pass", "99 unknown stale, 110 pass", nil},
		{"of the stale no look is lost", "0 pass, 60 fail, 80 blind, 120 fail", "119 unknown stale, 130 fail", nil},
		{"unsupported is no look at all", "0 pass, 60 fail, 80 unsupported", "80 pass, 90 unknown unsupported, 600 unknown unsupported", nil},
		{"unsupported from the beginning", "0 unsupported", "1 unknown unsupported, 600 unknown unsupported", nil},
		{"it is looked at again every 10 minutes", "0 unsupported, 400 pass", "599 unknown unsupported, 602 pass", nil},
		{"class started is done with its first pass", "0 pass, 60 fail", "3600 pass started", started},
		{"until then it is as any other", "0 fail, 300 pass", "119 starting started, 121 fail started, 303 pass started", started},
		{"flapping begins with six changes", "0 pass, 60 fail, 70 pass, 80 fail, 90 pass, 100 fail, 110 pass", "110 pass, 120 fail flapping", nil},
		{"five are none", "0 pass, 60 fail, 70 pass, 80 fail, 90 pass, 100 fail, 130 fail", "120 pass, 130 fail", nil},
		{"it tells the worst of the last 21", "0 pass, 60 unknown, 70 pass, 80 warn, 90 pass, 100 warn, 110 pass, 120 warn", "130 unknown flapping, 260 unknown flapping, 280 warn flapping", nil},
		{"it ends with two changes in 21", "0 pass, 60 fail, 70 pass, 80 fail, 90 pass, 100 fail, 110 pass", "290 fail flapping, 300 pass", nil},
	} {
		t.Run(rule.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				follow(t, rule.seen, rule.told, rule.change)
			})
		})
	}
}

// follow lets a check see what a rule has seen, and compares what it tells.
func follow(t *testing.T, seenAt, toldAt string, change func(*setting.Check)) {
	th := &thing{}
	at := map[int][]func(){}
	last := 0
	for line := range strings.SplitSeq(seenAt, ", ") {
		var second int
		var what string
		if _, err := fmt.Sscan(line, &second, &what); err != nil {
			t.Fatal(err)
		}
		at[second] = append(at[second], func() {
			th.mu.Lock()
			defer th.mu.Unlock()
			th.now = seen[what]
		})
	}
	for _, f := range at[0] {
		f()
	}
	delete(at, 0)
	if change == nil {
		change = func(*setting.Check) {}
	}
	m, _ := run(t, "/nowhere", polled("a", th, change))
	for line := range strings.SplitSeq(toldAt, ", ") {
		when, want, _ := strings.Cut(line, " ")
		var second int
		if _, err := fmt.Sscan(when, &second); err != nil {
			t.Fatal(err)
		}
		last = max(last, second)
		told := func() {
			n := m.Nodes()[0]
			if got := strings.Join(append([]string{n.State.String()}, n.Flags...), " "); got != want {
				t.Errorf("at %d s it is %q, want %q: %s", second, got, want, n.Text)
			}
		}
		at[second] = append([]func(){told}, at[second]...) // before something else is seen
	}
	begin := time.Now()
	for second := range last + 1 {
		// A little after the second, so that what happens in it has happened: looks begin within a quarter.
		after(time.Until(begin.Add(time.Duration(second)*time.Second + 300*time.Millisecond)))
		for _, f := range at[second] {
			f()
		}
	}
}
