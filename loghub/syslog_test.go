// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"log/syslog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSyslogAcrossKills: a program that keeps its connection, as the C library does, finds the socket again.
func TestSyslogAcrossKills(t *testing.T) {
	t.Parallel()
	g := newGenesis(t)
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q}}`, g.url()))
	path := filepath.Join(c.run, "devlog")
	c.env = []string{"HUB_LOG_SYSLOG=" + path}
	c.enrol(g.ca, webID)
	h := c.start()
	w, err := syslog.Dial("unixgram", path, syslog.LOG_DAEMON|syslog.LOG_INFO, "unit")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var want []string
	for i := range 5 {
		text := fmt.Sprintf("message %d", i)
		if err := w.Info(text); err != nil {
			t.Fatal(err)
		}
		want = append(want, text)
		g.waitCount(len(want), c, h)
		if i == 3 {
			h.stop(t)
			if _, err := os.Lstat(path); err == nil {
				t.Error("the socket is there after the end")
			}
		} else {
			h.kill()
		}
		if err := w.Info("while nobody listens"); err == nil {
			t.Error("nobody listens, and the caller is not told")
		}
		h = c.start()
	}
	got := g.messages(func(r received) bool { return r["hub.socket"] == path && r["process.pid"] == float64(os.Getpid()) })
	for i := range got {
		got[i] = got[i][max(len(got[i])-len(want[0]), 0):] // the header is the parser's affair
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, s := c.logState()
	if len(s.Sources) == 0 || s.Sources[len(s.Sources)-1].Name != path {
		t.Errorf("log.json has %+v", s.Sources)
	}
}
