// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

func TestClock(t *testing.T) {
	wall, boot := time.Date(2026, 12, 24, 18, 0, 0, 0, time.UTC), time.Hour
	kept, off, keptErr := true, 3*time.Millisecond, error(nil)
	c := newClock(setting.Check{Kind: setting.KindClock})
	c.wall, c.boot = func() time.Time { return wall }, func() (time.Duration, error) { return boot, nil }
	c.kept = func() (bool, time.Duration, error) { return kept, off, keptErr }
	pass := func(byWall, byBoot time.Duration) Result {
		wall, boot = wall.Add(byWall), boot+byBoot
		r := c.look(t.Context())
		acceptable(t, r)
		return r
	}
	expect(t, pass(0, 0), health.Pass, "the clock: kept right to 3ms")
	expect(t, pass(10*time.Second, 10*time.Second), health.Pass, "")
	expect(t, pass(12*time.Hour, 12*time.Hour), health.Pass, "") // suspended: the clock of the boot runs on
	expect(t, pass(11*time.Second, 10*time.Second), health.Pass, "")
	r := pass(time.Hour, 10*time.Second)
	expect(t, r, health.Warn, "kept right to 3ms; it was set forward by 59m50s 0s ago")
	if v := measured(t, r, "jump"); v.Value != 3590 {
		t.Errorf("%+v", v)
	}
	expect(t, pass(9*time.Minute, 9*time.Minute), health.Warn, "59m50s 9m ago")
	expect(t, pass(2*time.Minute, 2*time.Minute), health.Pass, "")
	expect(t, pass(-time.Hour, 10*time.Second), health.Warn, "it was set back by 1h 0s ago")
	kept = false
	r = pass(10*time.Minute, 10*time.Minute)
	expect(t, r, health.Warn, "the clock: nothing keeps it right")
	if measured(t, r, "synchronised").Value != 0 || r.Action == "" || len(r.Values) != 1 {
		t.Errorf("%+v", r)
	}
	keptErr = syscall.EPERM
	r = pass(time.Minute, time.Minute)
	expect(t, r, health.Pass, "cannot be read here")
	if len(r.Values) > 0 {
		t.Errorf("values of what cannot be read: %+v", r.Values)
	}
	wall = time.Unix(0, 0)
	expect(t, pass(0, time.Second), health.Fail, "it shows 1970-01-01, which cannot be")
	c.boot = func() (time.Duration, error) { return 0, errors.New("no") }
	if r := c.look(t.Context()); !r.Blind {
		t.Errorf("%+v", r)
	}
	// A machine that does nothing but pause between two clocks makes no jump.
	c.boot = func() (time.Duration, error) { boot += time.Second; return boot, nil }
	if r := c.look(t.Context()); !r.Blind {
		t.Errorf("%+v", r)
	}
}

func TestClockOfThisMachine(t *testing.T) {
	look := newLook(t, setting.Check{Kind: setting.KindClock}, "")
	look(t.Context())
	r := look(t.Context())
	t.Log(r.Text)
	acceptable(t, r)
	if r.Blind || r.State == health.Fail || len(r.Values) == 0 {
		t.Errorf("%+v", r)
	}
}

func TestScheduler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		look := newLook(t, setting.Check{Kind: setting.KindScheduler, Interval: 10 * time.Second}, "")
		after := func(d time.Duration) Result {
			time.Sleep(d)
			r := look(t.Context())
			acceptable(t, r)
			return r
		}
		expect(t, after(time.Hour), health.Pass, "in time")
		expect(t, after(10*time.Second), health.Pass, "at most 0s late in the last 10m")
		expect(t, after(2*time.Second), health.Pass, "") // sooner than planned, as before a first success
		expect(t, after(13*time.Second), health.Pass, "at most 3s late")
		expect(t, after(16*time.Second), health.Warn, "0s ago looks came 6s late")
		expect(t, after(10*time.Second), health.Warn, "10s ago looks came 6s late")
		r := after(5 * time.Minute)
		expect(t, r, health.Fail, "came 4m50s late: until then nothing was looked at")
		if v := measured(t, r, "late"); v.Value != 290 || *v.Warn != 5 || *v.Fail != 60 || r.Action == "" {
			t.Errorf("%+v", r)
		}
		for range 59 {
			after(10 * time.Second)
		}
		expect(t, look(t.Context()), health.Fail, "9m50")
		expect(t, after(10*time.Second), health.Pass, "at most 0s late")
	})
}

func TestSchedulerOfThisMachine(t *testing.T) {
	r := newLook(t, setting.Check{Kind: setting.KindScheduler, Interval: time.Second}, "")(t.Context())
	acceptable(t, r)
	if v := measured(t, r, "late"); v.Value < 0 || v.Value > 30 {
		t.Errorf("%+v", v)
	}
}

func BenchmarkClock(b *testing.B) { benchLook(b, setting.Check{Kind: setting.KindClock}, "") }
