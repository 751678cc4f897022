// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// deaf is a look that no context ends, as one in the kernel's hands; release lets it go on.
type deaf struct {
	thing
	release chan struct{}
}

func (d *deaf) look(ctx context.Context) probe.Result {
	r := d.thing.look(ctx)
	<-d.release
	return r
}

func TestLooksThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var checks []Check
		var hung []*deaf
		release := make(chan struct{})
		for i := range 8 { // twice as many as may be under way
			d := &deaf{release: release}
			d.set(health.Pass)
			c := polled(fmt.Sprint("nfs", i), &d.thing)
			c.Look = d.look
			checks, hung = append(checks, c), append(hung, d)
		}
		th := &thing{}
		th.set(health.Pass)
		m, _ := run(t, "/nowhere", append(checks, polled("page", th))...)
		after(5 * time.Minute)
		for _, n := range m.Nodes() {
			want := health.Fail
			if n.Name == "page" {
				want = health.Pass
			} else if !strings.HasPrefix(n.Text, "the look hangs since 2000-01-01T00:00:") || n.Runs != 1 || n.Took < 200 {
				t.Errorf("%s: %d runs, took %v, %q", n.Name, n.Runs, n.Took, n.Text)
			}
			if n.State != want {
				t.Errorf("%s is %v", n.Name, n.State)
			}
		}
		for _, d := range hung {
			if d.count() != 1 {
				t.Errorf("%d looks at what hangs", d.count())
			}
		}
		if n := th.count(); n < 28 {
			t.Errorf("%d looks in 5 minutes beside those that hang", n)
		}
		close(release)
		after(25 * time.Second)
		for _, n := range m.Nodes() {
			if n.State != health.Pass {
				t.Errorf("%s is %v: %s", n.Name, n.State, n.Text)
			}
		}
	})
}

// What a look says that was left behind is of long ago.
func TestLateAnswerIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deaf{release: make(chan struct{})}
		d.set(health.Pass)
		c := polled("a", &d.thing)
		c.Look = d.look
		m, _ := run(t, "/nowhere", c)
		after(9 * time.Second)
		d.set(health.Fail)
		close(d.release)
		after(5 * time.Second)
		want(t, m, "a=starting[]")
		if n := m.Nodes()[0]; d.count() < 2 || n.Took > 1 {
			t.Errorf("%d looks, the last one took %v s", d.count(), n.Took)
		}
	})
}

// Who ends does not wait for what hangs.
func TestEndsBesideAHangingLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deaf{release: make(chan struct{})}
		c := polled("a", &d.thing)
		c.Look = d.look
		m := New(Config{RunDir: "/nowhere", Checks: []Check{c}, Changed: func() {}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); m.Run(ctx) }()
		after(time.Second)
		begin := time.Now()
		cancel()
		<-done
		if took := time.Since(begin); took > leaving {
			t.Errorf("it took %s", took)
		}
		close(d.release)
	})
}

func TestLookThatBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := &thing{}
		th.set(health.Pass)
		broken := polled("broken", th)
		broken.Look = func(context.Context) probe.Result { panic("index out of range") }
		odd := polled("odd", th)
		odd.Look = func(context.Context) probe.Result {
			return probe.Result{Values: []health.Value{{Name: "ratio", Value: math.NaN()}, {Name: "left", Value: 3}, {Name: "rate", Value: math.Inf(1)}}}
		}
		m, _ := run(t, "/nowhere", broken, odd, polled("page", th))
		after(3 * time.Minute)
		want(t, m, "broken=unknown[stale] odd=pass[] page=pass[]")
		if _, err := json.Marshal(m.Nodes()); err != nil || len(m.Nodes()[1].Values) != 1 {
			t.Errorf("what is no number: %v %v", err, m.Nodes()[1].Values)
		}
		if text := m.Nodes()[0].Text; !strings.Contains(text, "index out of range") {
			t.Errorf("text %q", text)
		}
	})
}

func TestUnsupported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := &thing{now: probe.Result{State: health.Unknown, Blind: true, Unsupported: true, Text: "no pressure files"}}
		var log bytes.Buffer
		m := New(Config{
			RunDir: "/nowhere", Log: zerolog.New(&log), Changed: func() {},
			Checks: []Check{polled("psi", th, critical), polled("page", &thing{}, func(c *setting.Check) { c.DependsOn = []string{"psi"} })},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); m.Run(ctx) }()
		defer func() { cancel(); <-done }()
		after(time.Hour)
		if got := states(m); got != "page=pass[] psi=unknown[critical unsupported]" {
			t.Error(got)
		}
		if n := th.count(); n < 6 || n > 7 {
			t.Errorf("%d looks in an hour, want one in ten minutes", n)
		}
		if strings.Count(log.String(), "no pressure files") != 1 {
			t.Errorf("log: %s", &log)
		}
		if text := m.Nodes()[1].Text; text != "cannot be checked here: no pressure files" {
			t.Errorf("text %q", text)
		}
		th.set(health.Pass)
		after(10 * time.Minute)
		want(t, m, "page=pass[] psi=pass[critical]")
		before := th.count()
		after(100 * time.Second)
		if n := th.count() - before; n < 9 {
			t.Errorf("%d looks in 100 s after it came back", n)
		}
	})
}

func TestWhatALookMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := &thing{takes: 1500 * time.Millisecond, now: probe.Result{
			State: health.Warn, Text: "81 %", Action: "empty it", Values: []health.Value{{Name: "used", Value: 0.81, Unit: "1"}},
		}}
		m, _ := run(t, "/nowhere", polled("disk", th))
		after(time.Minute)
		n := m.Nodes()[0]
		if n.Runs != uint64(th.count()) || n.Runs < 5 || n.Took != 1.5 || n.Action != "empty it" {
			t.Errorf("%+v", n)
		}
		if diff := cmp.Diff(th.now.Values, n.Values); diff != "" {
			t.Error(diff)
		}
		if age := time.Since(n.ObservedAt); age < 0 || age > 12*time.Second {
			t.Errorf("observed %s ago", age)
		}
		th.set(health.Pass)
		after(time.Minute)
		if n := m.Nodes()[0]; n.Action != "" || n.Values != nil {
			t.Errorf("when all is well: %+v", n)
		}
	})
}

func TestStartInterval(t *testing.T) {
	for interval, want := range map[time.Duration]int{500 * time.Millisecond: 40, 5 * time.Second: 4, time.Minute: 2} {
		synctest.Test(t, func(t *testing.T) {
			th := &thing{}
			th.set(health.Fail)
			run(t, "/nowhere", polled("a", th, func(c *setting.Check) { c.StartInterval = interval }))
			after(19900 * time.Millisecond)
			if n := th.count(); n < want-1 || n > want+1 { // a minute is more than the interval of 10 s
				t.Errorf("every %s: %d looks in 20 s, want %d", interval, n, want)
			}
		})
	}
}

func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := &thing{}
		th.set(health.Pass)
		m, changes := run(t, "/nowhere", polled("a", th))
		after(30 * time.Second)
		begin := changes.Load()
		for i := range 30 {
			th.set([]health.State{health.Fail, health.Pass}[i%2])
			after(10 * time.Second)
		}
		want(t, m, "a=fail[flapping]")
		if text := m.Nodes()[0].Text; !strings.HasSuffix(text, "(flapping: 20 changes in the last 21)") {
			t.Errorf("text %q", text)
		}
		after(10 * time.Minute)
		want(t, m, "a=pass[]")
		if n := changes.Load() - begin; n != 2 {
			t.Errorf("%d changes were told, want its beginning and its end", n)
		}
	})
}

func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var checks []Check
		for i := range 12 {
			th := &thing{takes: 4 * time.Second}
			th.set(health.Pass)
			checks = append(checks, polled(fmt.Sprintf("slow%02d", i), th))
		}
		m, _ := run(t, "/nowhere", checks[:4]...)
		after(5 * time.Minute)
		if lag := m.Lag(); lag.Late > 10*time.Millisecond {
			t.Errorf("four slow looks do not stand in each other's way: %+v", lag)
		}
		m, _ = run(t, "/nowhere", checks...)
		after(6 * time.Second) // four have had their turn, four are at it, four wait since the beginning
		if lag := m.Lag(); lag.Late < LagLimit || !strings.HasPrefix(lag.Check, "slow") {
			t.Errorf("three times as many do: %+v", lag)
		}
	})
}

// later makes a monitor believe that it has stood still for so long: what was to happen meanwhile happens now.
func later(m *Monitor, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range []*time.Time{&m.born, &m.started, &m.refreshed} {
		*t = t.Add(-d)
	}
	for _, c := range m.checks {
		wake(c.kick)
		if !c.look.due.IsZero() {
			c.look.due = c.look.due.Add(-d)
		}
		for _, t := range []*time.Time{&c.seen, &c.expires} {
			if !t.IsZero() {
				*t = t.Add(-d)
			}
		}
	}
}

// A container that was paused has not been looked at, but nothing else happened: it is no news when it goes on.
func TestStandstill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := &thing{}
		th.set(health.Pass)
		m, changes := run(t, "/nowhere", polled("a", th), pushed("b", time.Minute))
		report := func() {
			if err := m.Push(Push{Name: "b", State: health.Pass}); err != nil {
				t.Error(err)
			}
		}
		report()
		after(15 * time.Second)
		before := changes.Load()
		later(m, time.Hour)
		want(t, m, "a=pass[] b=pass[]")
		if lag := m.Lag(); lag.Late < 59*time.Minute || lag.Check != "" {
			t.Errorf("it was not noticed: %+v", lag)
		}
		report()
		after(15 * time.Second)
		want(t, m, "a=pass[] b=pass[]")
		if n := changes.Load() - before; n != 0 {
			t.Errorf("%d changes", n)
		}
		after(time.Minute)
		if lag := m.Lag(); lag.Late > 10*time.Millisecond {
			t.Errorf("it is told for ever: %+v", lag)
		}
		later(m, time.Hour) // and now nobody reports any more
		after(10 * time.Second)
		want(t, m, "a=pass[] b=fail[stale]")
	})
}

// busy is a monitor of n checks that are looked at every interval, with a look that costs nothing.
func busy(b *testing.B, n int, interval time.Duration) (*Monitor, *atomic.Int64) {
	looks := new(atomic.Int64)
	var checks []Check
	for i := range n {
		c := setting.DefaultCheck(setting.KindTCP)
		c.Interval, c.StartInterval = interval, interval
		checks = append(checks, Check{Name: fmt.Sprintf("check%04d", i), Check: c, Look: func(context.Context) probe.Result {
			looks.Add(1)
			return probe.Result{State: health.Pass, Text: "127.0.0.1:80 answers in 120µs"}
		}})
	}
	m := New(Config{RunDir: "/nowhere", Checks: checks, Changed: func() {}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-done })
	return m, looks
}

// What one look costs besides looking: with the bookkeeping for 20 checks and for 200.
func BenchmarkLook(b *testing.B) {
	for _, n := range []int{20, 200} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m, looks := busy(b, n, time.Hour)
			for looks.Load() < int64(n) {
				time.Sleep(time.Millisecond)
			}
			c := m.checks[0] // its loop sleeps for an hour
			b.ReportAllocs()
			for b.Loop() {
				m.begin(c)
				m.record(c, c.look.take(context.Background(), c.Look, c.Timeout))
			}
		})
	}
}

// How many looks there are in a second when every check is always due.
func BenchmarkLooksPerSecond(b *testing.B) {
	for _, n := range []int{20, 200} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, looks := busy(b, n, time.Microsecond)
			for looks.Load() == 0 {
				time.Sleep(time.Millisecond)
			}
			before, begin := looks.Load(), time.Now()
			for b.Loop() {
				time.Sleep(100 * time.Millisecond)
			}
			b.ReportMetric(float64(looks.Load()-before)/time.Since(begin).Seconds(), "looks/s")
		})
	}
}

// Processor time and memory with nothing but the usual: checks every 10 s.
func BenchmarkIdle(b *testing.B) {
	for _, n := range []int{20, 200} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			busy(b, n, 10*time.Second)
			time.Sleep(time.Second)
			runtime.GC()
			runtime.ReadMemStats(&after)
			cpu, begin := used(), time.Now()
			for b.Loop() {
				time.Sleep(5 * time.Second)
			}
			b.ReportMetric((used()-cpu).Seconds()/time.Since(begin).Seconds()*100, "%cpu")
			b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/float64(n), "B/check")
		})
	}
}

func used() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
