// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cloud4.internal/hub/internal/initctl"
)

// mountTmpfs mounts a memory file system of size bytes for the test.
func mountTmpfs(t *testing.T, dir, size string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestRunDirFull: a run directory that was full for a while is as good as before once it is not.
func TestRunDirFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub,healthhub")
	mountTmpfs(t, w.run, "64k")
	w.start("sleep", "1000")
	w.waitRunning()
	fill := filepath.Join(w.run, "fill")
	if err := os.WriteFile(fill, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	w.kill(w.hub(initctl.Healthhub).PID, syscall.SIGKILL)
	w.waitFor("complaint", func() bool { return strings.Contains(w.err.String(), "cannot write init.json") })
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	w.waitFor("init.json with the restart", func() bool { h := w.hub(initctl.Healthhub); return h.Restarts == 1 && h.Ready })
	if n := strings.Count(w.err.String(), "cannot write init.json"); n != 1 {
		t.Errorf("it was said %d times", n)
	}
}

// TestRunDirMounts: emptying the run directory spares what is mounted there.
func TestRunDirMounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none")
	mountTmpfs(t, filepath.Join(w.run, "tls", "certs"), "64k")
	kept := filepath.Join(w.run, "tls", "certs", "ca.pem")
	old := filepath.Join(w.run, "old.json")
	if err := errors.Join(os.WriteFile(kept, nil, 0o600), os.WriteFile(old, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	w.start("true").wantExit(0)
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("the run directory was not emptied")
	}
	if strings.Contains(w.err.String(), "not writable") {
		t.Errorf("the run directory counts as not writable:\n%s", w.err)
	}
}
