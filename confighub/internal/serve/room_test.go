// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowded is a room in which n wait for the end of as many entries, and when each was called.
type crowded struct {
	room    room
	entries []*entry
	waiters []*waiter
	mu      sync.Mutex
	called  []time.Time
}

func newCrowded(n int, d time.Duration) *crowded {
	c := &crowded{}
	for range n {
		e := &entry{}
		w := &waiter{call: func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.called = append(c.called, time.Now())
		}}
		c.entries, c.waiters = append(c.entries, e), append(c.waiters, w)
		c.room.join(w, e, d)
	}
	return c
}

// replace ends all entries, as a publication does.
func (c *crowded) replace() {
	for _, e := range c.entries {
		e.replaced.Store(true)
	}
	c.room.wake(c.entries)
}

func TestWakeUps(t *testing.T) {
	for _, test := range []struct {
		n int
		// within is when the last is called; 0 is at once.
		within time.Duration
	}{
		{1, 0},
		{atOnce, 0},
		{atOnce + 1, 30 * time.Millisecond},
		{1000, 200 * time.Millisecond},
		{10_000, 2 * time.Second},
		{16_384, 2 * time.Second},
	} {
		t.Run(fmt.Sprint(test.n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowded(test.n, time.Minute)
				began := time.Now()
				c.replace()
				time.Sleep(3 * time.Second)
				synctest.Wait()
				if len(c.called) != test.n || c.room.waiting() != 0 {
					t.Fatalf("%d of %d were called, %d wait", len(c.called), test.n, c.room.waiting())
				}
				if took := slices.MaxFunc(c.called, time.Time.Compare).Sub(began); took > test.within {
					t.Errorf("the last was called after %v, want %v", took, test.within)
				}
				moments := map[time.Time]int{}
				for _, at := range c.called {
					moments[at]++
				}
				for at, n := range moments {
					if most := max(atOnce, test.n/200+1); n > most {
						t.Errorf("%d were called at %v, want at most %d", n, at.Sub(began), most)
					}
				}
				if test.within == 0 && len(moments) != 1 {
					t.Errorf("they were called at %d moments, want one", len(moments))
				}
			})
		})
	}
}

// Whatever ends it first, a waiter is called once.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowded(300, time.Second)
		for _, w := range c.waiters[:100] {
			if !c.room.take(w) || c.room.take(w) {
				t.Fatal("not taken once")
			}
		}
		c.replace() // it is spread over 40 ms …
		time.Sleep(15 * time.Millisecond)
		c.room.close() // … which is interrupted
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(c.called) != 200 || c.room.waiting() != 0 {
			t.Errorf("%d were called, want 200; %d wait", len(c.called), c.room.waiting())
		}

		late := newCrowded(1, time.Hour)
		late.room.close()
		synctest.Wait()
		late.called = nil
		for _, e := range []*entry{{}, {}} {
			late.room.join(&waiter{call: late.waiters[0].call}, e, time.Hour)
		}
		synctest.Wait()
		if len(late.called) != 2 {
			t.Errorf("%d of 2 were called that came when it was closed", len(late.called))
		}
	})
	t.Run("time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			c := newCrowded(3, 7*time.Second)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			for _, at := range c.called {
				if at.Sub(began) != 7*time.Second {
					t.Errorf("called after %v", at.Sub(began))
				}
			}
			if len(c.called) != 3 {
				t.Errorf("%d of 3 were called", len(c.called))
			}
		})
	})
	t.Run("replaced before it came", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowded(1, time.Hour)
			c.replace()
			c.room.join(&waiter{call: c.waiters[0].call}, c.entries[0], time.Hour)
			synctest.Wait()
			if len(c.called) != 2 {
				t.Errorf("called %d times", len(c.called))
			}
		})
	})
}
