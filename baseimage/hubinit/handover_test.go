// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"cloud4.internal/hub/internal/initctl"
)

// TestHandover: confighub writes, loghub reads, what is in there outlives both, and nobody else gets it.
func TestHandover(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub,confighub,healthhub")
	first, second := w.path("first"), w.path("second")
	w.setenv("PLAY_CONFIGHUB=secret:db;secrets;ready;await:"+second+";secret:more;note:handed over;wait",
		"PLAY_LOGHUB=await:"+first+";secrets;secret:bad;copy", "PLAY_HEALTHHUB=secrets;ready;wait").
		start("sh", "-c", `echo "files: $(ls -l /proc/self/fd /proc/$$/fd | grep -c hub-secrets)"; env | grep SECRETS; echo done; sleep 100`)
	w.waitRunning()
	touch := func(path string) {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	touch(first)
	w.waitJournal("loghub generation 1 [{db the value of db}] <nil> env \"\" files 1")
	w.waitJournal("loghub cannot hand over")
	w.waitJournal("confighub generation 1 [{db the value of db}] <nil> env \"\" files 1")
	w.waitJournal("healthhub generation 0 [] <nil> env \"\" files 0")
	w.waitOut("files: 0\ndone")

	w.kill(w.hub(initctl.Confighub).PID, syscall.SIGKILL)
	w.waitFor("restart", func() bool { return w.hub(initctl.Confighub).Restarts == 1 && w.hub(initctl.Confighub).Ready })
	touch(second)
	w.waitJournal("handed over")
	w.kill(w.hub(initctl.Loghub).PID, syscall.SIGKILL)
	w.waitJournal("loghub generation 2 [{db the value of db} {more the value of more}] <nil> env \"\" files 1")
	if n := strings.Count(strings.Join(w.journal(), "\n"), "confighub generation 1"); n != 2 {
		t.Errorf("confighub found its file %d times\n%v", n, w.journal())
	}
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
}

// TestNoHandover: without loghub there is nobody to tell.
func TestNoHandover(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "confighub").setenv("PLAY_CONFIGHUB=secret:db;secrets;ready;wait").start("sh", "-c", "exit 5")
	w.wantExit(5)
	w.waitJournal("confighub generation 0 [] <nil> env \"\" files 0")
}
