// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"testing"
	"time"

	"cloud4.internal/hub/confighub/internal/apply"
)

// What the machine was in the way of is tried again soon, what the service had to go through in vain is not.
func TestRetry(t *testing.T) {
	for name, tt := range map[string]struct {
		err       error
		low, high time.Duration
	}{
		"the machine": {errors.New("no space left"), retryMin, retryMax},
		"the service": {&apply.RolledBack{Lines: []string{"the service exited with code 1"}}, rareMin, rareMax},
	} {
		t.Run(name, func(t *testing.T) {
			var r retry
			if r.planned() || r.due() {
				t.Error("there is nothing to try yet")
			}
			begin := time.Now()
			for n := range 20 {
				if news := r.later(tt.err); news != (n == 0) {
					t.Errorf("try %d: news: %v", n, news)
				}
				if pause := r.at.Sub(begin); pause < tt.low || pause > tt.high+time.Minute || !r.planned() || r.due() {
					t.Errorf("try %d is after %s", n, pause)
				}
			}
			if pause := r.at.Sub(begin); pause < tt.high {
				t.Errorf("the last try is after %s", pause)
			}
			if r.soon(); !r.due() || r.due() {
				t.Error("it is not due once")
			}
			if r.done(); r.planned() || r.why != "" {
				t.Errorf("left is %+v", r)
			}
		})
	}
}
