// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud4.internal/hub/healthhub/internal/manifest"
	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/internal/health"
)

// ended is the last report of a job.
func ended(seq uint64, s health.State, due time.Duration) *report.Report {
	r := says(web, one, seq, s)
	r.Stopping = true
	if due > 0 {
		r.Job = &report.Job{DueIn: due.Seconds()}
	}
	return r
}

// What a job said at its end holds until it is due again, over a restart of the collector too.
func TestJob(t *testing.T) {
	for name, test := range map[string]struct {
		list  *manifest.List
		due   time.Duration // of the report; 0: the list says
		limit time.Duration
	}{
		"by its report": {nil, 25 * time.Hour, 25 * time.Hour},
		"by the list": {&manifest.List{Containers: map[string]manifest.Container{"web.shop.vm1": {Job: 24 * time.Hour}}}, 0,
			24*time.Hour + 24*time.Hour/10},
		"by both": {&manifest.List{Containers: map[string]manifest.Container{"web.shop.vm1": {Job: 24 * time.Hour}}}, 30 * time.Hour, 30 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				config := Config{Self: vm1, Expected: test.list, StateDir: dir}
				c := collector(t, config)
				take(t, c, web, says(web, one, 1, health.Pass))
				take(t, c, web, ended(2, health.Pass, test.due))
				want(t, c, "vm1 pass", "web.shop.vm1 pass")
				time.Sleep(test.limit - time.Minute)
				want(t, c, "vm1 pass", "web.shop.vm1 pass")
				if err := c.save(); err != nil {
					t.Fatal(err)
				}
				c = collector(t, config)
				want(t, c, "vm1 pass", "web.shop.vm1 pass")
				time.Sleep(2 * time.Minute)
				want(t, c, "vm1 fail", "web.shop.vm1 fail missing stale")
				if text := c.Node().Children[0].Text; !strings.Contains(text, "has not run since") {
					t.Errorf("text %q", text)
				}
				// It runs again, and fails.
				take(t, c, web, says(web, two, 1, health.Starting))
				want(t, c, "vm1 starting", "web.shop.vm1 starting")
				last := ended(2, health.Fail, test.due)
				last.Instance = two
				take(t, c, web, last)
				time.Sleep(time.Hour)
				want(t, c, "vm1 fail", "web.shop.vm1 fail")
			})
		})
	}
}

// A job that has never run is not missed before it can have been due, and then is.
func TestJobThatNeverRan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := &manifest.List{Containers: map[string]manifest.Container{"web.shop.vm1": {Job: 24 * time.Hour}, "db.shop.vm1": manifest.Expect()}}
		c := collector(t, Config{Self: vm1, Expected: list})
		take(t, c, db, says(db, one, 1, health.Pass))
		want(t, c, "vm1 pass", "db.shop.vm1 pass")
		time.Sleep(27 * time.Hour)
		take(t, c, db, says(db, one, 2, health.Pass))
		want(t, c, "vm1 fail", "db.shop.vm1 pass", "web.shop.vm1 fail missing")
	})
}
