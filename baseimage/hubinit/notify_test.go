// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"strings"
	"testing"
)

// TestNotifySocket: the service gets NOTIFY_SOCKET where it is asked for and somebody may read it, and nobody else's is lost.
func TestNotifySocket(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, hubs string
		env        []string
		play, want string
	}{
		{"asked for", "healthhub", []string{"HUB_NOTIFY=1"}, "ready;wait", "RUN/notify.sock"},
		{"not asked for", "healthhub", nil, "ready;wait", "-"},
		{"switched off", "healthhub", []string{"HUB_NOTIFY=0"}, "ready;wait", "-"},
		{"nobody reads", "loghub", []string{"HUB_NOTIFY=1"}, "", "-"},
		{"healthhub is off", "healthhub", []string{"HUB_NOTIFY=1"}, "exit:2", "-"},
		{"somebody else's", "healthhub", []string{"HUB_NOTIFY=1", "NOTIFY_SOCKET=/run/other"}, "ready;wait", "/run/other"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, test.hubs).setenv(test.env...)
			if test.play != "" {
				w.setenv("PLAY_HEALTHHUB=" + test.play)
			}
			w.start("sh", "-c", "echo socket ${NOTIFY_SOCKET:--}.; exit 5")
			w.wantExit(5)
			if want := "socket " + strings.Replace(test.want, "RUN", w.run, 1) + "."; !strings.Contains(w.out.String(), want) {
				t.Errorf("want %q in %q", want, w.out)
			}
		})
	}
	w := newWorld(t, "none").setenv("HUB_NOTIFY=maybe").start("true")
	w.wantExit(78)
	if !strings.Contains(w.err.String(), "HUB_NOTIFY") {
		t.Errorf("the bad setting is not said: %s", w.err)
	}
}
