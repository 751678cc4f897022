// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/loghub/internal/spool"
	"golang.org/x/sys/unix"
)

// hubMemory gives the container the memory file that hubinit holds.
func (c *container) hubMemory() {
	c.t.Helper()
	c.memory = os.NewFile(uintptr(must(unix.MemfdCreate("spool", unix.MFD_CLOEXEC))), "memfd")
	c.t.Cleanup(func() { c.memory.Close() })
}

func (c *container) segments() []string {
	return must(filepath.Glob(filepath.Join(c.state, "log", "*.seg")))
}

// TestMemoryFirst: what the receiver takes never is on the disk; what waits goes there, and on TERM the rest, and the
// next container sends it.
func TestMemoryFirst(t *testing.T) {
	t.Parallel()
	g := newGenesis(t)
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q, "spool": "memory-first", "disk_after": "1s"}}`, g.url()))
	c.enrol(g.ca, webID)
	c.hubMemory()
	h := c.start()
	fmt.Fprintln(c.pipes["stdout"].w, "taken")
	g.waitMessages(1, nil)
	if s := c.segments(); len(s) != 0 {
		t.Errorf("on the disk while everything is taken: %s", s)
	}
	g.stop()
	fmt.Fprintln(c.pipes["stdout"].w, "waits")
	waitFor(t, 60*time.Second, "segment on the disk", func() bool {
		for _, path := range c.segments() {
			if strings.Contains(string(must(os.ReadFile(path))), "waits") {
				return true
			}
		}
		return false
	})
	waitFor(t, 60*time.Second, "figures", func() bool {
		_, s := c.logState()
		return s.Spool != nil && s.Spool.Mode == spool.MemoryFirst && s.Spool.WrittenToday > 0 && strings.Contains(s.Durable, "within 1s")
	})
	fmt.Fprintln(c.pipes["stdout"].w, "at the end")
	if d := h.stop(t); d > 1900*time.Millisecond {
		t.Errorf("stopping took %s", d)
	}
	if !strings.Contains(h.log.String(), "wait in the spool for the next start") {
		t.Error(h.log)
	}
	g.start()
	c.pipes["stdout"] = newPipe(t) // another container on the same volume: its memory is new
	c.hubMemory()
	h = c.start()
	got := g.waitMessages(3, nil)
	if want := "taken waits at the end"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	h.stop(t)
}

// TestDurabilityIsSaid: the start says in words what is not durable here.
func TestDurabilityIsSaid(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		setting string
		memory  bool
		want    []string
	}{
		{"disk", true, []string{"events wait on ", "a power failure takes at most the last 1s", "64 KiB each"}},
		{"memory", true, []string{"events wait in memory: a kill of loghub takes nothing, the end of the container takes what was not sent"}},
		{"memory", false, []string{"a kill of loghub takes them, since no hubinit holds its memory"}},
		{"memory-first", true, []string{"if they are not sent within 10s", "log files are read again"}},
	} {
		c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": "http://127.0.0.1:9", "spool": %q}}`, tt.setting))
		if tt.memory {
			c.hubMemory()
		}
		h := c.start()
		for _, want := range tt.want {
			waitFor(t, 60*time.Second, fmt.Sprintf("%q of spool %s", want, tt.setting), func() bool { return strings.Contains(h.log.String(), want) })
		}
		h.kill()
	}
}
