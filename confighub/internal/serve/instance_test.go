// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
)

// A failure stays to be seen after the way back, until something newer is in place.
func TestInstance(t *testing.T) {
	version := func(serial uint64, digest string) bundle.Version {
		return bundle.Version{Serial: serial, Digest: bundle.DigestPrefix + strings.Repeat(digest, 64)}
	}
	a, b, c := version(17, "a"), version(18, "b"), version(19, "c")
	back := version(20, "a") // an old digest again
	report := func(state string, v bundle.Version) bundle.Applied {
		r := bundle.Applied{State: state, Version: v}
		if state == bundle.StateRejected || state == bundle.StateRolledBack {
			r.Errors = []string{"because"}
		}
		return r
	}
	type said = []bundle.Applied
	tests := []struct {
		name                    string
		said                    said
		desired, applied, fails bundle.Version
		status                  string
	}{
		{"nothing said", nil, a, bundle.Version{}, bundle.Version{}, StatusUnknown},
		{"applied", said{report("applied", a)}, a, a, bundle.Version{}, "applied"},
		{"a newer one is there", said{report("applied", a)}, b, a, bundle.Version{}, StatusBehind},
		{"at it", said{report("applied", a), report("pending", b)}, b, a, bundle.Version{}, "pending"},
		{"at an older one", said{report("applied", a), report("pending", b)}, c, a, bundle.Version{}, StatusBehind},
		{"at its first", said{report("pending", a)}, a, bundle.Version{}, bundle.Version{}, "pending"},
		{"rejected beside what is applied", said{report("applied", a), report("rejected", b)}, b, a, b, "rejected"},
		{"its first is rejected", said{report("rejected", a)}, a, bundle.Version{}, a, "rejected"},
		{"rolled back", said{report("applied", a), report("pending", b), report("rolled_back", b)}, b, a, b, "rolled_back"},
		{"after the way back", said{report("applied", a), report("rolled_back", b), report("applied", a)}, b, a, b, "rolled_back"},
		{"the next is on its way", said{report("applied", a), report("rolled_back", b), report("pending", c)}, c, a, b, "pending"},
		{"the next is applied", said{report("applied", a), report("rolled_back", b), report("applied", c)}, c, c, bundle.Version{}, "applied"},
		{"it is applied at last", said{report("rejected", b), report("applied", b)}, b, b, bundle.Version{}, "applied"},
		{"genesis takes it back", said{report("applied", a), report("rejected", b)}, back, a, b, "applied"},
		{"told again later", said{report("applied", c), report("rejected", b)}, c, c, bundle.Version{}, "applied"},
		{"undone at a start", said{report("applied", a), report("applied", b), report("rolled_back", b)}, b, bundle.Version{}, b, "rolled_back"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i := &Instance{}
			for _, r := range test.said {
				i.note(r, time.Now())
			}
			if got := i.status(test.desired); got != test.status {
				t.Errorf("status %s, want %s", got, test.status)
			}
			if i.Applied != test.applied {
				t.Errorf("applied %v, want %v", i.Applied, test.applied)
			}
			failed := Failure{}
			if i.Failed != nil {
				failed = *i.Failed
				if len(failed.Errors) != 1 {
					t.Errorf("why: %q", failed.Errors)
				}
			}
			if failed.Version != test.fails {
				t.Errorf("failed %v, want %v", failed.Version, test.fails)
			}
		})
	}
}
