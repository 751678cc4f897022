// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
)

func TestTold(t *testing.T) {
	got := told([]string{"/etc/a: check x: exit status 1: [emerg] \x1b[31mbad\x1b[0m\nin line 2", "second"})
	if diff := cmp.Diff([]string{"/etc/a: check x: exit status 1: [emerg] [31mbad[0m\nin line 2", "second"}, got); diff != "" {
		t.Error(diff)
	}
	var many []string
	for i := range 5000 {
		many = append(many, fmt.Sprintf("problem %d", i))
	}
	if got := told(many); len(got) != 101 || got[99] != "problem 99" || got[100] != "and 4900 more" {
		t.Errorf("got %d, %q", len(got), got[len(got)-1])
	}
	// Whatever they are, genesis takes the report.
	for i := range many {
		many[i] = strings.Repeat("\u2028<\x01\"", 1000)
	}
	raw, err := json.Marshal(bundle.Applied{State: bundle.StateRejected, Errors: told(many)})
	if err != nil || len(raw) > 64<<10 {
		t.Errorf("a report of %d bytes, %v", len(raw), err)
	}
}
