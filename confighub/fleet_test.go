// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/serve"
)

func TestPrintFleet(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	old, current := bundle.Version{Serial: 16, Digest: "sha256:a"}, bundle.Version{Serial: 17, Digest: "sha256:b"}
	rolled := bundle.Version{Serial: 18, Digest: "sha256:a"} // an old digest again
	fleet := serve.Fleet{
		Tree: serve.Tree{Problems: []string{"services/db/data/db.json:3: column 7: invalid character"}},
		Containers: []serve.Container{
			{Identity: "db.shop.vm1", Desired: current},
			{Identity: "web.shop.vm1", Desired: current, Instances: []serve.Instance{
				{Version: current, State: bundle.StateApplied, Seen: now.Add(-2 * time.Second)},
				{Instance: "1", Version: old, State: bundle.StateApplied, Seen: now.Add(-90 * time.Second)},
				{Instance: "2", Version: current, State: bundle.StateRejected, Errors: []string{"nginx.conf:3:7: no value\nmore", "another"}, Seen: now},
				{Instance: "3", Seen: now},
			}},
			{Identity: "web.shop.vm2", Desired: rolled, Instances: []serve.Instance{{Version: old, State: bundle.StateApplied, Seen: now}}},
		},
	}
	var got strings.Builder
	if err := printFleet(&got, fleet, now); err != nil {
		t.Fatal(err)
	}
	want := `the tree is broken: services/db/data/db.json:3: column 7: invalid character
IDENTITY      INSTANCE  DESIRED  APPLIED  STATE     SEEN       ERROR
db.shop.vm1   -         17       -        unseen    -          -
web.shop.vm1  -         17       17       applied   2s ago     -
web.shop.vm1  1         17       16       behind    1m30s ago  -
web.shop.vm1  2         17       (17)     rejected  0s ago     nginx.conf:3:7: no value (and 1 more)
web.shop.vm1  3         17       -        unknown   0s ago     -
web.shop.vm2  -         18       16       applied   0s ago     -
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}
