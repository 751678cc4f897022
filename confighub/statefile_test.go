// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"cloud4.internal/hub/internal/health"
)

// A transaction that takes longer than config.json is valid does not let it expire.
func TestKeepFresh(t *testing.T) {
	dir, valid := t.TempDir(), time.Second
	node := health.Node{Kind: health.KindHub, Name: "config", State: health.Warn, Text: "on its way"}
	if err := health.WriteFile(dir, health.ConfigFile, node, section{Trial: true}, valid); err != nil {
		t.Fatal(err)
	}
	read := func() *health.File {
		t.Helper()
		file, err := health.ReadFile(dir, health.ConfigFile)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	before := read()
	stop := keepFresh(dir, valid, zerolog.New(zerolog.NewTestWriter(t)))
	for end := time.Now().Add(2 * valid); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if read().Stale() {
			t.Fatal("expired")
		}
	}
	stop()
	after := read()
	after.Health.ObservedAt = time.Time{}
	if diff := cmp.Diff(node, after.Health); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(string(before.Section), string(after.Section)); diff != "" {
		t.Error(diff)
	}
	waitFor(t, 5*time.Second, "it to expire once nobody renews it", func() bool { return read().Stale() }, func() string { return "" })
}
