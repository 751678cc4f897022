// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/source"
)

// A report that genesis refuses is said and dropped: the ones behind it are sent.
func TestReportDropped(t *testing.T) {
	t.Parallel()
	g := newGenesis(t).start()
	store, err := source.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	remote, err := source.NewRemote(source.RemoteOptions{URL: "https://" + g.address, ID: g.web(""), Files: g.ca.Files(t, g.web("")), Poll: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	log := &buffer{}
	r := newReporter(remote, store, "", zerolog.New(log))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	digest := bundle.Digest([]byte("x"))
	bad := source.Bad{Version: bundle.Version{Serial: 7, Digest: "none"}, State: bundle.StateRejected, Errors: []string{"x"}}
	if err := store.MarkBad(bad); err != nil {
		t.Fatal(err)
	}
	r.bad()
	r.add(bundle.Applied{Version: bundle.Version{Serial: 8, Digest: digest}, State: bundle.StateApplied})
	waitFor(t, 20*time.Second, "the report behind", func() bool { return strings.Contains(g.log.String(), `"serial":8,"state":"applied"`) }, log.String)
	if n := strings.Count(log.String(), "genesis does not take the report, which is dropped: "); n != 1 || !strings.Contains(log.String(), "version.digest: must be sha256:") {
		t.Errorf("said %d times:\n%s", n, log)
	}
	if untold := store.Untold(); len(untold) != 0 {
		t.Errorf("it would be sent again: %+v", untold)
	}
}
