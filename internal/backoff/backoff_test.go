// SPDX-License-Identifier: AGPL-3.0-or-later

package backoff_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"cloud4.internal/hub/internal/backoff"
)

// extremes draws the n-th pause of many fresh Backoffs and returns the shortest and the longest.
func extremes(b backoff.Backoff, n int) (low, high time.Duration) {
	low = math.MaxInt64
	for range 500 {
		fresh, d := b, time.Duration(0)
		for range n {
			d = fresh.Next()
		}
		low, high = min(low, d), max(high, d)
	}
	return low, high
}

// TestLimits draws the pauses often enough to find them below their limit and spread over all of the range.
func TestLimits(t *testing.T) {
	for name, test := range map[string]struct {
		b     backoff.Backoff
		n     int
		limit time.Duration
	}{
		"first":                 {backoff.Backoff{Min: time.Second, Max: time.Minute}, 1, time.Second},
		"second":                {backoff.Backoff{Min: time.Second, Max: time.Minute}, 2, 2 * time.Second},
		"fourth":                {backoff.Backoff{Min: time.Second, Max: time.Minute}, 4, 8 * time.Second},
		"at the limit":          {backoff.Backoff{Min: time.Second, Max: 5 * time.Second}, 4, 5 * time.Second},
		"for long":              {backoff.Backoff{Min: time.Second, Max: time.Minute}, 100, time.Minute},
		"first default":         {backoff.Backoff{}, 1, backoff.DefaultMin},
		"last default":          {backoff.Backoff{}, 30, backoff.DefaultMax},
		"minimum above maximum": {backoff.Backoff{Min: time.Hour, Max: time.Second}, 3, time.Hour},
		"the longest duration":  {backoff.Backoff{Min: time.Second, Max: math.MaxInt64}, 80, math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			low, high := extremes(test.b, test.n)
			if low < 0 || high > test.limit {
				t.Errorf("drew %v to %v, want 0 to %v", low, high, test.limit)
			}
			// 500 draws miss the lowest or the highest tenth once in 10²².
			if low > test.limit/10 || high < test.limit/10*9 {
				t.Errorf("drew %v to %v, want about 0 to %v", low, high, test.limit)
			}
		})
	}
}

func TestReset(t *testing.T) {
	b := backoff.Backoff{Min: time.Second, Max: time.Hour}
	for range 20 {
		b.Next()
	}
	b.Reset()
	if d := b.Next(); d > time.Second {
		t.Errorf("drew %v after Reset, want at most 1s", d)
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backoff.Backoff{Min: time.Minute, Max: time.Hour}
		start := time.Now()
		if err := b.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("the first pause took %v", took)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		b = backoff.Backoff{Min: math.MaxInt64, Max: math.MaxInt64}
		start = time.Now()
		if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("want the context's error, got %v", err)
		}
		if took := time.Since(start); took != time.Millisecond {
			t.Errorf("ended %v after the start, want as soon as the context", took)
		}
		if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a context that is done: %v", err)
		}
	})
}
