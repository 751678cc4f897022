// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cloud4.internal/hub/loghub/internal/source"
)

// fileStat is what log.json says of the log file.
func (c *container) fileStat(path string) (st source.Stat) {
	_, s := c.logState()
	for _, st = range s.Sources {
		if st.Name == path {
			return st
		}
	}
	return source.Stat{}
}

// TestTruncatedWhileFull: a receiver is away for so long that the spool is full and files wait, and logrotate truncates one of
// them again and again, its copies on another disk. What comes then and what is told as lost are all the lines there were,
// also if loghub was killed meanwhile.
func TestTruncatedWhileFull(t *testing.T) {
	t.Parallel()
	rc := newSceptic(t)
	rc.mood.Store(moodAway)
	path := filepath.Join(t.TempDir(), "app.log")
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q, "quota": "4MiB", "stdout": "off", "files": {"app": {"path": %q}}}}`,
		rc.srv.URL, path))
	h := c.start()
	g := &generator{name: "file"}
	f := must(os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600))
	defer f.Close()
	add := func(lines int) {
		t.Helper()
		if _, err := f.WriteString(g.lines(lines)); err != nil {
			t.Fatal(err)
		}
	}
	for waits := false; !waits; {
		add(5000)
		waitFor(t, 60*time.Second, "look at what was added", func() bool {
			info, st := must(f.Stat()), c.fileStat(path)
			waits = st.Waiting > 100
			return st.Position+st.Lag == info.Size() && (waits || st.Lag == 0)
		})
	}
	first := g.n - int(c.fileStat(path).Waiting)
	for turn := range 3 {
		from := g.n
		if turn == 0 {
			from = first
		}
		add(3000)
		waitFor(t, 60*time.Second, "count of all lines", func() bool { return c.fileStat(path).Waiting == int64(g.n-from) })
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
		waitFor(t, 60*time.Second, "look at an empty file", func() bool { return c.fileStat(path).Position+c.fileStat(path).Lag == 0 })
		if turn == 1 {
			h.kill()
			h = c.start()
		}
	}
	add(10)
	rc.mood.Store(moodGood)
	told := func() int {
		rc.mu.Lock()
		defer rc.mu.Unlock()
		return rc.told[path].records
	}
	waitFor(t, 60*time.Second, "end", func() bool { return rc.missing([]*generator{g}) == told() })
	h.stop(t)
	if n := told(); n != g.n-10-first {
		t.Errorf("%d lines are told as lost, and lost were %d to %d of %d", n, first+1, g.n-10, g.n)
	}
	for _, f := range rc.faults {
		t.Error(f)
	}
}
