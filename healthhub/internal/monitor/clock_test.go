// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"context"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// setDate does to a monitor what setting the machine's date by d does: every time it has kept is off by as much on the
// wall clock, and right on the monotonic one. It finds the times itself, so that none is forgotten, and says how many.
func setDate(v reflect.Value, d time.Duration, seen map[uintptr]bool) (found int) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || seen[v.Pointer()] {
			return 0
		}
		seen[v.Pointer()] = true
		return setDate(v.Elem(), d, seen)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			// A time with a monotonic reading begins with a word of one bit that says so, 33 bits of wall seconds, and 30 of nanoseconds.
			word := (*uint64)(unsafe.Pointer(v.UnsafeAddr()))
			if *word>>63 == 1 {
				*word -= uint64(int64(d/time.Second) << 30)
				return 1
			}
			return 0
		}
		for i := range v.NumField() {
			found += setDate(v.Field(i), d, seen)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			found += setDate(v.Index(i), d, seen)
		}
	}
	return found
}

func TestSetDateOnly(t *testing.T) {
	now := time.Now()
	moved := now
	if setDate(reflect.ValueOf(&moved), time.Hour, map[uintptr]bool{}) != 1 || now.Sub(moved) != 0 || now.Round(0).Sub(moved.Round(0)) != time.Hour {
		t.Errorf("%v became %v", now, moved)
	}
}

// Setting the date to and fro changes nothing of what is told, and what is to happen happens in time. (On the real clock:
// within synctest there is no monotonic one.)
func TestTheDateChangesNothing(t *testing.T) {
	quick := func(c *setting.Check) { c.Interval, c.StartInterval = 10*time.Millisecond, 10*time.Millisecond }
	page, never := &thing{}, &thing{}
	page.set(health.Pass)
	never.set(health.Fail)
	m, changes := run(t, "/nowhere", polled("db", page, quick), polled("never", never, quick), polled("page", page, quick), pushed("backup", time.Hour))
	jump := func(d time.Duration) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if n := setDate(reflect.ValueOf(m), d, map[uintptr]bool{}); n < 15 {
			t.Errorf("only %d times were found", n)
		}
	}
	report := func(name string, ttl time.Duration) {
		if err := m.Push(Push{Name: name, State: health.Pass, TTL: ttl}); err != nil {
			t.Fatal(err)
		}
	}
	until := func(wanted string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); states(m) != wanted; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("it is %q, not %q", states(m), wanted)
			}
		}
	}
	report("backup", 0)
	until("backup=pass[] db=pass[] never=starting[] page=pass[]")
	before := changes.Load()
	for i := range 200 {
		d := time.Hour
		if i%3 == 1 {
			d = -2 * time.Hour
		}
		jump(d)
		want(t, m, "backup=pass[] db=pass[] never=starting[] page=pass[]")
	}
	if n := changes.Load() - before; n != 0 {
		t.Errorf("%d changes", n)
	}
	report("brief", 30*time.Millisecond)
	jump(-time.Hour) // the date says that it has an hour left
	until("backup=pass[] brief=fail[stale] db=pass[] never=starting[] page=pass[]")
	page.set(health.Fail)
	until("backup=pass[] brief=fail[stale] db=fail[] never=starting[] page=fail[]")
}

// Checks of all kinds, for days: each is what a reference says of the looks that were taken, none is forgotten.
func TestDays(t *testing.T) {
	const checks, days = 8, 2
	synctest.Test(t, func(t *testing.T) {
		var things []*moody
		var all []Check
		for i := range checks {
			th := &moody{r: reference{fall: 1 + i%4, rise: 1 + i%3, late: -1}, seed: uint64(i)}
			s := setting.DefaultCheck(setting.KindTCP)
			s.Fall, s.Rise, s.Interval = th.r.fall, th.r.rise, time.Duration(10+10*i)*time.Second
			all = append(all, Check{Name: string(rune('a' + i)), Check: s, Look: th.look})
			things = append(things, th)
		}
		m, _ := run(t, "/nowhere", all...)
		for range 24 * days {
			after(time.Hour)
			for i, n := range m.Nodes() {
				th := things[i]
				th.mu.Lock()
				least := uint64(time.Since(m.born)/(all[i].Interval+time.Second)) - 1
				if want := th.r.told(); n.State != want || n.HasFlag(health.FlagFlapping) != th.r.flapping() {
					t.Fatalf("after %s %s is %v %v, want %v", time.Since(m.born), n.Name, n.State, n.Flags, want)
				}
				if n.Runs != th.count || n.Runs < least {
					t.Fatalf("after %s %s was looked at %d times, says %d, want %d at least", time.Since(m.born), n.Name, th.count, n.Runs, least)
				}
				th.mu.Unlock()
				if age := time.Since(n.ObservedAt); age > all[i].Interval+time.Second {
					t.Fatalf("%s was seen %s ago", n.Name, age)
				}
			}
		}
		if lag := m.Lag(); lag.Late > time.Second {
			t.Errorf("looks begin late: %+v", lag)
		}
	})
}

// moody is a thing that is well for hours, then ill, then undecided, and remembers what it said.
type moody struct {
	mu    sync.Mutex
	r     reference
	count uint64
	seed  uint64
	mood  int
	left  int // looks until its mood changes
}

func (th *moody) look(ctx context.Context) probe.Result {
	th.mu.Lock()
	defer th.mu.Unlock()
	random := rand.New(rand.NewPCG(th.seed, th.count))
	th.count++
	if th.left--; th.left < 0 {
		th.mood, th.left = random.IntN(3), 1+random.IntN(200)
	}
	s := []health.State{health.Pass, health.Fail, health.State(random.IntN(4)) + health.Starting}[th.mood]
	if s == health.Starting {
		s = health.Pass
	}
	if th.count == 1 {
		s = health.Pass // starting is another test's
	}
	th.r.looks = append(th.r.looks, s)
	return probe.Result{State: s, Text: s.String()}
}
