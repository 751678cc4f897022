// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/source"
)

// While a version is on its way the source may offer it once more: what became of it meanwhile counts.
func TestStillNew(t *testing.T) {
	store, err := source.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{store: store, log: zerolog.New(zerolog.NewTestWriter(t))}
	offer := func(serial uint64) source.Offer {
		return source.Offer{Pointer: bundle.Pointer{Serial: serial, Digest: bundle.Digest([]byte{byte(serial)})}}
	}
	two := offer(2)
	if !h.stillNew(two) {
		t.Error("a new version is not taken")
	}
	if err := store.MarkBad(source.Bad{Version: two.Version(), State: bundle.StateRolledBack}); err != nil {
		t.Fatal(err)
	}
	if h.pending = &two; h.stillNew(two) || h.pending != nil || h.heard.Refused != "" {
		t.Errorf("a bad one is taken again, or waits: %v, %q", h.pending, h.heard.Refused)
	}
	if err := errors.Join(store.Propose(two), store.Adopt(two.Version(), true)); err != nil {
		t.Fatal(err)
	}
	if h.stillNew(two) {
		t.Error("the one in place is taken again")
	}
	if h.stillNew(offer(1)) || !strings.Contains(h.heard.Refused, "genesis offers 1, older than 2 applied here") {
		t.Errorf("an older one: %q", h.heard.Refused)
	}
}

func TestTold(t *testing.T) {
	got := told([]string{"/etc/a: check x: exit status 1: [emerg] \x1b[31mbad\x1b[0m\nin line 2", "second"})
	if diff := cmp.Diff([]string{"/etc/a: check x: exit status 1: [emerg] bad\nin line 2", "second"}, got); diff != "" {
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
