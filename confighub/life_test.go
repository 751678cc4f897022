// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"testing"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// A version is confirmed by how long its service was seen, not by clocks that are set.
func TestLivesWhateverTheClock(t *testing.T) {
	h := &hub{runDir: t.TempDir()}
	h.conf.Settle = 50 * time.Millisecond
	service := func(state string, started time.Time) bool {
		t.Helper()
		s := initctl.State{Service: initctl.ServiceState{State: state, StartedAt: started}}
		if err := s.Write(h.runDir); err != nil {
			t.Fatal(err)
		}
		return h.lives()
	}
	future, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for _, started := range []time.Time{future, past} {
		if service(initctl.ServiceRunning, started) {
			t.Error("seen for the first time, and said to live")
		}
		waitFor(t, 5*time.Second, "it to live", h.lives, func() string { return "" })
	}
	if service(initctl.ServiceExited, past) || service(initctl.ServiceRunning, past) {
		t.Error("it ended meanwhile, and is said to live")
	}
}
