// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// thing is something that can be looked at and changed.
type thing struct {
	mu    sync.Mutex
	now   probe.Result
	takes time.Duration
	looks int
}

func (th *thing) set(s health.State) {
	th.mu.Lock()
	defer th.mu.Unlock()
	th.now = probe.Result{State: s, Text: s.String()}
}

func (th *thing) count() int {
	th.mu.Lock()
	defer th.mu.Unlock()
	return th.looks
}

func (th *thing) look(ctx context.Context) probe.Result {
	th.mu.Lock()
	th.looks++
	r, takes := th.now, th.takes
	th.mu.Unlock()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return probe.Result{State: health.Fail, Text: "took too long"}
		}
	}
	return r
}

func polled(name string, th *thing, change ...func(*setting.Check)) Check {
	c := setting.DefaultCheck(setting.KindTCP)
	for _, f := range change {
		f(&c)
	}
	return Check{Name: name, Check: c, Look: th.look}
}

func critical(c *setting.Check) { c.Criticality = setting.Critical }

func pushed(name string, ttl time.Duration) Check {
	c := setting.DefaultCheck(setting.KindPush)
	c.TTL = ttl
	return Check{Name: name, Check: c}
}

// run starts a monitor in the bubble of the test; it ends with the bubble's test.
func run(t *testing.T, dir string, checks ...Check) (*Monitor, *atomic.Int64) {
	changes := new(atomic.Int64)
	m := New(Config{RunDir: dir, Checks: checks, Changed: func() { changes.Add(1) }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return m, changes
}

// after lets time pass, and everything settle.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func states(m *Monitor) string {
	var out []string
	for _, n := range m.Nodes() {
		out = append(out, fmt.Sprintf("%s=%v%v", n.Name, n.State, n.Flags))
	}
	return strings.Join(out, " ")
}

func want(t *testing.T, m *Monitor, wanted string) {
	t.Helper()
	if diff := cmp.Diff(wanted, states(m)); diff != "" {
		t.Error(diff)
	}
}

func TestFromStartingToPassAndDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := &thing{}
		th.set(health.Fail)
		m, changes := run(t, "/nowhere", polled("a", th, critical))
		after(20 * time.Second)
		want(t, m, "a=starting[critical]")
		if n := th.count(); n < 9 || n > 11 {
			t.Errorf("%d looks in 20 s of starting, want one every 2 s", n)
		}
		th.set(health.Pass)
		after(2 * time.Second)
		want(t, m, "a=pass[critical]")
		before, told := th.count(), changes.Load()
		after(100 * time.Second)
		if n := th.count() - before; n < 9 || n > 11 {
			t.Errorf("%d looks in 100 s, want one every 10 s", n)
		}
		if changes.Load() != told {
			t.Errorf("%d changes while nothing changed", changes.Load()-told)
		}
		th.set(health.Fail)
		after(20 * time.Second)
		want(t, m, "a=pass[critical]")
		if text := m.Nodes()[0].Text; text != "fail (fail 2/3)" {
			t.Errorf("text %q", text)
		}
		after(10 * time.Second)
		want(t, m, "a=fail[critical]")
		th.set(health.Pass)
		after(20 * time.Second)
		want(t, m, "a=pass[critical]")
	})
}

func TestStartDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := &thing{}
		th.set(health.Fail)
		m, _ := run(t, "/nowhere", polled("a", th))
		after(119 * time.Second)
		want(t, m, "a=starting[]")
		after(2 * time.Second)
		want(t, m, "a=fail[]")
		th.set(health.Pass)
		after(3 * time.Second)
		want(t, m, "a=pass[]")
	})
}

// The service's start counts, not healthhub's; and nobody looks before it.
func TestWaitsForTheService(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		write := func(s initctl.ServiceState) {
			if err := (&initctl.State{Service: s}).Write(dir); err != nil {
				t.Fatal(err)
			}
		}
		write(initctl.ServiceState{State: initctl.ServiceWaiting, Waiting: "confighub: genesis.internal: no such host"})
		th := &thing{}
		th.set(health.Fail)
		m, _ := run(t, dir, polled("a", th))
		after(10 * time.Minute)
		want(t, m, "a=starting[]")
		if th.count() > 0 {
			t.Errorf("%d looks at a service that has not started", th.count())
		}
		if text := m.Nodes()[0].Text; text != "the service has not started: confighub: genesis.internal: no such host" {
			t.Errorf("text %q", text)
		}
		write(initctl.ServiceState{State: initctl.ServiceRunning, PID: os.Getpid(), StartedAt: time.Now()})
		after(110 * time.Second)
		want(t, m, "a=starting[]")
		after(15 * time.Second)
		want(t, m, "a=fail[]")
	})
}

// A healthhub that is restarted beside a service of long ago gives it a moment, not two minutes.
func TestRestartedBesideAnOldService(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		old := initctl.ServiceState{State: initctl.ServiceRunning, StartedAt: time.Now().Add(-24 * time.Hour)}
		if err := (&initctl.State{Service: old}).Write(dir); err != nil {
			t.Fatal(err)
		}
		th := &thing{}
		th.set(health.Fail)
		m, _ := run(t, dir, polled("a", th))
		after(9 * time.Second)
		want(t, m, "a=starting[]")
		after(2 * time.Second)
		want(t, m, "a=fail[]")
	})
}

func TestBlindSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := &thing{}
		th.set(health.Pass)
		m, _ := run(t, "/nowhere", polled("a", th))
		after(time.Second)
		th.mu.Lock()
		th.now = probe.Result{State: health.Unknown, Text: "no such program", Blind: true}
		th.mu.Unlock()
		after(25 * time.Second)
		want(t, m, "a=pass[]")
		after(20 * time.Second)
		want(t, m, "a=unknown[stale]")
		if text := m.Nodes()[0].Text; text != "cannot be looked at: no such program" {
			t.Errorf("text %q", text)
		}
		th.set(health.Pass)
		after(11 * time.Second)
		want(t, m, "a=pass[]")
	})
}

func TestNeverSeenIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := &thing{now: probe.Result{State: health.Unknown, Text: "no such program", Blind: true}}
		m, _ := run(t, "/nowhere", polled("a", th))
		after(3 * time.Minute)
		want(t, m, "a=unknown[stale]")
	})
}

// Looks that hang neither pile up nor hold others up for ever.
func TestSlowLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var checks []Check
		var active, most atomic.Int64
		for i := range 12 {
			c := polled(fmt.Sprintf("slow%02d", i), &thing{})
			c.Look = func(ctx context.Context) probe.Result {
				n := active.Add(1)
				defer active.Add(-1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				<-ctx.Done()
				return probe.Result{State: health.Fail, Text: "took too long"}
			}
			checks = append(checks, c)
		}
		th := &thing{}
		th.set(health.Pass)
		m, _ := run(t, "/nowhere", append(checks, polled("a", th))...)
		after(60 * time.Second)
		if most.Load() != Concurrency {
			t.Errorf("%d looks at one time, want %d", most.Load(), Concurrency)
		}
		if !strings.HasPrefix(states(m), "a=pass[]") {
			t.Errorf("a got no look between the slow ones: %s", states(m))
		}
	})
}

// The next look comes an interval after the end of the last one.
func TestNoOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := &thing{takes: 4 * time.Second}
		th.set(health.Pass)
		run(t, "/nowhere", polled("a", th))
		after(30 * time.Second)
		before := th.count()
		after(140 * time.Second)
		if n := th.count() - before; n != 10 {
			t.Errorf("%d looks of 4 s in 140 s, want 10", n)
		}
	})
}

func TestClassStartedIsNotLookedAtAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := &thing{}
		th.set(health.Pass)
		m, _ := run(t, "/nowhere", polled("a", th, func(c *setting.Check) { c.Class = setting.ClassStarted }))
		after(time.Hour)
		want(t, m, "a=pass[started]")
		if th.count() != 1 {
			t.Errorf("%d looks", th.count())
		}
	})
}

func TestDependsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, page := &thing{}, &thing{}
		db.set(health.Pass)
		page.set(health.Pass)
		m, _ := run(t, "/nowhere", polled("db", db), polled("page", page, func(c *setting.Check) { c.DependsOn = []string{"db"} }))
		after(time.Second)
		db.set(health.Fail)
		page.set(health.Fail)
		after(45 * time.Second)
		want(t, m, "db=fail[] page=fail[suppressed_by=db]")
		page.set(health.Pass) // what gets well is told, whoever is to blame
		after(25 * time.Second)
		want(t, m, "db=fail[] page=pass[]")
		page.set(health.Fail)
		db.set(health.Pass)
		after(45 * time.Second)
		want(t, m, "db=pass[] page=fail[]")
		db.set(health.Warn) // a warning explains no failure
		after(45 * time.Second)
		want(t, m, "db=warn[] page=fail[]")
	})
}

func TestPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := &thing{}
		th.set(health.Fail)
		m, _ := run(t, "/nowhere", pushed("backup", 3*time.Hour), polled("page", th))
		after(time.Hour)
		want(t, m, "backup=pass[unchecked] page=fail[]")
		after(3 * time.Hour)
		want(t, m, "backup=fail[stale unchecked] page=fail[]")

		report := func(p Push) {
			t.Helper()
			if err := m.Push(p); err != nil {
				t.Fatal(err)
			}
		}
		report(Push{Name: "backup", State: health.Pass, Text: "3 GiB\n"})
		report(Push{Name: "disk", State: health.Warn, Text: "80 %", TTL: time.Minute})
		want(t, m, "backup=pass[] disk=warn[] page=fail[]")
		if text := m.Nodes()[0].Text; text != "3 GiB" {
			t.Errorf("text %q", text)
		}
		after(61 * time.Second)
		want(t, m, "backup=pass[] disk=fail[stale] page=fail[]")
		after(3 * time.Hour)
		want(t, m, "backup=fail[stale] disk=fail[stale] page=fail[]")

		if err := m.Push(Push{Name: "page", State: health.Pass}); !errors.Is(err, ErrPolled) {
			t.Errorf("a polled check was set: %v", err)
		}
		want(t, m, "backup=fail[stale] disk=fail[stale] page=fail[]")
		for _, p := range []Push{
			{Name: "hub/log", State: health.Pass}, {Name: "Disk", State: health.Pass},
			{Name: "disk", State: health.Unknown}, {Name: "disk", State: health.Pass, TTL: 31 * 24 * time.Hour},
		} {
			if m.Push(p) == nil {
				t.Errorf("%+v was taken", p)
			}
		}
	})
}

func TestOnExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var checks []Check
		for _, on := range []string{"", setting.ExpireFail, setting.ExpireUnknown, setting.ExpireRemove} {
			c := pushed("on-"+on, time.Minute)
			c.OnExpire = on
			checks = append(checks, c)
		}
		m, _ := run(t, "/nowhere", checks...)
		after(30 * time.Second)
		want(t, m, "on-=pass[unchecked] on-fail=pass[unchecked] on-remove=pass[unchecked] on-unknown=pass[unchecked]")
		after(31 * time.Second)
		want(t, m, "on-=fail[stale unchecked] on-fail=fail[stale unchecked] on-unknown=unknown[stale unchecked]")
		for _, c := range checks {
			if err := m.Push(Push{Name: c.Name, State: health.Warn, Text: "so so"}); err != nil {
				t.Fatal(err)
			}
		}
		want(t, m, "on-=warn[] on-fail=warn[] on-remove=warn[] on-unknown=warn[]")
		after(61 * time.Second)
		want(t, m, "on-=fail[stale] on-fail=fail[stale] on-unknown=unknown[stale]")
	})
}

// Reports that come as often as looks would can flap; those of a nightly job cannot.
func TestPushFlaps(t *testing.T) {
	for name, test := range map[string]struct {
		every time.Duration
		want  string
	}{"often": {time.Minute, "a=fail[flapping]"}, "seldom": {10 * time.Minute, "a=pass[]"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, _ := run(t, "/nowhere", pushed("a", 48*time.Hour))
				for i := range 20 {
					if err := m.Push(Push{Name: "a", State: []health.State{health.Fail, health.Pass}[i%2]}); err != nil {
						t.Fatal(err)
					}
					if i < 19 {
						after(test.every)
					}
				}
				want(t, m, test.want)
			})
		})
	}
}

func TestPushChecksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := run(t, "/nowhere")
		for i := range maxUndeclared {
			if err := m.Push(Push{Name: fmt.Sprint("n", i), State: health.Pass, TTL: time.Duration(i+1) * time.Minute}); err != nil {
				t.Fatal(err)
			}
		}
		if m.Push(Push{Name: "more", State: health.Pass}) == nil {
			t.Error("there is no bound")
		}
		after(150 * time.Second) // n0 and n1 have expired
		if err := m.Push(Push{Name: "more", State: health.Pass}); err != nil {
			t.Error(err)
		}
		names := strings.Fields(states(m))
		if slices.ContainsFunc(names, func(s string) bool { return strings.HasPrefix(s, "n0=") }) || len(names) != maxUndeclared {
			t.Errorf("the oldest was not dropped: %d checks", len(names))
		}
	})
}
